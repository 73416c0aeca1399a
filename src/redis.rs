//! The same buckets in Redis or Valkey, for limits that many machines share.

mod lease;
