//! Tables that several processes share: in files with a path, and in those without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod control_page;
mod copies;
mod directory;
mod fork;
mod hostile;
mod opening;
mod quota;
mod reboot;
mod rules;
mod sharing;
mod table_words;
