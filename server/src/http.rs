//! HTTP connections: accepting them, their protocol and their timeouts.

mod accept;
mod activity;
mod body;
mod connection;
mod listener;
mod stream;
mod timeouts;

pub(crate) use self::accept::Server;
