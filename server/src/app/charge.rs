//! Taking what a request costs: all of it, or nothing.

use super::{
    App,
    endpoint::Endpoint,
    price::{Fee, Price},
};
use crate::{
    client::Id,
    limits::{Decided, Limits},
    metrics::RouteCounters,
};

/// A request whose client is known, and what it costs.
pub(super) struct Charge<'a> {
    pub(super) endpoint: Endpoint<'a>,
    pub(super) id: Id<'a>,
    pub(super) fee: Fee<'a>,
    /// From other buckets; see [`Price`].
    more: Vec<Fee<'a>>,
    pub(super) counts: &'a RouteCounters,
}

impl<'a> Charge<'a> {
    /// `None`: it is never limited.
    pub(super) fn new(endpoint: Endpoint<'a>, id: Id<'a>, price: Price<'a>) -> Option<Charge<'a>> {
        let Price { fee, more, counts } = price;
        Some(Charge {
            endpoint,
            id,
            fee: fee?,
            more,
            counts,
        })
    }
}

impl App {
    /// Decides, if that can be done here and now.
    #[inline]
    pub(super) fn charge_at_once(&self, charge: &Charge<'_>) -> Option<Decided> {
        if !charge.more.is_empty() {
            return None;
        }
        self.metrics.latency.sampled(|| {
            self.limits_of(&charge.fee)
                .try_acquire(&charge.id, charge.fee.cost)
        })
    }

    /// Decides, wherever that is done. Of several buckets, the first is shown, or else the one that
    /// has too little: then the others get back what they gave.
    pub(super) async fn charge(&self, charge: &Charge<'_>) -> Decided {
        let first = self.take(charge, &charge.fee).await;
        if first.decision.is_refused() || charge.more.is_empty() {
            return first;
        }
        let mut taken = vec![(&charge.fee, first)];
        for fee in &charge.more {
            let decided = self.take(charge, fee).await;
            if decided.decision.is_refused() {
                for (fee, decided) in taken {
                    self.limits_of(fee).refund(&charge.id, decided).await;
                }
                return decided;
            }
            taken.push((fee, decided));
        }
        first
    }

    async fn take(&self, charge: &Charge<'_>, fee: &Fee<'_>) -> Decided {
        self.metrics
            .latency
            .timed(self.limits_of(fee).acquire(&charge.id, fee.cost))
            .await
    }

    fn limits_of<'a>(&'a self, fee: &Fee<'a>) -> &'a Limits {
        fee.limits.unwrap_or(&self.limits)
    }
}
