//! Bucket that several tasks use.

use std::{fmt, hash::BuildHasher, hash::Hash, pin::Pin, sync::Arc, time::Duration};

use crate::{
    bucket::Bucket,
    keyed::KeyedLimiter,
    wait::{self, Reservable, TokioTimer},
};

/// Bucket of a [`Limited`](super::Limited) stream: a `static` or an `Arc`, from which it is made, or
/// that of a key ([`KeyedLimiter::key`]).
#[derive(Clone, Debug)]
pub struct SharedBucket(Handle);

#[derive(Clone, Debug)]
enum Handle {
    Static(&'static Bucket),
    Counted(Arc<Bucket>),
    Key(Arc<dyn SharedKey>),
}

/// Future of a wait.
pub(super) type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Interval at which a key without a line is tried again.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl SharedBucket {
    pub(super) fn capacity(&self) -> u32 {
        match &self.0 {
            Handle::Static(bucket) => bucket.quota().capacity(),
            Handle::Counted(bucket) => bucket.quota().capacity(),
            Handle::Key(key) => key.capacity(),
        }
    }

    /// Takes tokens that are available now, unless callers are queued. Returns true if it did.
    pub(super) fn takes_at_once(&self, cost: u32) -> bool {
        match &self.0 {
            Handle::Static(bucket) => takes_at_once(*bucket, cost),
            Handle::Counted(bucket) => takes_at_once(&**bucket, cost),
            Handle::Key(key) => key.takes_at_once(cost),
        }
    }

    /// Takes tokens in the order of arrival.
    pub(super) fn acquire_all(&self, tokens: u64) -> Waiting {
        match self.0.clone() {
            Handle::Static(bucket) => Box::pin(bucket.acquire_all(tokens)),
            Handle::Counted(bucket) => Box::pin(async move { bucket.acquire_all(tokens).await }),
            Handle::Key(key) => key.acquire_all(tokens),
        }
    }
}

fn takes_at_once(target: impl Reservable, cost: u32) -> bool {
    let decision = target.take_unless_queued(cost);
    decision.is_some_and(|decision| decision.is_allowed())
}

impl From<&'static Bucket> for SharedBucket {
    fn from(bucket: &'static Bucket) -> SharedBucket {
        SharedBucket(Handle::Static(bucket))
    }
}

impl From<Arc<Bucket>> for SharedBucket {
    fn from(bucket: Arc<Bucket>) -> SharedBucket {
        SharedBucket(Handle::Counted(bucket))
    }
}

/// Key of a limiter of any type.
trait SharedKey: fmt::Debug + Send + Sync {
    /// Returns the capacity of the key's quota, which may be that of a rule.
    fn capacity(&self) -> u32;
    /// See [`SharedBucket::takes_at_once`].
    fn takes_at_once(&self, cost: u32) -> bool;
    /// See [`SharedBucket::acquire_all`].
    fn acquire_all(self: Arc<Self>, tokens: u64) -> Waiting;
}

/// Key by its hash, with its limiter.
struct HashedKey<K: ?Sized, S> {
    limiter: Arc<KeyedLimiter<K, S>>,
    hash: u64,
}

impl<K, S> SharedKey for HashedKey<K, S>
where
    K: Hash + ?Sized + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn capacity(&self) -> u32 {
        self.limiter.key_ref_of(self.hash).take(0).limit()
    }

    fn takes_at_once(&self, cost: u32) -> bool {
        takes_at_once(self.limiter.key_ref_of(self.hash), cost)
    }

    fn acquire_all(self: Arc<Self>, tokens: u64) -> Waiting {
        Box::pin(async move {
            let key = self.limiter.key_ref_of(self.hash);
            // The only error is that too many keys have a line.
            while wait::acquire_all(key, TokioTimer, tokens).await.is_err() {
                let end = key.clock().now().saturating_add(POLL_INTERVAL);
                key.clock().sleep_until(TokioTimer, end).await;
            }
        })
    }
}

impl<K: ?Sized, S> fmt::Debug for HashedKey<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl<K, S> KeyedLimiter<K, S>
where
    K: Hash + ?Sized + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Returns the bucket of a key, for a [`Limited`](super::Limited) stream. Streams of one key share
    /// its bucket, and wait in its line.
    ///
    /// When more keys wait than the limiter allows, a stream of a further key tries again every 10 ms,
    /// and other callers of that key may be served before it.
    ///
    /// ```
    /// # use {std::{net::IpAddr, sync::Arc}, tokio::net::TcpStream};
    /// # use tollgate::{KeyedLimiter, Quota, io::Limited};
    /// # fn example(socket: TcpStream, client: IpAddr) {
    /// // For each client: 100 kB a second.
    /// let limiter = Arc::new(KeyedLimiter::<IpAddr>::new(Quota::per_second(100_000), 10_000));
    /// let socket = Limited::new(socket, limiter.key(&client));
    /// # }
    /// ```
    pub fn key(self: &Arc<Self>, key: &K) -> SharedBucket {
        SharedBucket(Handle::Key(Arc::new(HashedKey {
            limiter: Arc::clone(self),
            hash: self.hash(key),
        })))
    }
}
