//! Bucket that several tasks use.

use std::{ops::Deref, sync::Arc};

use crate::bucket::Bucket;

/// Bucket of a [`Limited`](super::Limited) stream: a `static` or an `Arc`, from which it is made.
#[derive(Clone, Debug)]
pub struct SharedBucket(Handle);

#[derive(Clone, Debug)]
enum Handle {
    Static(&'static Bucket),
    Counted(Arc<Bucket>),
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

impl Deref for SharedBucket {
    type Target = Bucket;

    fn deref(&self) -> &Bucket {
        match &self.0 {
            Handle::Static(bucket) => bucket,
            Handle::Counted(bucket) => bucket,
        }
    }
}
