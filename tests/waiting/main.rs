//! Waiting at scale: callers that give up, and memory.

mod impatience;
mod memory;
