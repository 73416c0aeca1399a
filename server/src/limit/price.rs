//! Price of a request: its cost in tokens of one bucket or of several.

use std::{mem, sync::Arc};

use super::limiter::Limiter;
use crate::metrics::RouteCounters;

/// Price of a request, and the counters of its route.
#[derive(Clone)]
pub(crate) struct Price<'a> {
    /// `None`: the request is exempt.
    pub(crate) fee: Option<Fee<'a>>,
    /// Fees from other buckets, when the path has several readings. Not allocated while empty.
    pub(crate) more: Vec<Fee<'a>>,
    pub(crate) counters: &'a Arc<RouteCounters>,
}

/// Cost in tokens of one bucket.
#[derive(Clone, Copy)]
pub(crate) struct Fee<'a> {
    /// Limit of the route; `None`: the default limiter.
    pub(crate) own: Option<&'a OwnLimit>,
    pub(crate) cost: u32,
}

/// Limit of a route with a quota of its own.
#[derive(Clone)]
pub(crate) struct OwnLimit {
    pub(crate) limiter: Arc<Limiter>,
    /// Name of the policy in headers.
    pub(crate) policy: Arc<str>,
}

impl<'a> Price<'a> {
    /// Creates a price in tokens of the default limiter.
    #[inline]
    pub(super) fn new(cost: u32, counters: &'a Arc<RouteCounters>) -> Price<'a> {
        Price {
            fee: Some(Fee { own: None, cost }),
            more: Vec::new(),
            counters,
        }
    }

    /// Combines the prices of two readings of a path.
    ///
    /// Counters and first fee are those of the price with a limiter of its own, else of the higher
    /// cost. For each bucket, the higher cost counts.
    pub(super) fn combine(mut self, mut other: Price<'a>) -> Price<'a> {
        if other.rank() > self.rank() {
            mem::swap(&mut self, &mut other);
        }
        for fee in other.fee.into_iter().chain(other.more) {
            match self
                .fee
                .iter_mut()
                .chain(&mut self.more)
                .find(|known| known.has_same_bucket(&fee))
            {
                Some(known) => known.cost = known.cost.max(fee.cost),
                None => self.more.push(fee),
            }
        }
        self
    }

    /// An exemption ranks below every cost.
    fn rank(&self) -> Option<(bool, u32)> {
        self.fee.map(|fee| (fee.own.is_some(), fee.cost))
    }
}

impl Fee<'_> {
    fn has_same_bucket(&self, other: &Fee<'_>) -> bool {
        match (self.own, other.own) {
            (Some(own), Some(other)) => Arc::ptr_eq(&own.limiter, &other.limiter),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}
