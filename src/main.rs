//! The program `node`: hands over to the command line.

/// One job costs some forty small allocations that live for a moment or until its end.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mutirao::cli::main()
}
