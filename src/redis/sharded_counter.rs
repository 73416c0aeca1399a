//! Event counter without contention: one cache line per shard, and a fixed shard per thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

const SHARDS: usize = 16;

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

std::thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// Counter that many threads increment and few read.
#[derive(Default)]
pub(super) struct ShardedCounter([CachePadded<AtomicU64>; SHARDS]);

impl ShardedCounter {
    #[inline]
    pub(super) fn increment(&self) {
        // The thread-local is gone while the thread exits: any shard is correct.
        let shard = SHARD.try_with(|&shard| shard).unwrap_or(0);
        self.0[shard].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.0
            .iter()
            .map(|shard| shard.load(Ordering::Relaxed))
            .sum()
    }
}
