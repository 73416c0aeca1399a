//! Network that loses, delays, duplicates and reorders messages.

use crate::{
    redis::lease::{
        protocol::{LeaseReply, LeaseRequest},
        reference::random::Random,
    },
    state::State,
};

#[derive(Clone, Debug)]
pub(super) enum Packet {
    Request(LeaseRequest),
    /// Takes tokens from the bucket itself.
    Take {
        seq: u64,
        cost: u32,
    },
    Reply {
        request: LeaseRequest,
        reply: LeaseReply,
    },
    TakeReply {
        seq: u64,
        refused: Option<(State, u64)>,
    },
}

/// Packet in flight.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) arrives_at: u64,
    /// Process that is the sender of a request or the receiver of a reply.
    pub(super) process: usize,
    /// Time at which the process sent the request, by its own clock.
    pub(super) requested_at: u64,
    pub(super) packet: Packet,
}

/// Messages in flight, delivered in the order of their arrival times.
pub(super) struct Network {
    pub(super) in_flight: Vec<Envelope>,
    /// Percentage of lost messages.
    pub(super) loss: u64,
    /// Percentage of duplicated messages.
    pub(super) duplication: u64,
    /// Whether messages of one process arrive in the order in which they were sent.
    pub(super) in_order: bool,
    /// Maximum delay of most messages, in nanoseconds.
    pub(super) delay: u64,
    /// Maximum delay of a few messages, in nanoseconds.
    pub(super) long_delay: u64,
    /// Number of messages sent.
    pub(super) sent: u64,
}

impl Network {
    pub(super) fn send(&mut self, random: &mut Random, now: u64, message: Envelope) {
        self.sent += 1;
        let copies = if random.chance(self.duplication) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if random.chance(self.loss) {
                continue;
            }
            let max_delay = if random.chance(5) {
                self.long_delay
            } else {
                self.delay
            };
            let mut arrives_at = now + random.log_uniform(max_delay);
            if self.in_order {
                let earlier = self
                    .in_flight
                    .iter()
                    .filter(|envelope| envelope.process == message.process)
                    .map(|envelope| envelope.arrives_at);
                arrives_at = arrives_at.max(earlier.max().unwrap_or(0) + 1);
            }
            self.in_flight.push(Envelope {
                arrives_at,
                ..message.clone()
            });
        }
    }

    /// Removes and returns the next message that arrives, not later than `until`.
    pub(super) fn receive(&mut self, until: u64) -> Option<Envelope> {
        let next = self
            .in_flight
            .iter()
            .enumerate()
            .min_by_key(|(_, envelope)| envelope.arrives_at)?
            .0;
        (self.in_flight[next].arrives_at <= until).then(|| self.in_flight.swap_remove(next))
    }
}
