//! Lines of the callers of this process that wait for tokens of a key.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::{
    decision::DecisionView,
    wait::{Line, Lines},
};

/// An older decision of the head says nothing about the bucket: it polls more often than this.
const MAX_AGE: Duration = Duration::from_secs(2);

/// Lines of all keys on which callers wait.
pub(super) type RedisLines = Lines<Box<[u8]>, RedisLine>;

/// Line of one key, in which only the head sends requests to Redis.
#[derive(Default)]
pub(super) struct RedisLine {
    line: Line,
    /// Last decision that the head received, and its time.
    last: Mutex<Option<(DecisionView, Instant)>>,
}

impl RedisLine {
    /// Publishes a decision of the head to the waiters behind it.
    pub(super) fn publish(&self, decision: DecisionView) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((decision, Instant::now()));
    }

    /// Returns the last decision of the head, and its age, unless it is old.
    pub(super) fn last_decision(&self) -> Option<(DecisionView, Duration)> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (decision, at) = last?;
        let age = at.elapsed();
        (age < MAX_AGE).then_some((decision, age))
    }
}

impl AsRef<Line> for RedisLine {
    fn as_ref(&self) -> &Line {
        &self.line
    }
}
