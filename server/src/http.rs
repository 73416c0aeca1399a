//! HTTP connections: accepting them, their protocol and their timeouts.

mod accept;
mod activity;
mod admission;
mod body;
mod connection;
mod connection_permit;
mod listener;
mod stream;
mod timeouts;

pub(crate) use self::{
    accept::{MAX_ADMIN_CONNECTIONS, Server},
    admission::BEYOND_PERMITS,
};
