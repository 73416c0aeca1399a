//! What a request is charged: so many tokens, of one bucket or of several.

use std::{mem, ptr};

use super::routes::Route;
use crate::{limits::Limits, metrics::RouteCounters};

/// What a request costs, and where it is counted.
#[derive(Clone)]
pub(super) struct Price<'a> {
    /// `None`: never limited.
    pub(super) fee: Option<Fee<'a>>,
    /// From other buckets, when its path can be read in several ways.
    pub(super) more: Vec<Fee<'a>>,
    pub(super) counts: &'a RouteCounters,
}

/// Tokens of one bucket.
#[derive(Clone, Copy)]
pub(super) struct Fee<'a> {
    /// A route's own; `None`: the default.
    pub(super) limits: Option<&'a Limits>,
    pub(super) cost: u32,
}

impl<'a> Price<'a> {
    /// So many tokens of the default bucket.
    pub(super) fn standard(cost: u32, counts: &'a RouteCounters) -> Price<'a> {
        Price {
            fee: Some(Fee { limits: None, cost }),
            more: Vec::new(),
            counts,
        }
    }

    /// What this is by a route, which may leave the cost as it is.
    pub(super) fn by(&self, route: &'a Route) -> Price<'a> {
        let standard = self.fee.map_or(1, |fee| fee.cost);
        let fee = Fee {
            limits: route.limits.as_deref(),
            cost: route.configured.cost.unwrap_or(standard),
        };
        Price {
            fee: (!route.configured.exempt).then_some(fee),
            more: Vec::new(),
            counts: &route.counts,
        }
    }

    /// Both. It is counted and shown as the one with limits of its own, or else the costlier; from
    /// the same bucket, the higher cost is all there is to pay.
    pub(super) fn and(mut self, mut other: Price<'a>) -> Price<'a> {
        if other.rank() > self.rank() {
            mem::swap(&mut self, &mut other);
        }
        for fee in other.fee.into_iter().chain(other.more) {
            match self
                .fee
                .iter_mut()
                .chain(&mut self.more)
                .find(|known| known.has_the_bucket_of(&fee))
            {
                Some(known) => known.cost = known.cost.max(fee.cost),
                None => self.more.push(fee),
            }
        }
        self
    }

    /// An exemption is less than any cost.
    fn rank(&self) -> Option<(bool, u32)> {
        self.fee.map(|fee| (fee.limits.is_some(), fee.cost))
    }
}

impl Fee<'_> {
    fn has_the_bucket_of(&self, other: &Fee<'_>) -> bool {
        match (self.limits, other.limits) {
            (Some(own), Some(others)) => ptr::eq(own, others),
            (own, others) => own.is_none() && others.is_none(),
        }
    }
}
