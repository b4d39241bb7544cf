//! `mode: lease`: what a worker holds of the limits of busy keys, so that their requests need no
//! call of an engine.
//!
//! With each [`INTERVAL`] a worker looks whether it has what the next one will need for a busy key,
//! and if not buys for the next two, by one call of the engine that stands for many requests. A
//! request takes one token of these. Where there is none, the request asks: for all of a busy key,
//! and otherwise by itself.
//!
//! **Never above the limit.** A request is admitted by one token, a token was granted by one answer
//! of the engine, and the engine has counted it before. A token ends with the engine's window: no
//! window has more than the engine granted in it. So only an engine that tells when its window ends
//! is bought from, in `duration_until_reset` or in the header `x-ratelimit-reset`. Of one that tells
//! nothing a token may lie in the next window already when it arrives, whatever is done with it
//! later: there each request asks.
//!
//! **What is not used** lapses: the protocol has no way to give it back. A worker holds at most what
//! it has bought in the window, and it buys what its key used in the intervals before, and a little
//! more; so much is lost, until the window ends, with a worker that dies.
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
//! has passed since the last one, an [`INTERVAL`] at most: tokens then last longer by as much. What
//! was asked for before and is answered after it is granted to nobody. A clock that jumps ahead ends
//! what would have ended by then.

use super::wire::{Code, Response};
use crate::time::Nanos;

/// The time from one purchase for a key to the next, by all workers of a proxy together.
pub const INTERVAL: Nanos = Nanos::from_millis(100);

/// How long a key is refused without a call where the engine does not tell when its window ends.
/// Where a window begins with its first request, all proxies together may begin it so much late.
const UNTOLD_REFUSAL: Nanos = Nanos::from_millis(40);

/// Purchases whose tokens a worker holds at a time.
const PURCHASES: usize = 4;

/// How far the clocks of a proxy and of an engine that tells whole seconds may be apart: so long
/// before and after a second begins, nothing is bought of it and no token of it is used.
pub const CLOCK_SKEW: Nanos = Nanos::from_millis(10);

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
    /// It asks the engine for so many.
    Ask(u32),
}

/// A purchase ahead of need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The key.
    pub id: u64,
    /// What identifies the key to the worker, as [`Leases::begin`] got it.
    pub key: BucketKey,
    /// How many tokens.
    pub hits: u32,
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

/// What the engine tells of when its window ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    /// Nothing, or that it is over.
    #[default]
    Nothing,
    /// How long it lasts at least.
    Least,
    /// In how many seconds of its clock, counted from the beginning of the present one.
    Seconds,
}

/// Of one key.
#[derive(Debug, Default)]
struct Held {
    id: u64,
    key: BucketKey,
    tokens: [Tokens; PURCHASES],
    /// How many requests came since the last tick.
    requests: u32,
    /// How many come in an interval, in 16ths, lately.
    rate: u32,
    /// Half of what was refused last, and twice of what was granted since.
    most: u32,
    /// Until the answer to a purchase has come, or will not come any more.
    buying: Span,
    /// For how long no request can be admitted.
    refused: Span,
    /// Whether the last answer was a refusal: all that comes next is asked for at once.
    is_over: bool,
    /// Whether the last call was refused because less is left than it was for.
    is_near: bool,
    /// For how long the engine is not asked.
    failed: Span,
    /// Ticks until the next purchase.
    rests: u32,
    /// By the last answer.
    told: Told,
}

impl Held {
    /// How many tokens are missing for so many intervals.
    fn missing(&self, intervals: u32, now: Nanos) -> u32 {
        let requests = self.rate.saturating_mul(intervals).div_ceil(16);
        let more = requests.isqrt() + 1;
        let has = self.tokens.iter().map(|some| some.at(now));
        let has = has.fold(0, u32::saturating_add);
        requests.saturating_add(more).saturating_sub(has)
    }

    /// How many tokens the next call is for, in a proxy of so many workers.
    fn wanted(&self, workers: u32, now: Nanos) -> u32 {
        self.missing(workers.saturating_add(1), now)
            .clamp(1, self.most.max(1))
    }

    /// Whether more than one token is asked for at a time.
    fn is_bought_ahead(&self, now: Nanos) -> bool {
        self.rate >= 16
            && match self.told {
                Told::Nothing => false,
                Told::Least => true,
                Told::Seconds => is_clear(now),
            }
    }

    /// Nothing of it lasts any more.
    fn lapse(&mut self) {
        self.tokens = Default::default();
        self.buying = Span::default();
        self.refused = Span::default();
        self.failed = Span::default();
    }

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
}

impl Leases {
    /// It is `now`: what a call is made at. If that is earlier than it was, nothing lasts any more.
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
        self.at(now);
        let Some(held) = self.find(id) else {
            return Take::Ask(1);
        };
        held.requests = held.requests.saturating_add(1);
        let usable = held.tokens.iter_mut().filter(|tokens| tokens.at(now) > 0);
        let first = usable.min_by_key(|tokens| tokens.usable.left(now));
        if let Some(tokens) = first {
            tokens.left -= 1;
            return Take::Taken;
        }
        if let Some(left) = held.refused.left(now) {
            return Take::Refused(left);
        }
        if held.failed.left(now).is_some() {
            return Take::Failed;
        }
        // One request asks for all of them.
        let span = Span {
            since: now,
            length: timeout,
        };
        let is_bought_ahead = held.is_bought_ahead(now);
        if held.is_over {
            held.refused = span;
        } else if is_bought_ahead && held.buying.left(now).is_none() {
            held.buying = span;
        } else {
            // Less is left than was asked for, and is on its way.
            return match held.buying.left(now).filter(|_| held.is_near) {
                Some(left) => Take::Refused(left),
                None => Take::Ask(1),
            };
        }
        Take::Ask(match is_bought_ahead {
            true => held.wanted(workers, now),
            false => 1,
        })
    }

    /// A request of this key has asked. From the second one of an interval on the key may be busy.
    pub fn begin(&mut self, id: u64, key: impl FnOnce() -> BucketKey, now: Nanos) {
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
            held.rate < 16 && held.requests < 2 && held.refused.left(now).is_none()
        };
        if let Some(place) = set.iter_mut().filter(gives).min_by_key(|held| held.rate) {
            *place = Held {
                id,
                key: key(),
                requests: 1,
                most: u32::MAX,
                ..Held::default()
            };
        }
    }

    /// The engine's answer to a call for `hits` tokens of this key, of which the caller has used so
    /// many; the call was made at `asked`. None: there was no answer. How many tokens are held now
    /// that were not.
    pub fn answered(
        &mut self,
        id: u64,
        (hits, used): (u32, u32),
        answer: Option<&Response>,
        asked: Moment,
        now: Nanos,
    ) -> u32 {
        let is_set_back = self.at(now).setbacks != asked.setbacks;
        let asked = asked.time;
        let Some(held) = self.find(id) else {
            return 0;
        };
        if is_set_back {
            return 0;
        }
        held.buying = Span::default();
        let answer = answer.filter(|answer| answer.code != Code::Unknown);
        let Some(answer) = answer else {
            held.refused = Span::default();
            held.failed = Span {
                since: now,
                length: INTERVAL,
            };
            return 0;
        };
        held.failed = Span::default();
        let status = answer.statuses.first();
        let (told, length) = match (
            status.and_then(|status| status.reset),
            answer.reset_at_least,
        ) {
            (Some(reset), _) => window(reset, asked),
            (None, Some(least)) => (Told::Least, least),
            (None, None) => (Told::Nothing, Nanos::ZERO),
        };
        held.told = match length == Nanos::ZERO && told == Told::Least {
            true => Told::Nothing,
            false => told,
        };
        match answer.code {
            Code::OverLimit => {
                let remaining = status.map(|status| status.remaining);
                if hits > 1 && !held.is_over && remaining != Some(0) {
                    held.most = remaining.unwrap_or(hits / 2);
                    held.is_near = true;
                    return 0;
                }
                held.is_over = true;
                held.is_near = false;
                held.most = u32::MAX;
                let length = match held.told {
                    Told::Nothing => UNTOLD_REFUSAL,
                    Told::Least | Told::Seconds => length.clamp(INTERVAL / 4, LONGEST_REFUSAL),
                };
                held.refused = Span { since: now, length };
                0
            }
            _ => {
                held.is_over = false;
                held.is_near = false;
                held.refused = Span::default();
                held.most = held.most.max(hits).saturating_mul(2);
                let left = hits.saturating_sub(used);
                if length == Nanos::ZERO {
                    return 0;
                }
                let usable = Span {
                    since: asked,
                    length,
                };
                held.grant(Tokens { left, usable }, now);
                left
            }
        }
    }

    /// An [`INTERVAL`] is over: what to buy now, in a proxy of so many workers. `timeout`: of a
    /// limit's calls.
    pub fn tick(
        &mut self,
        workers: u32,
        timeout: impl Fn(usize) -> Nanos,
        now: Nanos,
    ) -> Vec<Purchase> {
        self.at(now);
        let mut purchases = Vec::new();
        for held in self.sets.iter_mut().flatten().filter(|held| held.id != 0) {
            let requests = std::mem::take(&mut held.requests);
            // Up at once, down by and by.
            let lately = requests.saturating_mul(16);
            held.rate = match lately >= held.rate {
                true => lately - (lately - held.rate) / 2,
                false => held.rate - (held.rate - lately).div_ceil(4),
            };
            held.rests = held.rests.saturating_sub(1);
            let waits = [held.buying, held.refused, held.failed];
            let waits = waits.iter().any(|span| span.left(now).is_some());
            if waits || held.is_over || held.rests > 0 || !held.is_bought_ahead(now) {
                continue;
            }
            if held.missing(workers, now) == 0 {
                continue;
            }
            let hits = held.wanted(workers, now);
            held.rests = workers;
            held.buying = Span {
                since: now,
                length: timeout(held.key.limit),
            };
            purchases.push(Purchase {
                id: held.id,
                key: held.key.clone(),
                hits,
            });
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

/// What an engine tells whose window was `reset` from its end, and how long after `asked` a token
/// of it can be used. envoyproxy/ratelimit says whole seconds, counted from the beginning of the
/// present one of its clock.
fn window(reset: Nanos, asked: Nanos) -> (Told, Nanos) {
    if !reset.get().is_multiple_of(Nanos::SECOND.get()) {
        return (Told::Least, reset);
    }
    let gone = in_second(asked) + CLOCK_SKEW;
    let length = match is_clear(asked) {
        true => reset.checked_sub(gone).unwrap_or_default(),
        // It may be of the second before.
        false => Nanos::ZERO,
    };
    (Told::Seconds, length)
}

/// Whether all clocks that are not more than [`CLOCK_SKEW`] apart are in the same second.
fn is_clear(now: Nanos) -> bool {
    let gone = in_second(now);
    gone >= CLOCK_SKEW && gone + CLOCK_SKEW < Nanos::SECOND
}

fn in_second(now: Nanos) -> Nanos {
    Nanos::new(now.get() % Nanos::SECOND.get())
}

#[cfg(test)]
mod tests;
