//! Requests in flight for each target, over all workers: gauges that everybody reads, and ledgers
//! that make up for the dead.
//!
//! **What was compared.** Prices are those of a call from inside the VM in Envoy 1.40 (a read of
//! shared data 650 ns, because it returns bytes; a write 120; adding to a gauge 55; reading one
//! 65). W is the number of workers.
//!
//! | | B: one record for each pool, changed by CAS | F: a record for each worker, written blindly | G: gauges and a ledger for each worker |
//! |---|---|---|---|
//! | a request's way in | 1 read, 1 write | 1 write | 1 write, 1 add |
//! | its way out | 1 read, 1 write | 1 write | 1 write, 1 add |
//! | to know the counts | with the read above | W − 1 reads, at most each 10 ms | 65 ns for each target looked at |
//! | together, 8 workers, 20 targets, 200 requests/s each | 1540 ns and retries | 240 ns + 3.5 × 650 ns (on 7 reads every other request) | 350 ns + at most 20 × 65 ns |
//! | calls that return bytes, a request | 2 | up to W − 1 | 0 |
//! | age of what is seen | 0 | 10 ms and more | 0 |
//! | workers that get into each other's way | each request writes one record: they retry | no | no: an atomic number |
//! | a VM traps | its part cannot be told from the others' | its record is left out | its ledger is taken off the gauges |
//!
//! G returns no bytes at all, and only with it does the cost not depend on W. F breaks the budget
//! of four calls that return bytes from five workers on; B cannot be mended after a trap without a
//! ledger beside it, and is then G with dearer calls.
//!
//! **Gauges.** `pointsman.pool.<pool>.target.<target>.in_flight` (see [`Pool::metric`]). One number
//! of the whole process; operators read it too. Handles are asked for when a target is first looked
//! at or used, not at the load of a configuration: each costs the proxy memory for good, in every
//! worker, and of 10,000 targets few workers may ever use all. (Should two pairs of pool and target
//! give the same name, they share the number, and it still returns to zero.)
//!
//! **Ledgers.** What a VM that trapped had added to a gauge stays there. So each *holder* (one root
//! context of one VM; a random nonce tells it from all that ever were) also writes its own counts
//! to shared data, without a check, because it is their only writer. The write comes directly
//! before the gauge's add: two host calls with nothing between them that could trap, no allocation
//! and no arithmetic that can fail. A trap is always before both or after both.
//!
//! **Liveness** is observed, not timed, so that clocks that jump do nothing. Each holder has a slot
//! in one record, and raises a number there once a second. Who sees a number unchanged over
//! [`PATIENCE`] of its own ticks reads that holder's ledger, frees the slot by CAS, notes under the
//! slot what it takes, and takes that off the gauges. One of several reapers wins the CAS, and only
//! that one takes.
//!
//! **The living who were taken for dead** (a worker that hung for seconds; a root context that gets
//! no ticks any more while its last streams run) find their slot freed, at their next tick or at
//! the first request that comes [`STALE`] after the last: they claim a slot under a new nonce,
//! write their ledger there, and add to the gauges exactly what the note says was taken, not what
//! they believe they had. So the sum is right in every interleaving: whatever the reaper read, it
//! is that which is put back. Until the note is there they wait, counting on in the gauges. (Should
//! one trap before it finds out, what it counted since it was taken for dead is not made up for:
//! two faults within the same second.)
//!
//! A freed slot rests for [`REST`] before it is claimed by somebody else, lest a holder that hung
//! writes into the ledger of the next. (Should one hang for longer, in the middle of a callback,
//! then the next owner's ledger is wrong until its next write. Should that owner have died by then
//! and the note be overwritten, it puts back what it has itself, which is too much by what it
//! counted before it knew.)
//!
//! **After a reload** the old root context lives on, with its ticks, until its last stream is over;
//! both holders of the worker count into the same gauges. Then its number stands still and its
//! slot, with empty counts, is freed. Slots are used again from the lowest, so a thousand reloads
//! need no more keys than the few that one needs.
//!
//! **Without.** Where the proxy has no gauges, or rejects them (`stats_matcher`: what is added
//! vanishes), or the table of slots is full, or shared data fails, a worker goes by its own counts
//! alone. [`Event`]s say so.
//!
//! **Penalty.** A failed request keeps its place for [`PENALTY`] longer, so that a target that
//! fails fast does not look idle.
//!
//! | key | what | written |
//! |---|---|---|
//! | `pm1/hold` | for each slot 24 bytes: nonce, state (0 freed, 1 held), then the holder's number, or when it was freed in nanoseconds since 1970 | CAS |
//! | `pm1/ledg` slot part | nonce, then for each of up to 64 gauges a count of 4 bytes | by the holder, for each request |
//! | `pm1/name` slot part | nonce, then for each of these gauges the length (4 bytes) and bytes of its name, so that others can define and correct it whatever their own configuration | by the holder, when it first uses the target |
//! | `pm1/took` slot | nonce of the dead, then its counts as they were taken, all parts in a row | by the reaper |
//!
//! Slot (2 bytes) and part (4 bytes) are big-endian, all else is little-endian; nonces and numbers
//! have 8 bytes.

use crate::entropy::WorkerId;
use crate::index::{TargetIndex, TargetRef};
use crate::pool::{Pool, Target};
use crate::port::{Expected, Gauge, Port};
use crate::shared::{RecordCache, Update, UpdateError};
use crate::time::Nanos;
use std::collections::VecDeque;
use std::rc::Rc;

/// So many ticks of its own without a sign of life let a worker take a holder for dead: with one
/// more for the last sign to be seen, all is back within 5 s of a trap.
const PATIENCE: u32 = 3;

/// A holder that has not looked after its slot for so long does so before it counts. Two ticks, so
/// that the ticks alone do in steady state, and less than what it takes to be given up.
const STALE: Nanos = Nanos::from_secs(2);

/// How long a freed slot is nobody's: ten times what it takes to be given up.
const REST: Nanos = Nanos::from_secs(30);

/// Holders at a time: 128 workers, each with eight configurations that are still draining. 24 kB.
const MAX_SLOTS: usize = 1024;

/// Dead holders that one worker buries in one tick; the rest waits for the next, or for other
/// workers.
const MAX_REAPED: usize = 64;

/// Counts in one ledger record: what is written for each request stays at 264 bytes, which costs
/// the same as 8.
const PART: usize = 64;

/// Ledger records of one holder: no configuration has so many targets, and no damaged record makes
/// a reaper read on for ever.
const MAX_PARTS: usize = 1 << 16;

/// How long a failed request keeps its place.
const PENALTY: Nanos = Nanos::SECOND;

/// Penalties end together, so much time at once: that bounds how many there are for one target.
const PENALTY_STEP: Nanos = Nanos::from_millis(100);

/// Penalties that one request releases on its way; the ticks release the rest.
const RELEASED_AT_ONCE: usize = 4;

/// Something that an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The proxy has no gauges, or its configuration of statistics rejects ours: this worker goes
    /// by its own counts.
    NoGauges,
    /// No slot is free, or shared data fails: this worker goes by its own counts, until one is.
    NoSlot,
    /// A worker died with so many requests in flight, which this one took back.
    Reaped(u32),
    /// This worker hung for so long that others took it for dead; its counts are right again.
    Revived,
    /// A state that the code rules out; the worker tells it as its own.
    Bug(&'static str),
}

/// Tells a holder, and each slot that it ever held, from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nonce(u64);

impl Nonce {
    /// A worker's first one: its name in records.
    fn of(worker: WorkerId) -> Nonce {
        Nonce(worker.to_bits())
    }

    /// For the next slot of the same worker.
    fn next(self) -> Nonce {
        Nonce(self.0.wrapping_add(1))
    }

    fn read(bytes: [u8; NONCE]) -> Nonce {
        Nonce(u64::from_le_bytes(bytes))
    }

    fn bytes(self) -> [u8; NONCE] {
        self.0.to_le_bytes()
    }
}

/// One place in the table of holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// Of its holder, or of the last one.
    nonce: Nonce,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody's since this instant.
    Freed(Nanos),
    /// The number that its holder raises.
    Held(u64),
}

/// The size of a [`Slot`] in the record.
const SLOT: usize = 24;

/// The table of holders.
const HOLDERS: &[u8] = b"pm1/hold";

/// The size of a nonce, which all other records begin with.
const NONCE: usize = 8;

/// The size of a count.
const COUNT: usize = 4;

impl Slot {
    fn read(bytes: &[u8; SLOT]) -> Slot {
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let (nonce, held, number) = (Nonce(next()), next(), next());
        let state = match held {
            0 => State::Freed(Nanos::new(number)),
            _ => State::Held(number),
        };
        Slot { nonce, state }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let (held, number) = match self.state {
            State::Freed(since) => (0, since.get()),
            State::Held(number) => (1, number),
        };
        for word in [self.nonce.0, held, number] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Whether anybody may claim it. A clock that was set back far must not lock it for ever.
    fn has_rested(&self, now: Nanos) -> bool {
        matches!(self.state, State::Freed(since) if now.abs_diff(since) > REST)
    }
}

/// Changes the table of holders, if `act` says that it did, and hands it back. `act` may run
/// several times. It is read anew each time, once a second: nothing to remember.
fn change(
    port: &mut dyn Port,
    act: &mut dyn FnMut(&mut Vec<Slot>) -> bool,
) -> Result<Vec<Slot>, UpdateError> {
    RecordCache::default().update(port, HOLDERS, &mut |bytes| {
        let (chunks, _) = bytes.unwrap_or_default().as_chunks();
        let mut slots: Vec<Slot> = chunks.iter().take(MAX_SLOTS).map(Slot::read).collect();
        match act(&mut slots) {
            false => Update::Keep(slots),
            true => {
                let mut bytes = Vec::with_capacity(SLOT * slots.len());
                slots.iter().for_each(|slot| slot.write(&mut bytes));
                Update::Write(bytes, slots)
            }
        }
    })
}

/// The key of a record of one slot.
type Key = [u8; 14];

fn key(kind: &[u8; 4], slot: usize, part: usize) -> Key {
    let [a, b, c, d] = *kind;
    let [s, t] = (slot as u16).to_be_bytes();
    let [w, x, y, z] = (part as u32).to_be_bytes();
    [b'p', b'm', b'1', b'/', a, b, c, d, s, t, w, x, y, z]
}

/// What follows the nonce in a record, if it is this one.
fn behind(nonce: Nonce, record: &[u8]) -> Option<&[u8]> {
    let (head, rest) = record.split_first_chunk::<NONCE>()?;
    (Nonce::read(*head) == nonce).then_some(rest)
}

fn counts(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let (counts, _) = bytes.as_chunks::<COUNT>();
    counts.iter().map(|count| u32::from_le_bytes(*count))
}

fn gauge_name(pool: &Pool, target: &Target) -> String {
    [&pool.target_metric(target), ".in_flight"].concat()
}

/// One worker's part of the counts. It hangs off the root context and dies with its VM; what it
/// counted does not.
#[derive(Debug)]
pub struct InFlight {
    pools: Vec<Rc<Pool>>,
    /// Of the slot that is held, or of the next one.
    nonce: Nonce,
    tenure: Tenure,
    /// When this worker last looked after its slot.
    looked: Nanos,
    /// No slot could be had; not before the next tick again.
    waiting: bool,
    /// For each pool, once it is used, and each target.
    places: Vec<Vec<Place>>,
    /// The targets that this worker ever counted for, in the order in which it first did.
    entries: Vec<Entry>,
    parts: Vec<Part>,
    /// In the order of their ends.
    penalties: VecDeque<Penalty>,
    /// How many penalties are over.
    released: u64,
    /// What was last seen of each slot.
    seen: Vec<Seen>,
    /// Gauges of targets of the dead.
    inherited: Vec<(Box<str>, Gauge)>,
    events: Vec<Event>,
    /// These two were told of.
    without_gauges: bool,
    without_slot: bool,
}

/// What a worker knows of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenure {
    /// None: what it counts is in no gauge.
    Local,
    /// This one is its own.
    Held(usize),
    /// This one was, until somebody took it for dead. What it counts is in the gauges, but for what
    /// was taken.
    Lost(usize),
}

/// What is known of a target.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    gauge: Handle,
    entry: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Handle {
    #[default]
    Unasked,
    Refused,
    Given(Gauge),
}

impl Handle {
    fn gauge(self) -> Option<Gauge> {
        match self {
            Handle::Given(gauge) => Some(gauge),
            Handle::Unasked | Handle::Refused => None,
        }
    }
}

/// A target that was counted for.
#[derive(Clone, Copy, Debug)]
struct Entry {
    target: TargetRef,
    gauge: Option<Gauge>,
    /// The number of its newest penalty.
    penalty: u64,
}

/// A ledger record, as it is written.
#[derive(Debug)]
struct Part {
    key: Key,
    record: Vec<u8>,
}

impl Part {
    fn count(&mut self, place: usize) -> Option<&mut [u8; COUNT]> {
        let (counts, _) = self.record.get_mut(NONCE..)?.as_chunks_mut();
        counts.get_mut(place)
    }
}

/// Requests that failed and still hold their places.
#[derive(Clone, Copy, Debug)]
struct Penalty {
    /// Until then.
    until: Nanos,
    entry: u32,
    count: i32,
}

/// What was last seen of a slot.
#[derive(Clone, Copy, Debug)]
struct Seen {
    slot: Slot,
    /// For so many ticks.
    ticks: u32,
}

/// What a dead holder leaves.
struct Estate {
    place: usize,
    slot: Slot,
    /// The record that is left behind: nonce and counts.
    note: Vec<u8>,
    gauges: Vec<(Gauge, u32)>,
    /// Whether it is this worker that takes it.
    won: bool,
}

impl InFlight {
    /// For a worker and its configuration.
    pub fn new(pools: &[Rc<Pool>], worker: WorkerId) -> InFlight {
        InFlight {
            pools: pools.to_vec(),
            nonce: Nonce::of(worker),
            tenure: Tenure::Local,
            looked: Nanos::ZERO,
            waiting: false,
            places: pools.iter().map(|_| Vec::new()).collect(),
            entries: Vec::new(),
            parts: Vec::new(),
            penalties: VecDeque::new(),
            released: 0,
            seen: Vec::new(),
            inherited: Vec::new(),
            events: Vec::new(),
            without_gauges: false,
            without_slot: false,
        }
    }

    /// A request goes to a target. One write and one add to a gauge; only the first request of a
    /// worker, or of one that hung for [`STALE`], reads.
    pub fn begin(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex, now: Nanos) {
        if self.tenure == Tenure::Local && !self.waiting {
            let own = self.own_counts();
            self.claim(port, now, &own);
        }
        self.keep_up(port, now);
        let known = self.entries.len();
        let Some(entry) = self.entry(port, pool, target) else {
            return;
        };
        self.count(port, entry, 1);
        if self.entries.len() > known {
            self.prove(port, entry);
        }
    }

    /// A request is over: exactly once for each [`InFlight::begin`]. One that failed keeps its
    /// place for [`PENALTY`] longer, so that a target that fails fast does not look idle. One write
    /// and one add to a gauge.
    pub fn end(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        failed: bool,
        now: Nanos,
    ) {
        self.keep_up(port, now);
        let place = self
            .places
            .get(pool.index.get())
            .and_then(|places| places.get(target.get()));
        let Some(entry) = place.and_then(|place| place.entry) else {
            return;
        };
        match failed {
            true => self.punish(entry, now),
            false => self.count(port, entry, -1),
        }
    }

    /// How many requests a target has in flight now, over all workers. One read of a gauge; no call
    /// that returns bytes.
    pub fn of(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex) -> u32 {
        let Some(place) = self.place(port, pool, target) else {
            return 0;
        };
        let Place { gauge, entry } = *place;
        let value = gauge
            .gauge()
            .and_then(|gauge| port.value(gauge))
            .unwrap_or(0);
        let own = entry.map_or(0, |entry| self.own(entry));
        // Below 0 for a moment, while somebody who was taken for dead puts things right.
        let all = u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        match self.tenure {
            Tenure::Local => all.saturating_add(own),
            // A gauge that takes nothing in says 0.
            Tenure::Held(_) | Tenure::Lost(_) => all.max(own),
        }
    }

    /// Once a second: shows that this worker lives, and takes back what the dead have left. A
    /// worker that has served nothing yet has nothing to show.
    pub fn tick(&mut self, port: &mut dyn Port, now: Nanos) {
        self.waiting = false;
        let slots = self.look(port, now);
        if self.tenure == Tenure::Local && !self.entries.is_empty() {
            let own = self.own_counts();
            self.claim(port, now, &own);
        }
        self.release(port, now, usize::MAX);
        let Some(slots) = slots else {
            return;
        };
        self.observe(&slots, true);
        let dead: Vec<(usize, Slot)> = self.dead().take(MAX_REAPED).collect();
        if !dead.is_empty() {
            self.reap(port, &dead, now);
        }
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The place of a target, with its gauge asked for.
    fn place(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
    ) -> Option<&mut Place> {
        let places = self.places.get_mut(pool.index.get())?;
        if places.is_empty() {
            places.resize(pool.targets.len(), Place::default());
        }
        let place = places.get_mut(target.get())?;
        if matches!(place.gauge, Handle::Unasked) {
            let gauge = port.gauge(&gauge_name(pool, pool.target(target)?));
            place.gauge = gauge.map_or(Handle::Refused, Handle::Given);
        }
        Some(place)
    }

    /// The entry of a target, made if it is not there.
    fn entry(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex) -> Option<u32> {
        let next = self.entries.len();
        let place = self.place(port, pool, target)?;
        if let Some(entry) = place.entry {
            return Some(entry);
        }
        let gauge = place.gauge.gauge();
        place.entry = Some(next as u32);
        self.entries.push(Entry {
            target: TargetRef {
                pool: pool.index,
                index: target,
            },
            gauge,
            penalty: u64::MAX,
        });
        let slot = self.slot();
        if next.is_multiple_of(PART) {
            let mut record = Vec::with_capacity(NONCE + PART * COUNT);
            record.extend_from_slice(&self.nonce.bytes());
            let key = key(b"ledg", slot.unwrap_or(0), self.parts.len());
            self.parts.push(Part { key, record });
        }
        let part = self.parts.last_mut()?;
        part.record.extend_from_slice(&[0; COUNT]);
        if let Some(slot) = slot {
            let part = next / PART;
            let _ = port.set(
                &key(b"name", slot, part),
                &self.names(part, self.nonce),
                Expected::Any,
            );
        }
        Some(next as u32)
    }

    fn slot(&self) -> Option<usize> {
        match self.tenure {
            Tenure::Held(slot) => Some(slot),
            Tenure::Local | Tenure::Lost(_) => None,
        }
    }

    /// The record of the names of a part.
    fn names(&self, part: usize, nonce: Nonce) -> Vec<u8> {
        let mut record = nonce.bytes().to_vec();
        for entry in self.entries.iter().skip(part * PART).take(PART) {
            let pool = self.pools.get(entry.target.pool.get());
            let target = pool.and_then(|pool| Some((pool, pool.target(entry.target.index)?)));
            let name = target
                .map(|(pool, target)| gauge_name(pool, target))
                .unwrap_or_default();
            record.extend_from_slice(&(name.len() as u32).to_le_bytes());
            record.extend_from_slice(name.as_bytes());
        }
        record
    }

    /// This worker's own count.
    fn own(&mut self, entry: u32) -> u32 {
        let (part, place) = (entry as usize / PART, entry as usize % PART);
        let count = self.parts.get_mut(part).and_then(|part| part.count(place));
        count.map_or(0, |count| u32::from_le_bytes(*count))
    }

    fn own_counts(&self) -> Vec<u8> {
        let counts = self
            .parts
            .iter()
            .filter_map(|part| part.record.get(NONCE..));
        counts.flatten().copied().collect()
    }

    /// Counts so many requests more, or less.
    fn count(&mut self, port: &mut dyn Port, entry: u32, by: i32) {
        let (part, place) = (entry as usize / PART, entry as usize % PART);
        let gauge = self
            .entries
            .get(entry as usize)
            .and_then(|entry| entry.gauge);
        let Some(part) = self.parts.get_mut(part) else {
            return;
        };
        let Some(count) = part.count(place) else {
            return;
        };
        let Some(changed) = u32::from_le_bytes(*count).checked_add_signed(by) else {
            return;
        };
        *count = changed.to_le_bytes();
        let Some(gauge) = gauge.filter(|_| self.tenure != Tenure::Local) else {
            return;
        };
        // Nothing may stand between these two calls. If shared data fails, what is lost is what a
        // trap would lose.
        if let Tenure::Held(_) = self.tenure {
            let _ = port.set(&part.key, &part.record, Expected::Any);
        }
        port.add(gauge, by.into());
    }

    /// Looks whether a gauge takes in what is added: it holds one at least, of our own.
    fn prove(&mut self, port: &mut dyn Port, entry: u32) {
        let gauge = self
            .entries
            .get(entry as usize)
            .and_then(|entry| entry.gauge);
        let works = gauge
            .and_then(|gauge| port.value(gauge))
            .is_some_and(|value| value != 0);
        if self.tenure != Tenure::Local
            && !works
            && !std::mem::replace(&mut self.without_gauges, true)
        {
            self.events.push(Event::NoGauges);
        }
    }

    /// Keeps the place of a request that failed.
    fn punish(&mut self, entry: u32, now: Nanos) {
        let until = (now / PENALTY_STEP) * PENALTY_STEP + PENALTY + PENALTY_STEP;
        let next = self.released + self.penalties.len() as u64;
        let Some(of) = self.entries.get_mut(entry as usize) else {
            return;
        };
        let newest = of.penalty.checked_sub(self.released);
        let newest = newest.and_then(|place| self.penalties.get_mut(usize::try_from(place).ok()?));
        match newest {
            Some(penalty) if penalty.until >= until => {
                penalty.count = penalty.count.saturating_add(1)
            }
            _ => {
                of.penalty = next;
                self.penalties.push_back(Penalty {
                    until,
                    entry,
                    count: 1,
                });
            }
        }
    }

    /// Ends penalties whose time has come, or is so far ahead that the clock must have been set
    /// back; at most so many.
    fn release(&mut self, port: &mut dyn Port, now: Nanos, most: usize) {
        let over = |penalty: &&Penalty| {
            penalty.until <= now || penalty.until - now > PENALTY + PENALTY_STEP
        };
        for _ in 0..most {
            let Some(penalty) = self.penalties.front().filter(over).copied() else {
                return;
            };
            self.penalties.pop_front();
            self.released += 1;
            self.count(port, penalty.entry, -penalty.count);
        }
    }

    /// What each request does for the whole: little in steady state.
    fn keep_up(&mut self, port: &mut dyn Port, now: Nanos) {
        if self.tenure != Tenure::Local && now.abs_diff(self.looked) > STALE {
            self.look(port, now);
        }
        self.release(port, now, RELEASED_AT_ONCE);
    }

    /// Looks after this worker's own slot: shows that it lives, or finds that it was taken for
    /// dead. Returns the table.
    fn look(&mut self, port: &mut dyn Port, now: Nanos) -> Option<Vec<Slot>> {
        let (nonce, held) = (self.nonce, self.slot());
        let own = |slot: &&mut Slot| slot.nonce == nonce;
        let slots = change(port, &mut |slots| match held
            .and_then(|held| slots.get_mut(held))
            .filter(own)
        {
            Some(Slot {
                state: State::Held(number),
                ..
            }) => {
                *number = number.wrapping_add(1);
                true
            }
            _ => false,
        });
        self.looked = now;
        let slots = slots.ok()?;
        match self.tenure {
            Tenure::Local => {}
            Tenure::Held(held) | Tenure::Lost(held) => {
                let slot = slots.get(held).filter(|slot| slot.nonce == nonce);
                if !matches!(
                    slot,
                    Some(Slot {
                        state: State::Held(_),
                        ..
                    })
                ) {
                    self.tenure = Tenure::Lost(held);
                    self.revive(port, now, held, slot.is_some());
                }
            }
        }
        Some(slots)
    }

    /// Puts back what was taken by one who took this worker for dead. `resting`: nobody has claimed
    /// its slot since.
    fn revive(&mut self, port: &mut dyn Port, now: Nanos, lost: usize, resting: bool) {
        let Ok(note) = port.get(&key(b"took", lost, 0)) else {
            return;
        };
        let note = note.as_ref().and_then(|(note, _)| behind(self.nonce, note));
        match note {
            Some(taken) => self.claim(port, now, taken),
            // The reaper is not so far yet.
            None if resting => {}
            None => {
                let own = self.own_counts();
                self.claim(port, now, &own);
            }
        }
    }

    /// Claims a slot, writes the ledger there, and adds to the gauges what is missing from them.
    fn claim(&mut self, port: &mut dyn Port, now: Nanos, missing: &[u8]) {
        // Each slot is claimed under a nonce of its own, or a note of what was taken could be of an
        // earlier time.
        let (old, nonce) = (self.nonce, self.nonce.next());
        let lost = match self.tenure {
            Tenure::Lost(lost) => Some(lost),
            Tenure::Local | Tenure::Held(_) => None,
        };
        // Before anybody is told of the claim, because this allocates.
        let names: Vec<Vec<u8>> = (0..self.parts.len())
            .map(|part| self.names(part, nonce))
            .collect();
        let mut claimed = None;
        let slots = change(port, &mut |slots| {
            let own = lost.filter(|lost| {
                let slot = slots.get(*lost);
                slot.is_some_and(|slot| slot.nonce == old && matches!(slot.state, State::Freed(_)))
            });
            let rested = || slots.iter().position(|slot| slot.has_rested(now));
            claimed = own
                .or_else(rested)
                .or((slots.len() < MAX_SLOTS).then_some(slots.len()));
            let new = Slot {
                nonce,
                state: State::Held(1),
            };
            match claimed {
                None => return false,
                Some(claimed) => match slots.get_mut(claimed) {
                    Some(slot) => *slot = new,
                    None => slots.push(new),
                },
            }
            true
        });
        self.looked = now;
        let (Ok(slots), Some(slot)) = (&slots, claimed) else {
            self.waiting = true;
            if !std::mem::replace(&mut self.without_slot, true) {
                self.events.push(Event::NoSlot);
            }
            return;
        };
        self.without_slot = false;
        if lost.is_some() {
            self.events.push(Event::Revived);
        }
        (self.nonce, self.tenure) = (nonce, Tenure::Held(slot));
        for (number, (part, names)) in self.parts.iter_mut().zip(&names).enumerate() {
            part.key = key(b"ledg", slot, number);
            if let Some(head) = part.record.first_chunk_mut() {
                *head = nonce.bytes();
            }
            let _ = port.set(&key(b"name", slot, number), names, Expected::Any);
            let _ = port.set(&part.key, &part.record, Expected::Any);
        }
        for (entry, count) in self.entries.iter().zip(counts(missing)) {
            if let Some(gauge) = entry.gauge.filter(|_| count > 0) {
                port.add(gauge, count.into());
            }
        }
        self.observe(slots, false);
    }

    /// Compares the table with what was last seen of it.
    fn observe(&mut self, slots: &[Slot], tick: bool) {
        self.seen.truncate(slots.len());
        for (place, slot) in slots.iter().enumerate() {
            match self.seen.get_mut(place) {
                Some(seen) if seen.slot == *slot => {
                    seen.ticks = seen.ticks.saturating_add(tick.into())
                }
                Some(seen) => {
                    *seen = Seen {
                        slot: *slot,
                        ticks: 0,
                    }
                }
                None => self.seen.push(Seen {
                    slot: *slot,
                    ticks: 0,
                }),
            }
        }
    }

    /// Holders that have shown no sign of life for too long.
    fn dead(&self) -> impl Iterator<Item = (usize, Slot)> + '_ {
        let own = self.slot();
        let seen = self.seen.iter().enumerate();
        let dead = seen.filter(|(_, seen)| {
            seen.ticks >= PATIENCE && matches!(seen.slot.state, State::Held(_))
        });
        dead.map(|(place, seen)| (place, seen.slot))
            .filter(move |(place, _)| Some(*place) != own)
    }

    /// Takes back what dead holders left in the gauges.
    fn reap(&mut self, port: &mut dyn Port, dead: &[(usize, Slot)], now: Nanos) {
        // All that allocates comes first: between the freeing of a slot and the last of what is
        // taken nothing can trap.
        let mut estates: Vec<Estate> = dead
            .iter()
            .filter_map(|(place, slot)| self.estate(port, *place, *slot))
            .collect();
        self.events.reserve(estates.len());
        let freed = change(port, &mut |slots| {
            for estate in &mut estates {
                let slot = slots
                    .get_mut(estate.place)
                    .filter(|slot| **slot == estate.slot);
                estate.won = slot.is_some();
                if let Some(slot) = slot {
                    slot.state = State::Freed(now);
                }
            }
            estates.iter().any(|estate| estate.won)
        });
        if freed.is_err() {
            return;
        }
        for estate in estates.iter().filter(|estate| estate.won) {
            let _ = port.set(&key(b"took", estate.place, 0), &estate.note, Expected::Any);
            for (gauge, count) in &estate.gauges {
                port.add(*gauge, -i64::from(*count));
            }
            let sum = estate
                .gauges
                .iter()
                .fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
            if sum > 0 {
                self.events.push(Event::Reaped(sum));
            }
        }
    }

    /// What a holder has in the gauges, by its ledger. None: shared data fails.
    fn estate(&mut self, port: &mut dyn Port, place: usize, slot: Slot) -> Option<Estate> {
        let mut estate = Estate {
            place,
            slot,
            note: slot.nonce.bytes().to_vec(),
            gauges: Vec::new(),
            won: false,
        };
        for part in 0..MAX_PARTS {
            let names = port.get(&key(b"name", place, part)).ok()?;
            let ledger = port.get(&key(b"ledg", place, part)).ok()?;
            let (Some((names, _)), Some((ledger, _))) = (names, ledger) else {
                break;
            };
            let (Some(mut names), Some(ledger)) =
                (behind(slot.nonce, &names), behind(slot.nonce, &ledger))
            else {
                break;
            };
            let mut known = 0;
            for count in counts(ledger) {
                // A target that it came to use between the two reads has no name yet, and is not
                // taken.
                let Some((name, rest)) = first_name(names) else {
                    break;
                };
                names = rest;
                known += 1;
                let gauge = if count > 0 {
                    self.inherited(port, name)
                } else {
                    None
                };
                estate.gauges.extend(gauge.map(|gauge| (gauge, count)));
                let taken = gauge.map_or(0, |_| count);
                estate.note.extend_from_slice(&taken.to_le_bytes());
            }
            if known < PART {
                break;
            }
        }
        Some(estate)
    }

    /// The gauge of a target of any configuration.
    fn inherited(&mut self, port: &mut dyn Port, name: &[u8]) -> Option<Gauge> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some((_, gauge)) = self.inherited.iter().find(|(known, _)| **known == *name) {
            return Some(*gauge);
        }
        let gauge = port.gauge(name)?;
        self.inherited.push((name.into(), gauge));
        Some(gauge)
    }
}

/// The first of the names of a record, and what follows it.
fn first_name(names: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = names.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests;
