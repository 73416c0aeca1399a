//! HTTP connections: accepting them, their protocol and their timeouts.

mod accept;
mod activity;
mod admission;
mod body;
mod connection;
mod connection_permit;
mod executor;
mod listener;
mod request_body;
mod stream;
mod task_waker;
#[cfg(test)]
mod tests;
mod timeouts;
mod unread;
mod unread_streams;

pub(crate) use self::{
    accept::{Listeners, MAX_ADMIN_CONNECTIONS, Server},
    admission::BEYOND_PERMITS,
    listener::{FileOwner, GivenAdmin, SocketFile, listen_on_file},
};
