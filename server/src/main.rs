//! The binary `tollgate`.

use std::process::ExitCode;

/// Under load, glibc's allocator repeatedly returns the memory of headers to the system and requests
/// it again, and it keeps the memory of a burst of connections. jemalloc returns unused memory
/// within seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tollgate_server::run()
}
