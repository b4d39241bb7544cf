//! `mode: lease`: what a worker holds of the limits of busy keys, so that their requests need no
//! call of an engine.
//!
//! With each [`INTERVAL`] a worker looks whether it has what the next one will need for a busy key,
//! and if not buys for the next two, by one call of the engine that stands for many requests. A
//! request takes one token of these. Where there is none, the request asks for all of the key; those
//! that come while it does wait, and take what is granted.
//!
//! **One call at a time for a busy key**, and no sooner than a [`PACE`] after the one before: all
//! requests that wait are asked for together. A call takes a credit, of which a proxy gets one in
//! each [`INTERVAL`], and keeps [`CREDITS`] in each worker; without one a request waits for the next,
//! for [`LONGEST_WAIT`] at most.
//!
//! **Never above the limit.** A request is admitted by one token, a token was granted by one answer
//! of the engine, and the engine has counted it before. A token is for a request that had come when
//! it was asked for, and so waits for the answer; or it ends with the engine's window: no window has
//! more than the engine granted in it. So only an engine that tells when its window ends is bought
//! from ahead of need, in `duration_until_reset` or in the header `x-ratelimit-reset`. Of one that
//! tells nothing a token may lie in the next window already when it arrives, whatever is done with it
//! later: there only requests that wait are asked for.
//!
//! **What is not used** lapses: the protocol has no way to give it back. A worker holds at most what
//! it has bought in the window, and it buys what its key used in the intervals before, and a little
//! more, and no more than the window has time for; so much is lost, until the window ends, with a
//! worker that dies.
//!
//! **Near the limit** engines grant all of a call or nothing. Some count it all the same
//! (envoyproxy/ratelimit), others do not (Limitador). So a refused call is halved, and once a single
//! request is refused, the key is without a call: until the window ends, where the engine tells
//! that, and otherwise for [`UNTOLD_REFUSAL`]. Then the first request asks again, for all of the
//! key. Where less is left than a lease, requests of busy keys are refused that a call for one might
//! have admitted.
//!
//! In a proxy of several workers each buys for so many intervals as there are workers, and then not
//! for as many: all of them together make one call for a key in each.
//!
//! **A clock that is set back** ends all that lasts: by it nothing can tell how long that has been.
//! A worker notices with the first request, answer or tick after it, unless less is taken back than
//! has passed since the last one, a [`PACE`] at most: tokens then last longer by as much, and so end
//! that much before their window does. What was asked for before and is answered after it is granted
//! to nobody. A clock that jumps ahead ends what would have ended by then.

mod queue;
mod window;

use super::Reply;
use super::wire::{Code, Response};
use crate::time::Nanos;
use queue::{Joined, Queue};
use window::{Told, is_clear};

pub use window::CLOCK_SKEW;

/// The time from one purchase for a key to the next, by all workers of a proxy together.
pub const INTERVAL: Nanos = Nanos::from_millis(100);

/// The time between calls for requests of a key that wait, and from one tick to the next.
pub const PACE: Nanos = Nanos::from_millis(10);

/// How many ticks an [`INTERVAL`] has.
const TICKS: u32 = 10;

/// For so many ticks a request waits for a credit, at most.
const LONGEST_WAIT: u64 = 20;

/// For so many intervals after a request has gone that asked for others too, no request asks for
/// what comes: the answer was lost with it, and what was granted.
const WARY: u32 = 10;

/// How many calls of a key a worker may make beyond one in each [`INTERVAL`] of its proxy.
const CREDITS: u32 = 8;

/// How many requests of a key in one [`INTERVAL`] make it busy at once.
const MANY: u32 = 10;

/// How long a key is refused without a call where the engine does not tell when its window ends.
/// Where a window begins with its first request, all proxies together may begin it so much late.
const UNTOLD_REFUSAL: Nanos = Nanos::from_millis(40);

/// Purchases whose tokens a worker holds at a time.
const PURCHASES: usize = 4;

/// The longest time for which a key is refused without a call.
const LONGEST_REFUSAL: Nanos = Nanos::from_secs(10);

/// Keys that a worker knows: two in each set. With their messages 100 to 400 kB.
const SETS: usize = 256;
const KEYS_OF_SET: usize = 2;

/// What a request of a key is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is admitted by a token.
    Taken,
    /// It is refused; the engine will not admit it for so long.
    Refused(Nanos),
    /// The engine has just failed to answer.
    Failed,
    /// It asks the engine.
    Ask(Call),
    /// It waits until the engine has been asked for it, with others: [`Leases::wait`].
    Wait,
}

/// A call of the engine for tokens of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// How many.
    pub hits: u32,
    /// How many of them are the asking request's own: 1, or 0 where none asks.
    pub used: u32,
    /// When the call was made.
    pub asked: Moment,
    /// Those that waited then.
    joined: Joined,
}

/// A purchase ahead of need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The key.
    pub id: u64,
    /// What identifies the key to the worker, as [`Leases::begin`] got it.
    pub key: BucketKey,
    /// How many tokens.
    pub call: Call,
}

/// A request that has waited, and what is known about it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The number that [`Leases::wait`] got.
    pub request: u32,
    /// Of the engine.
    pub reply: Reply,
}

/// What is needed to ask about a key: its limit, and the descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketKey {
    /// The limit: its place in [`crate::config::Config::rate_limits`].
    pub limit: usize,
    /// The `RateLimitRequest` without the number of hits.
    pub message: Box<[u8]>,
}

/// What a worker holds, by the id of the local bucket. Bounded: a key that is busy keeps its place,
/// one that is not gives it to any other, and one without a place asks with each request.
#[derive(Debug, Default)]
pub struct Leases {
    /// Empty until the first request of a limit with leases.
    sets: Vec<[Held; KEYS_OF_SET]>,
    /// The last time that the worker has seen.
    last: Moment,
    /// Ticks.
    ticks: u64,
    /// Requests that wait no longer.
    served: Vec<Served>,
}

/// A time by a clock that may be set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    time: Nanos,
    /// How often the clock was set back before.
    setbacks: u32,
}

/// Something that lasts.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    since: Nanos,
    length: Nanos,
}

impl Span {
    /// How much is left of it. None: it is over.
    fn left(self, now: Nanos) -> Option<Nanos> {
        let left = self.length.checked_sub(now.checked_sub(self.since)?)?;
        (left > Nanos::ZERO).then_some(left)
    }
}

/// Tokens of one or several purchases.
#[derive(Clone, Copy, Debug, Default)]
struct Tokens {
    left: u32,
    usable: Span,
}

impl Tokens {
    fn at(self, now: Nanos) -> u32 {
        self.usable.left(now).map_or(0, |_| self.left)
    }
}

/// Of one key.
#[derive(Debug, Default)]
struct Held {
    id: u64,
    key: BucketKey,
    tokens: [Tokens; PURCHASES],
    /// The requests that wait.
    queue: Queue,
    /// How many requests came in this interval.
    requests: u32,
    /// How many come in an interval, in 16ths, lately.
    rate: u32,
    /// Half of what was refused last, and twice of what was granted since.
    most: u32,
    /// Until the answer to a call has come, or will not come any more.
    asking: Span,
    /// Ticks since the last call.
    rested: u32,
    /// Calls that may be made for requests that wait, each of [`Held::cost`] ticks.
    credit: u32,
    /// For how many intervals only ticks buy ahead.
    wary: u32,
    /// For how long no request can be admitted.
    refused: Span,
    /// Whether the last answer was a refusal: all that comes next is asked for at once.
    is_over: bool,
    /// Whether the last call was refused because less is left than it was for.
    is_near: bool,
    /// For how long the engine is not asked.
    failed: Span,
    /// By the last answer.
    told: Told,
    /// The engine's window, by the last answer.
    window: Span,
}

impl Held {
    fn new(id: u64, key: BucketKey, workers: u32) -> Held {
        Held {
            id,
            key,
            requests: 1,
            most: u32::MAX,
            rested: TICKS,
            credit: CREDITS.saturating_mul(Held::cost(workers)),
            ..Held::default()
        }
    }

    /// What a call costs, in ticks.
    fn cost(workers: u32) -> u32 {
        TICKS.saturating_mul(workers.max(1))
    }

    /// Whether the requests of the key come so often that one call is for several.
    fn is_busy(&self) -> bool {
        self.rate >= 16 || self.requests >= MANY
    }

    /// How many tokens are missing for so many intervals, of which the window may not see all.
    #[inline(never)]
    fn missing(&self, intervals: u32, now: Nanos) -> u32 {
        let time = Nanos::new(INTERVAL.get().saturating_mul(intervals.into()));
        let time = self.window.left(now).map_or(time, |left| left.min(time));
        let rate = self.rate.max(self.requests.saturating_mul(16));
        let requests = u64::from(rate).saturating_mul(time.get()) / INTERVAL.get();
        let requests = u32::try_from(requests.div_ceil(16)).unwrap_or(u32::MAX);
        let more = requests.isqrt() + 1;
        let has = self.tokens.iter().map(|some| some.at(now));
        let has = has.fold(0, u32::saturating_add);
        requests.saturating_add(more).saturating_sub(has)
    }

    /// Whether more is asked for than for the requests that wait.
    fn is_bought_ahead(&self, now: Nanos) -> bool {
        self.is_busy()
            && match self.told {
                Told::Nothing => false,
                Told::Least => true,
                Told::Seconds => is_clear(now),
            }
    }

    /// Whether requests that wait may be asked for now.
    fn may_ask(&self, workers: u32, tick: u64, now: Nanos) -> bool {
        let waits = self.queue.since().map(|since| tick.wrapping_sub(since));
        let has_waited = waits.is_some_and(|ticks| ticks >= LONGEST_WAIT);
        let is_paid = self.credit >= Held::cost(workers) || has_waited;
        self.asking.left(now).is_none() && self.rested > 0 && is_paid
    }

    /// Calls for those that wait, for a request that asks if `used` is 1, and for what comes.
    #[inline(never)]
    fn call(&mut self, used: u32, workers: u32, timeout: Nanos, asked: Moment) -> Call {
        let now = asked.time;
        let is_wary = used > 0 && self.wary > 0;
        let ahead = match self.is_bought_ahead(now) && !is_wary {
            true => self.missing(workers.saturating_add(1), now),
            false => 0,
        };
        let waiting = self.queue.len().saturating_add(used);
        self.asking = Span {
            since: now,
            length: timeout,
        };
        self.rested = 0;
        self.credit = self.credit.saturating_sub(Held::cost(workers));
        Call {
            hits: ahead.max(waiting).clamp(1, self.most.max(1)),
            used,
            asked,
            joined: self.queue.joined(),
        }
    }

    /// Takes a token.
    #[inline(never)]
    fn take(&mut self, now: Nanos) -> bool {
        let usable = self.tokens.iter_mut().filter(|tokens| tokens.at(now) > 0);
        let first = usable.min_by_key(|tokens| tokens.usable.left(now));
        first.map(|tokens| tokens.left -= 1).is_some()
    }

    /// Nothing of it lasts any more. Who waits goes on waiting, and is asked for again.
    fn lapse(&mut self) {
        self.tokens = Default::default();
        self.asking = Span::default();
        self.refused = Span::default();
        self.failed = Span::default();
        self.window = Span::default();
    }

    #[inline(never)]
    fn grant(&mut self, tokens: Tokens, now: Nanos) {
        let ends = |tokens: &Tokens| tokens.usable.since + tokens.usable.length;
        let held = self.tokens.iter_mut();
        let same = |some: &&mut Tokens| some.at(now) > 0 && ends(some) == ends(&tokens);
        if let Some(same) = held.into_iter().find(same) {
            same.left = same.left.saturating_add(tokens.left);
            return;
        }
        // If none is used up, those that end first make room.
        let held = self.tokens.iter_mut();
        let first = held.min_by_key(|some| (some.at(now) > 0).then(|| ends(some)));
        if let Some(place) = first {
            *place = tokens;
        }
    }

    /// Those that wait get this reply, but for so many who came first.
    #[inline(never)]
    fn serve_beyond(&mut self, most: u32, reply: Reply, served: &mut Vec<Served>) {
        while let Some(request) = self.queue.last_beyond(most) {
            served.push(Served { request, reply });
        }
    }

    /// What an answer to a call says. How many tokens are held now that were not.
    fn answered(
        &mut self,
        call: Call,
        answer: Option<&Response>,
        now: Nanos,
        served: &mut Vec<Served>,
    ) -> u32 {
        self.asking = Span::default();
        let answer = answer.filter(|answer| answer.code != Code::Unknown);
        let Some(answer) = answer else {
            self.refused = Span::default();
            self.failed = Span {
                since: now,
                length: INTERVAL,
            };
            self.serve_beyond(0, Reply::Failed, served);
            return 0;
        };
        self.failed = Span::default();
        let (told, length) = window::told(answer, call.asked.time);
        self.told = told;
        self.window = Span {
            since: call.asked.time,
            length,
        };
        match answer.code {
            Code::OverLimit => {
                let remaining = answer.statuses.first().map(|status| status.remaining);
                if call.hits > 1 && !self.is_over && remaining != Some(0) {
                    self.most = remaining.unwrap_or(call.hits / 2);
                    self.is_near = true;
                    self.serve_beyond(self.most, Reply::Refused(None), served);
                    return 0;
                }
                self.is_over = true;
                self.is_near = false;
                self.most = u32::MAX;
                let length = match told {
                    Told::Nothing => UNTOLD_REFUSAL,
                    Told::Least | Told::Seconds => length.clamp(INTERVAL / 4, LONGEST_REFUSAL),
                };
                self.refused = Span { since: now, length };
                self.serve_beyond(0, Reply::Refused(Some(length)), served);
                0
            }
            _ => {
                self.is_over = false;
                self.is_near = false;
                self.refused = Span::default();
                self.most = self.most.max(call.hits).saturating_mul(2);
                let mut left = call.hits.saturating_sub(call.used);
                let reply = Reply::Admitted;
                while left > 0
                    && let Some(request) = self.queue.next_of(call.joined)
                {
                    left -= 1;
                    served.push(Served { request, reply });
                }
                let usable = Span {
                    length: told.usable(length),
                    ..self.window
                };
                if usable.length == Nanos::ZERO {
                    return 0;
                }
                self.grant(Tokens { left, usable }, now);
                while !self.queue.is_empty() && self.take(now) {
                    served.extend(self.queue.pop().map(|request| Served { request, reply }));
                }
                left
            }
        }
    }

    /// An [`INTERVAL`] is over.
    fn end_interval(&mut self) {
        self.wary = self.wary.saturating_sub(1);
        let requests = std::mem::take(&mut self.requests);
        // Up at once, down by and by.
        let lately = requests.saturating_mul(16);
        self.rate = match lately >= self.rate {
            true => lately - (lately - self.rate) / 2,
            false => self.rate - (self.rate - lately).div_ceil(4),
        };
    }
}

impl Leases {
    /// It is `now`: what a call is made at. If that is earlier than it was, nothing lasts any more.
    #[inline(never)]
    pub fn at(&mut self, now: Nanos) -> Moment {
        if now < self.last.time {
            self.last.setbacks = self.last.setbacks.wrapping_add(1);
            self.sets.iter_mut().flatten().for_each(Held::lapse);
        }
        self.last.time = now;
        self.last
    }

    /// A request of this key, which its proxy's own bucket has admitted. `workers`: of the proxy.
    pub fn take(&mut self, id: u64, workers: u32, timeout: Nanos, now: Nanos) -> Take {
        let asked = self.at(now);
        let alone = Take::Ask(Call {
            hits: 1,
            used: 1,
            asked,
            joined: Joined::default(),
        });
        let tick = self.ticks;
        let Some(held) = self.find(id) else {
            return alone;
        };
        held.requests = held.requests.saturating_add(1);
        if held.queue.is_empty() && held.take(now) {
            return Take::Taken;
        }
        if let Some(left) = held.refused.left(now) {
            return Take::Refused(left);
        }
        if held.failed.left(now).is_some() {
            return Take::Failed;
        }
        if !held.is_busy() && held.queue.is_empty() {
            if held.is_over {
                // Others are refused until it is known what the next window says.
                held.refused = Span {
                    since: now,
                    length: timeout,
                };
            }
            return alone;
        }
        if held.may_ask(workers, tick, now) {
            return Take::Ask(held.call(1, workers, timeout, asked));
        }
        // Less is left than was asked for, and is on its way.
        if held.is_near && held.queue.len() >= held.most {
            return Take::Refused(held.asking.left(now).unwrap_or(PACE));
        }
        match held.queue.is_full() {
            true => alone,
            false => Take::Wait,
        }
    }

    /// A request of this key has asked. From the second one of an interval on the key may be busy.
    pub fn begin(&mut self, id: u64, workers: u32, key: impl FnOnce() -> BucketKey, now: Nanos) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Default::default);
        }
        let Some(set) = self.set(id) else {
            return;
        };
        if set.iter().any(|held| held.id == id) {
            return;
        }
        let gives = |held: &&mut Held| {
            let waits = !held.queue.is_empty() || held.refused.left(now).is_some();
            held.rate < 16 && held.requests < 2 && !waits
        };
        if let Some(place) = set.iter_mut().filter(gives).min_by_key(|held| held.rate) {
            *place = Held::new(id, key(), workers);
        }
    }

    /// A request of this key waits until [`Leases::served`] has its number. False: it cannot.
    pub fn wait(&mut self, id: u64, request: u32) -> bool {
        let tick = self.ticks;
        let held = self.find(id).filter(|held| !held.queue.is_full());
        held.map(|held| held.queue.join(request, tick)).is_some()
    }

    /// A request of this key waits no longer: it is gone.
    pub fn leave(&mut self, id: u64, request: u32) {
        if let Some(held) = self.find(id) {
            held.queue.leave(request);
        }
    }

    /// A call about this key that [`Take::Ask`] said to make is not made. Those that wait are asked
    /// for by the next one.
    pub fn withdrawn(&mut self, id: u64) {
        if let Some(held) = self.find(id) {
            held.asking = Span::default();
        }
    }

    /// The request is gone that made a call about this key, and nobody gets the answer.
    pub fn abandoned(&mut self, id: u64) {
        if let Some(held) = self.find(id) {
            held.asking = Span::default();
            held.wary = WARY;
        }
    }

    /// The requests that have waited and need not any more. To be asked for after each answer.
    pub fn served(&mut self) -> Vec<Served> {
        std::mem::take(&mut self.served)
    }

    /// The engine's answer to a call about this key. None: there was no answer. How many tokens are
    /// held now that were not.
    pub fn answered(&mut self, id: u64, call: Call, answer: Option<&Response>, now: Nanos) -> u32 {
        // What was granted before a clock was set back is nobody's.
        if self.at(now).setbacks != call.asked.setbacks {
            return 0;
        }
        let mut served = std::mem::take(&mut self.served);
        let held = self.find(id);
        let granted = held.map(|held| held.answered(call, answer, now, &mut served));
        self.served = served;
        granted.unwrap_or_default()
    }

    /// A [`PACE`] is over: what to buy now, in a proxy of so many workers. `timeout`: of a limit's
    /// calls.
    pub fn tick(
        &mut self,
        workers: u32,
        timeout: impl Fn(usize) -> Nanos,
        now: Nanos,
    ) -> Vec<Purchase> {
        let asked = self.at(now);
        self.ticks = self.ticks.wrapping_add(1);
        let tick = self.ticks;
        let is_interval = tick.is_multiple_of(TICKS.into());
        let mut purchases = Vec::new();
        for held in self.sets.iter_mut().flatten().filter(|held| held.id != 0) {
            held.rested = held.rested.saturating_add(1);
            let most = CREDITS.saturating_mul(Held::cost(workers));
            held.credit = held.credit.saturating_add(1).min(most);
            if is_interval {
                held.end_interval();
            }
            let waits = [held.asking, held.refused, held.failed];
            if waits.iter().any(|span| span.left(now).is_some()) {
                continue;
            }
            let is_needed = match held.queue.is_empty() {
                true => {
                    is_interval
                        && !held.is_over
                        && held.rested >= Held::cost(workers)
                        && held.is_bought_ahead(now)
                        && held.missing(workers, now) > 0
                }
                false => held.may_ask(workers, tick, now),
            };
            if is_needed {
                purchases.push(Purchase {
                    id: held.id,
                    key: held.key.clone(),
                    call: held.call(0, workers, timeout(held.key.limit), asked),
                });
            }
        }
        purchases
    }

    fn find(&mut self, id: u64) -> Option<&mut Held> {
        self.set(id)?.iter_mut().find(|held| held.id == id)
    }

    /// Ids are hashes under the secret seed, so no client can choose whose set it shares.
    fn set(&mut self, id: u64) -> Option<&mut [Held; KEYS_OF_SET]> {
        self.sets.get_mut((id >> 56) as usize)
    }
}

#[cfg(test)]
mod tests;
