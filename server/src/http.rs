//! HTTP connections: accepting them, their protocol and their timeouts.

mod accept;
mod activity;
mod body;
mod connection;
mod executor;
mod stream;
#[cfg(test)]
mod tests;
mod timeouts;
mod unread;

pub(crate) use self::accept::Server;
