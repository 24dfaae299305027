//! Parses the command line, runs it, and owns the exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    latchkey::cli::run(std::env::args_os(), std::env::vars_os())
}
