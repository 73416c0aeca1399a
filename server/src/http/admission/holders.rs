//! Networks and the number of their connections, the largest first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::super::activity::{Activity, Shutdown};

/// Maximum number of connections that one search examines: of each holder, and in total. They bound
/// the time under the lock when most connections are busy. The next search continues where this one
/// ended.
const SEARCH_PER_HOLDER: usize = 256;
pub(super) const SEARCH_TOTAL: usize = 4096;

/// Origin of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The peer's address, or the network of an IPv6 address.
    pub(crate) network: IpAddr,
    pub(crate) is_trusted: bool,
    pub(crate) is_loopback: bool,
}

/// Connections of all networks that are not trusted, by network.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_network: HashMap<IpAddr, Holder>,
    /// The largest holder comes last. Of equal ones, the one that was examined or changed least
    /// recently comes last.
    ranks: BTreeSet<Rank>,
    changes: u64,
}

type Rank = (usize, Reverse<u64>, IpAddr);

/// Connections of a network.
#[derive(Debug, Default)]
struct Holder {
    /// By id, so in the order in which they were accepted.
    connections: BTreeMap<u64, Arc<Activity>>,
    /// Id at which the next search begins.
    cursor: u64,
    changed: u64,
}

impl Holders {
    /// Number of connections of the network.
    pub(super) fn open(&self, network: IpAddr) -> usize {
        self.by_network
            .get(&network)
            .map_or(0, |holder| holder.connections.len())
    }

    /// The network with the most connections, and their number.
    pub(super) fn largest(&self) -> Option<(IpAddr, usize)> {
        self.ranks.last().map(|&(open, _, network)| (network, open))
    }

    pub(super) fn insert(&mut self, network: IpAddr, id: u64, activity: &Arc<Activity>) {
        self.change(network, |holder| {
            holder.connections.insert(id, Arc::clone(activity));
        });
    }

    pub(super) fn remove(&mut self, network: IpAddr, id: u64) {
        self.change(network, |holder| {
            holder.connections.remove(&id);
        });
    }

    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut Holder)) {
        let holder = self.by_network.entry(network).or_default();
        self.ranks.remove(&holder.rank(network));
        change(holder);
        self.changes += 1;
        holder.changed = self.changes;
        if holder.connections.is_empty() {
            self.by_network.remove(&network);
        } else {
            self.ranks.insert(holder.rank(network));
        }
    }

    /// Finds an idle connection whose permit a connection from `origin` may take: one of the largest
    /// holder that has one, if it has more connections than the origin, else one of the origin's own.
    /// Without `of_others`, only the latter.
    pub(super) fn find_idle(
        &mut self,
        origin: Origin,
        of_others: bool,
        budget: &mut usize,
    ) -> Option<(u64, Arc<Activity>)> {
        let own = match origin.is_trusted {
            true => 0,
            false => self.open(origin.network),
        };
        let (mut found, mut busy) = (None, Vec::new());
        let mut next = self.ranks.last().copied().filter(|_| of_others);
        while let Some(rank @ (open, _, network)) = next
            && open > own
            && *budget > 0
        {
            found = self.idle_of(network, budget);
            if found.is_some() {
                break;
            }
            busy.push(network);
            next = self.ranks.range(..rank).next_back().copied();
        }
        for network in busy {
            self.change(network, |_| {});
        }
        if found.is_none() && own > 0 {
            found = self.idle_of(origin.network, budget);
        }
        found
    }

    fn idle_of(&mut self, network: IpAddr, budget: &mut usize) -> Option<(u64, Arc<Activity>)> {
        self.by_network.get_mut(&network)?.next_idle(budget)
    }
}

impl Holder {
    fn rank(&self, network: IpAddr) -> Rank {
        (self.connections.len(), Reverse(self.changed), network)
    }

    /// Finds an idle connection that is not being closed, in the order of their ids.
    fn next_idle(&mut self, budget: &mut usize) -> Option<(u64, Arc<Activity>)> {
        let (first, rest) = (self.connections.range(self.cursor..), ..self.cursor);
        let rest = self.connections.range(rest);
        for (id, activity) in first.chain(rest).take((*budget).min(SEARCH_PER_HOLDER)) {
            *budget -= 1;
            self.cursor = id + 1;
            if activity.shutdown() == Shutdown::None && activity.is_idle() {
                return Some((*id, Arc::clone(activity)));
            }
        }
        None
    }
}
