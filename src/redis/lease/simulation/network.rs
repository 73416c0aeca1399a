//! Messages under way, delivered in the order of their time of arrival.

use super::random::Random;
use crate::{
    redis::lease::{Ask, Reply},
    state::State,
};

#[derive(Clone, Debug)]
pub(super) enum Packet {
    Ask(Ask),
    /// Tokens taken one by one.
    Take {
        seq: u64,
        cost: u32,
    },
    Reply {
        ask: Ask,
        reply: Reply,
    },
    Taken {
        seq: u64,
        refused: Option<(State, u64)>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: u64,
    /// Which process sent it, or is to get it.
    pub(super) process: usize,
    /// When the process sent the request, by its own clock.
    pub(super) asked: u64,
    pub(super) packet: Packet,
}

pub(super) struct Network {
    pub(super) under_way: Vec<Sent>,
    /// In hundredths.
    pub(super) loss: u64,
    pub(super) doubles: u64,
    /// Whether what one process sends first arrives first.
    pub(super) in_order: bool,
    /// Nanoseconds, at most, of most messages, and of a few.
    pub(super) delay: u64,
    pub(super) long_delay: u64,
    pub(super) sent: u64,
}

impl Network {
    pub(super) fn send(&mut self, random: &mut Random, now: u64, message: Sent) {
        self.sent += 1;
        let copies = if random.chance(self.doubles) { 2 } else { 1 };
        for _ in 0..copies {
            if random.chance(self.loss) {
                continue;
            }
            let most = if random.chance(5) {
                self.long_delay
            } else {
                self.delay
            };
            let mut at = now + random.spread(most);
            if self.in_order {
                let before = self
                    .under_way
                    .iter()
                    .filter(|sent| sent.process == message.process);
                at = at.max(before.map(|sent| sent.at).max().unwrap_or(0) + 1);
            }
            self.under_way.push(Sent {
                at,
                ..message.clone()
            });
        }
    }

    /// The next to arrive, until a time.
    pub(super) fn arrives(&mut self, until: u64) -> Option<Sent> {
        let next = self
            .under_way
            .iter()
            .enumerate()
            .min_by_key(|(_, sent)| sent.at)?
            .0;
        (self.under_way[next].at <= until).then(|| self.under_way.swap_remove(next))
    }
}
