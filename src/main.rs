//! The program `node`: hands over to the command line.

fn main() -> std::process::ExitCode {
    mutirao::cli::main()
}
