//! The program `node`: hands over to the command line.

/// A job costs dozens of small allocations, and the system's allocator spends a quarter of its time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mutirao::cli::main()
}
