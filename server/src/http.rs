//! HTTP connections: accepting them, their protocol and their timeouts.

mod accept;
mod activity;
mod admission;
mod body;
mod connection;
mod connection_permit;
mod stream;
mod timeouts;

pub(crate) use self::{accept::Server, admission::BEYOND_PERMITS};
