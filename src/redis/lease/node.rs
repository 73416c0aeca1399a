//! What a process knows of one key, and every event that changes it.
//!
//! Nothing here waits, sends or reads a clock: time comes in, in nanoseconds of the process's own
//! monotonic clock, and a message to send comes out. One message is under way at a time, and
//! everybody who needs its answer waits for that one.

mod demand;
mod hand_back;
mod refusal;

use demand::Demand;
use refusal::{Refusal, Seen};

use super::{Ask, Balance, Reply, Settings};
use crate::state::State;

/// One key, as far as a process knows it; beside it, the [`Balance`] it spends from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The last request sent.
    seq: u64,
    /// The last request whose answer arrived in time.
    known: u64,
    flight: Option<Flight>,
    /// Unspent tokens on their way back, until it is known that they arrived.
    back: u32,
    /// A request was lost: the ledger may have granted what never arrived here.
    unsure: bool,
    tries: u32,
    retry_at: u64,
    /// What the lease had at its last renewal.
    lot: u32,
    /// More is asked for when fewer than this are left.
    ask_below: u32,
    demand: Demand,
    refusal: Refusal,
    /// Others hold all that may be out on lease: until then, tokens are taken one by one.
    exact_until: u64,
    closed: bool,
    /// Counts the messages and whatever else changes what is held, but for spending.
    turn: u64,
}

/// The message that is under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    seq: u64,
    sent: u64,
    kept: u32,
    need: u32,
    /// Not a request of this protocol, but tokens taken one by one.
    exact: bool,
    /// It hands back only.
    returns: bool,
}

/// The answer to who asks for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// They were taken; so many are left on lease.
    Allowed { left: u32 },
    /// They cannot be there before `retry` nanoseconds have passed, and for `barred` of them the
    /// answer stays the same, as long as nothing else happens.
    Refused { retry: u64, barred: u64 },
    /// An answer is under way: ask again when it has come, or is lost.
    Wait,
    /// To be taken from the bucket itself, by whoever asked; [`Node::decided`] is told the outcome,
    /// with this number.
    Exact { seq: u64 },
}

/// An answer, and a message to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) answer: Answer,
    pub(crate) ask: Option<Ask>,
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Step {
        Step { answer, ask: None }
    }
}

impl Node {
    /// Somebody asks for `cost` tokens, at least one and at most the capacity.
    pub(crate) fn take(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        cost: u32,
    ) -> Step {
        self.lose_overdue(settings, now);
        if self.closed {
            return Answer::Exact { seq: 0 }.into();
        }
        if let Some(left) = balance.take(now, cost) {
            return Step {
                answer: Answer::Allowed { left },
                ask: self.spent(settings, balance, now, left),
            };
        }
        self.take_from_afar(settings, balance, now, cost)
    }

    /// Somebody has spent from the balance, and so many are left.
    pub(crate) fn spent(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        left: u32,
    ) -> Option<Ask> {
        if left < self.ask_below && !self.closed {
            self.ask_ahead(settings, balance, now)
        } else {
            None
        }
    }

    fn take_from_afar(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        cost: u32,
    ) -> Step {
        if self.flight.is_some() {
            self.demand.waits(cost);
            return Answer::Wait.into();
        }
        let exact = cost > settings.limits.most || now < self.exact_until;
        let left = balance.left();
        let kept = if exact || now >= left.expiry {
            0
        } else {
            left.tokens
        };
        if let Some(barred) = self.refusal.bars(settings, now, cost - kept) {
            return Answer::Refused {
                retry: barred.retry,
                barred: barred.ask,
            }
            .into();
        }
        if exact {
            self.seq += 1;
            self.flight = Some(Flight {
                seq: self.seq,
                sent: now,
                kept: 0,
                need: cost,
                exact: true,
                returns: false,
            });
            return Answer::Exact { seq: self.seq }.into();
        }
        self.demand.waits(cost);
        let want = self.demand.want(settings, now);
        Step {
            answer: Answer::Wait,
            ask: Some(self.send(settings, balance, now, cost, want)),
        }
    }

    /// Half of the lease is spent: whoever goes on spending need not wait for the rest.
    fn ask_ahead(&mut self, settings: &Settings, balance: &Balance, now: u64) -> Option<Ask> {
        if self.flight.is_some() {
            return None;
        }
        self.ask_below = 0;
        if now < self.exact_until || self.refusal.bars(settings, now, 1).is_some() {
            return None;
        }
        let want = self.demand.want(settings, now);
        Some(self.send(settings, balance, now, 0, want))
    }

    fn send(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        need: u32,
        want: u32,
    ) -> Ask {
        self.turn += 1;
        self.collect(balance, now);
        let kept = balance.left().tokens;
        self.seq += 1;
        self.ask_below = 0;
        let (seq, returns) = (self.seq, want == 0);
        self.flight = Some(Flight {
            seq,
            sent: now,
            kept,
            need,
            exact: false,
            returns,
        });
        Ask {
            node: settings.node,
            seq,
            known: self.known,
            kept,
            back: self.back,
            need,
            want,
        }
    }

    /// An answer has arrived. `false`: nobody waits for it any more, and it changes nothing.
    pub(crate) fn reply(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        reply: &Reply,
    ) -> bool {
        self.lose_overdue(settings, now);
        let Some(flight) = self
            .flight
            .filter(|flight| flight.seq == reply.seq && !flight.exact)
        else {
            return false;
        };
        self.turn += 1;
        (self.flight, self.known) = (None, reply.seq);
        (self.back, self.unsure, self.tries) = (0, false, 0);
        self.demand.landed();
        if reply.kept < flight.kept {
            // The lease had ended before the request arrived.
            balance.close();
        }
        // Counted from when it was sent: the ledger counts from when it arrived, which is later.
        self.lot = balance.deposit(
            reply.granted,
            flight.sent.saturating_add(settings.spendable()),
        );
        if reply.granted > 0 {
            self.ask_below = if self.lot > 1 { self.lot / 2 + 1 } else { 0 };
            self.demand.granted(now);
            self.refusal.lifted();
        } else if !flight.returns {
            self.nothing_granted(settings, now, &flight, reply);
        }
        true
    }

    fn nothing_granted(&mut self, settings: &Settings, now: u64, flight: &Flight, reply: &Reply) {
        let missing = flight.need.saturating_sub(reply.kept).max(1);
        let seen = Seen::new(settings, reply.state, reply.now);
        if seen.remaining(settings) < missing {
            self.refusal.refused(now, missing, seen);
        } else if flight.need > 0 {
            self.exact_until = now.saturating_add(settings.lifetime() / 4);
        }
    }

    /// Tokens were taken one by one, or `refused` by the bucket in that state at that time of the
    /// server's. `false`: nobody waits for it any more.
    pub(crate) fn decided(
        &mut self,
        settings: &Settings,
        now: u64,
        seq: u64,
        refused: Option<(State, u64)>,
    ) -> bool {
        let Some(flight) = self
            .flight
            .filter(|flight| flight.seq == seq && flight.exact)
        else {
            return false;
        };
        self.flight = None;
        self.demand.landed();
        match refused {
            None => self.refusal.lifted(),
            Some((state, at)) => {
                self.refusal
                    .refused(now, flight.need, Seen::new(settings, state, at))
            }
        }
        true
    }

    /// The message with this number failed, or its answer is not waited for any more. `false`: nor
    /// was it before.
    pub(crate) fn lost(&mut self, seq: u64) -> bool {
        let Some(flight) = self.flight.filter(|flight| flight.seq == seq) else {
            return false;
        };
        self.flight = None;
        self.demand.landed();
        self.unsure |= !flight.exact;
        true
    }

    fn lose_overdue(&mut self, settings: &Settings, now: u64) {
        if let Some(flight) = self.flight
            && now >= flight.sent.saturating_add(settings.timeout)
        {
            self.lost(flight.seq);
        }
    }

    /// The bucket got tokens otherwise than by refill: what was refused before may pass now. What
    /// was taken before stays taken.
    pub(crate) fn was_filled(&mut self) {
        self.turn += 1;
        (self.refusal, self.exact_until) = (Refusal::default(), 0);
    }

    /// Puts back what was spent from the balance in this turn. No message has told the ledger of it
    /// yet, so it is as if it had not been. `false`: too late.
    pub(crate) fn unspend(&mut self, balance: &Balance, now: u64, turn: u64, cost: u32) -> bool {
        let expiry = balance.left().expiry;
        if turn != self.turn || now >= expiry {
            return false;
        }
        balance.deposit(cost, expiry);
        true
    }

    /// See [`Node::unspend`].
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Whether a refusal still bars somebody, or that others hold everything.
    pub(crate) fn remembers(&self, now: u64) -> bool {
        now < self.exact_until || self.refusal.remembers(now)
    }

    /// More is asked for when fewer than this are left: until then nobody need ask here.
    pub(crate) fn ask_below(&self) -> u32 {
        self.ask_below
    }
}

/// For checks from outside.
#[cfg(test)]
impl Node {
    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.flight
            .is_some_and(|flight| flight.seq == seq && !flight.exact)
    }

    pub(super) fn awaits_any(&self) -> bool {
        self.flight.is_some_and(|flight| !flight.exact)
    }
}

#[cfg(test)]
mod tests;
