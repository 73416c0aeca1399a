//! State of all permits: ordinary, reserved and requested ones.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    super::activity::{Activity, Shutdown},
    holders::{Holders, Origin, SEARCH_TOTAL},
};

/// Reserved permits.
const RESERVED: usize = 8;
/// Maximum number of accepted connections that wait for a permit.
const MAX_WAITING: usize = 64;
/// Maximum number of connections without an ordinary permit. There may be twice as many reserved
/// ones as permits while the idle ones among them are being closed.
pub(crate) const BEYOND_PERMITS: usize = 2 * RESERVED + MAX_WAITING;

/// Interval at which waiting connections search for idle ones again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Time for the first request on a connection with a reserved permit. Until then it is not closed in
/// favour of another one.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// A search that examined more connections than this and found none is not repeated within the
/// interval.
const SHORT_SEARCH: usize = 512;

/// Limits on the number of connections.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct PermitLimits {
    pub(in crate::http) max: usize,
    /// Of each network that is not trusted.
    pub(in crate::http) max_per_address: Option<usize>,
}

/// Outcome of a request for a permit, with the id of the connection.
pub(super) enum Request {
    Granted(u64, Granted),
    Waiting(u64, oneshot::Receiver<Granted>),
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Ordinary,
    Reserved,
}

pub(super) struct State {
    limits: PermitLimits,
    next_id: u64,
    connections: HashMap<u64, Connection>,
    /// Ordinary permits in use.
    open: usize,
    /// Ordinary permits in use, except those of trusted proxies.
    holders: Holders,
    /// Connections with a reserved permit and the times of its grant, the oldest first.
    reserve: Vec<(u64, Instant)>,
    waiting: Vec<u64>,
    /// Connections with an ordinary permit that were requested to close if idle.
    evicting: HashSet<u64>,
    /// Time of the next search for idle connections.
    search_at: Option<Instant>,
    /// The limit was reached, and since then at least half of the permits have been in use.
    is_full: bool,
}

struct Connection {
    origin: Origin,
    activity: Arc<Activity>,
    place: Place,
}

enum Place {
    Ordinary,
    Reserved,
    Waiting {
        grant: oneshot::Sender<Granted>,
        accepts_reserved: bool,
    },
}

impl State {
    pub(super) fn new(limits: PermitLimits) -> State {
        State {
            limits,
            next_id: 0,
            connections: HashMap::new(),
            open: 0,
            holders: Holders::default(),
            reserve: Vec::new(),
            waiting: Vec::new(),
            evicting: HashSet::new(),
            search_at: None,
            is_full: false,
        }
    }

    /// Requests a permit for a new connection.
    pub(super) fn admit(&mut self, origin: Origin, activity: &Arc<Activity>) -> Request {
        self.request(origin, activity, origin.is_loopback)
    }

    /// Requests an ordinary permit for an open connection.
    pub(super) fn readmit(&mut self, origin: Origin, activity: &Arc<Activity>) -> Request {
        self.request(origin, activity, false)
    }

    fn request(
        &mut self,
        origin: Origin,
        activity: &Arc<Activity>,
        accepts_reserved: bool,
    ) -> Request {
        let id = self.next_id;
        self.next_id += 1;
        if self.is_at_bound(origin) {
            return match accepts_reserved && self.has_reserved() {
                true => {
                    self.insert(id, origin, activity, Place::Reserved);
                    Request::Granted(id, Granted::Reserved)
                }
                false => Request::Refused,
            };
        }
        self.is_full &= self.open >= self.limits.max / 2;
        if self.open < self.limits.max {
            self.insert(id, origin, activity, Place::Ordinary);
            return Request::Granted(id, Granted::Ordinary);
        }
        self.log_full();
        if self.waiting.len() >= MAX_WAITING {
            self.remove_waiting_of_largest_holder();
        }
        let (grant, mut granted) = oneshot::channel();
        let place = Place::Waiting {
            grant,
            accepts_reserved,
        };
        self.insert(id, origin, activity, place);
        self.settle();
        match granted.try_recv() {
            Ok(granted) => Request::Granted(id, granted),
            Err(_) => Request::Waiting(id, granted),
        }
    }

    /// Removes a connection, with or without a permit.
    pub(super) fn release(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        match connection.place {
            Place::Ordinary => {
                self.open -= 1;
                self.evicting.remove(&id);
                if !connection.origin.is_trusted {
                    self.holders.remove(connection.origin.network, id);
                }
            }
            Place::Reserved => self.reserve.retain(|(reserved, _)| *reserved != id),
            Place::Waiting { .. } => self.waiting.retain(|waiting| *waiting != id),
        }
        self.settle();
    }

    /// Records that a connection was not idle when it was requested to close.
    pub(super) fn refuse_eviction(&mut self, id: u64, activity: &Activity) {
        activity.cancel_eviction();
        if self.evicting.remove(&id) {
            self.settle();
        }
    }

    /// Grants free permits to waiting connections, and evicts idle connections for the others.
    pub(super) fn settle(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        // Connections of the smallest holder come first, then the oldest.
        let mut waiting: Vec<_> = self
            .waiting
            .iter()
            .filter_map(|id| {
                let origin = self.connections.get(id)?.origin;
                Some((self.open_of(origin), *id, origin))
            })
            .collect();
        waiting.sort_unstable_by_key(|&(open, id, _)| (open, id));
        let mut waiting = waiting.into_iter();
        while self.open < self.limits.max
            && let Some((_, id, _)) = waiting.next()
        {
            self.grant(id, Granted::Ordinary);
        }
        // The first ones get the permits of the connections that are being closed.
        let waiting = waiting.skip(self.evicting.len());
        let now = Instant::now();
        let mut is_searching = self.search_at.is_none_or(|time| now >= time);
        let (mut of_others, mut budget) = (true, SEARCH_TOTAL);
        for (_, id, origin) in waiting {
            let idle = is_searching
                .then(|| self.holders.find_idle(origin, of_others, &mut budget))
                .flatten();
            match idle {
                Some((idle, activity)) => {
                    self.evicting.insert(idle);
                    activity.request_shutdown(Shutdown::IfIdle);
                }
                None => {
                    // No larger holder has an idle connection, for the following ones neither.
                    of_others = false;
                    if is_searching && budget < SEARCH_TOTAL - SHORT_SEARCH {
                        self.search_at = Some(now + RETRY_INTERVAL);
                        is_searching = false;
                    }
                    if self.accepts_reserved(id) && self.has_reserved() {
                        self.grant(id, Granted::Reserved);
                    }
                }
            }
        }
    }

    fn insert(&mut self, id: u64, origin: Origin, activity: &Arc<Activity>, place: Place) {
        match place {
            Place::Ordinary => {
                self.open += 1;
                if !origin.is_trusted {
                    self.holders.insert(origin.network, id, activity);
                }
            }
            Place::Reserved => self.reserve.push((id, Instant::now())),
            Place::Waiting { .. } => self.waiting.push(id),
        }
        let activity = Arc::clone(activity);
        let connection = Connection {
            origin,
            activity,
            place,
        };
        self.connections.insert(id, connection);
    }

    /// Grants a permit to a waiting connection.
    fn grant(&mut self, id: u64, granted: Granted) {
        self.waiting.retain(|waiting| *waiting != id);
        let Some(Connection {
            origin,
            activity,
            place: Place::Waiting { grant, .. },
        }) = self.connections.remove(&id)
        else {
            return;
        };
        let place = match granted {
            Granted::Ordinary => Place::Ordinary,
            Granted::Reserved => Place::Reserved,
        };
        self.insert(id, origin, &activity, place);
        // When the receiver is gone, its guard is about to release the permit.
        let _ = grant.send(granted);
    }

    fn accepts_reserved(&self, id: u64) -> bool {
        let place = self
            .connections
            .get(&id)
            .map(|connection| &connection.place);
        matches!(
            place,
            Some(Place::Waiting {
                accepts_reserved: true,
                ..
            })
        )
    }

    /// Returns true if a reserved permit can be granted. An idle connection that holds one is
    /// requested to close when there is no free one.
    fn has_reserved(&mut self) -> bool {
        let connections = &self.connections;
        let open = || {
            let reserve = self.reserve.iter();
            reserve
                .filter_map(|(id, since)| Some((&connections.get(id)?.activity, *since)))
                .filter(|(activity, _)| activity.shutdown() == Shutdown::None)
        };
        if open().count() >= RESERVED {
            let is_due = |(activity, since): &(&Arc<Activity>, Instant)| {
                activity.is_idle() && (activity.has_requests() || since.elapsed() >= FIRST_REQUEST)
            };
            let Some((oldest, _)) = open().find(is_due) else {
                return false;
            };
            oldest.request_shutdown(Shutdown::IfIdle);
        }
        self.reserve.len() < 2 * RESERVED
    }

    /// Number of connections of the origin that compete with others: none of a trusted proxy.
    fn open_of(&self, origin: Origin) -> usize {
        match origin.is_trusted {
            true => 0,
            false => self.holders.open(origin.network),
        }
    }

    fn is_at_bound(&self, origin: Origin) -> bool {
        match self.limits.max_per_address {
            Some(max) if !origin.is_trusted => {
                self.open_of(origin) + self.waiting_of(origin) >= max
            }
            _ => false,
        }
    }

    fn waiting_of(&self, origin: Origin) -> usize {
        let waiting = self
            .waiting
            .iter()
            .filter_map(|id| self.connections.get(id));
        waiting
            .filter(|connection| connection.origin.network == origin.network)
            .count()
    }

    /// Makes room in the queue. The connection that leaves it is closed.
    fn remove_waiting_of_largest_holder(&mut self) {
        let size = |id: &u64| {
            let origin = self.connections.get(id).map(|connection| connection.origin);
            let size = origin.map_or(0, |origin| self.open_of(origin) + self.waiting_of(origin));
            (size, *id)
        };
        if let Some(largest) = self.waiting.iter().copied().max_by_key(size) {
            self.waiting.retain(|id| *id != largest);
            self.connections.remove(&largest);
        }
    }

    fn log_full(&mut self) {
        if !self.is_full {
            self.is_full = true;
            let (largest, of_largest) = self.holders.largest().unzip();
            tracing::warn!(
                max = self.limits.max,
                largest = largest.map(tracing::field::display),
                of_largest,
                "connection limit reached; idle connections of the largest holder are closed"
            );
        }
    }
}
