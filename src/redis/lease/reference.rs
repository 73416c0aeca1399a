//! The server's side of the protocol in Rust, and the tests that run it: a simulation with many
//! lease holders, and a comparison with `lease.lua` on a real server.

mod holder_tests;
mod key_tests;
mod keys_tests;
mod leased_bucket;
mod random;
mod script_tests;
mod simulation;
