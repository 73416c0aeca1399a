//! The holder's side of the lease protocol: no I/O, no clock, no runtime.
//!
//! Time is passed in, in nanoseconds of the process's monotonic clock, and messages are returned to
//! the caller. Each module depends only on those above it.

mod message;
mod server_time;

mod balance;
mod refusal_cache;

mod limits;
mod settings;

mod holder;

pub(crate) use balance::Balance;
pub(crate) use holder::{Holder, Step, TakeOutcome};
pub(crate) use limits::Limits;
pub(crate) use message::{LeaseReply, LeaseRequest};
pub(crate) use refusal_cache::RefusalCache;
pub(crate) use server_time::tick_at_micros;
pub(crate) use settings::Settings;
