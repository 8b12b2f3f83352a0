//! The same program under the name `mutirao`, since `node` shadows Node.js: hands over to the command line.

fn main() -> std::process::ExitCode {
    mutirao::cli::main()
}
