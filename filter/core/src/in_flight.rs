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

use crate::config::Config;
use crate::entropy::WorkerId;
use crate::pool::{Pool, Target};
use crate::port::{Expected, Gauge, Port};
use crate::shared::{Decision, Failed, Memory};
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
) -> Result<Vec<Slot>, Failed> {
    Memory::default().update(port, HOLDERS, &mut |bytes| {
        let (chunks, _) = bytes.unwrap_or_default().as_chunks();
        let mut slots: Vec<Slot> = chunks.iter().take(MAX_SLOTS).map(Slot::read).collect();
        match act(&mut slots) {
            false => Decision::Leave(slots),
            true => {
                let mut bytes = Vec::with_capacity(SLOT * slots.len());
                slots.iter().for_each(|slot| slot.write(&mut bytes));
                Decision::Write(bytes, slots)
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
    config: Rc<Config>,
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
    pool: u32,
    target: u32,
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
    pub fn new(config: &Rc<Config>, worker: WorkerId) -> InFlight {
        InFlight {
            config: config.clone(),
            nonce: Nonce::of(worker),
            tenure: Tenure::Local,
            looked: Nanos::ZERO,
            waiting: false,
            places: config.pools.iter().map(|_| Vec::new()).collect(),
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
    pub fn begin(&mut self, port: &mut dyn Port, pool: &Pool, target: usize, now: Nanos) {
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
        target: usize,
        failed: bool,
        now: Nanos,
    ) {
        self.keep_up(port, now);
        let place = self
            .places
            .get(pool.index)
            .and_then(|places| places.get(target));
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
    pub fn of(&mut self, port: &mut dyn Port, pool: &Pool, target: usize) -> u32 {
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
    fn place(&mut self, port: &mut dyn Port, pool: &Pool, target: usize) -> Option<&mut Place> {
        let places = self.places.get_mut(pool.index)?;
        if places.is_empty() {
            places.resize(pool.targets.len(), Place::default());
        }
        let place = places.get_mut(target)?;
        if matches!(place.gauge, Handle::Unasked) {
            let gauge = port.gauge(&gauge_name(pool, pool.targets.get(target)?));
            place.gauge = gauge.map_or(Handle::Refused, Handle::Given);
        }
        Some(place)
    }

    /// The entry of a target, made if it is not there.
    fn entry(&mut self, port: &mut dyn Port, pool: &Pool, target: usize) -> Option<u32> {
        let next = self.entries.len();
        let place = self.place(port, pool, target)?;
        if let Some(entry) = place.entry {
            return Some(entry);
        }
        let gauge = place.gauge.gauge();
        place.entry = Some(next as u32);
        self.entries.push(Entry {
            pool: pool.index as u32,
            target: target as u32,
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
            let pool = self.config.pools.get(entry.pool as usize);
            let target =
                pool.and_then(|pool| Some((pool, pool.targets.get(entry.target as usize)?)));
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
mod tests {
    use super::*;
    use crate::port::{Connection, SetFailed, Stats, Store, StoreFailed, Version};
    #[cfg(not(target_arch = "wasm32"))]
    use crate::shared::tests::interleaved;
    use crate::shared::tests::{Dice, Map};
    use crate::time::Seconds;
    use std::net::IpAddr;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SECOND: Nanos = Nanos::SECOND;

    /// Some day.
    const NOW: Nanos = Nanos::from_secs(1_800_000_000);

    /// One pool `p` of targets `t<from>` to before `t<to>`.
    fn config(from: usize, to: usize) -> Rc<Config> {
        let targets: Vec<_> = (from..to)
            .map(|target| format!(r#"{{"cluster": "t{target}"}}"#))
            .collect();
        let targets = targets.join(",");
        let json = format!(
            r#"{{"pools": {{"p": {{"targets": [{targets}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
        );
        Rc::new(Config::load(json.as_bytes()).unwrap())
    }

    /// A worker with what it has in flight.
    struct Worker {
        counts: InFlight,
        pool: Rc<Pool>,
        flights: Vec<usize>,
    }

    impl Worker {
        fn new(config: &Rc<Config>, holder: u64) -> Worker {
            Worker {
                counts: InFlight::new(config, WorkerId::new(Seconds::new(holder), 0)),
                pool: config.pools[0].clone(),
                flights: Vec::new(),
            }
        }

        fn begin(&mut self, port: &mut dyn Port, target: usize, now: Nanos) {
            self.counts.begin(port, &self.pool, target, now);
            self.flights.push(target);
        }

        /// Ends one of its requests, whichever the dice say.
        fn end(
            &mut self,
            port: &mut dyn Port,
            roll: u64,
            failed: bool,
            now: Nanos,
        ) -> Option<usize> {
            let place = (roll as usize).checked_rem(self.flights.len())?;
            let target = self.flights.swap_remove(place);
            self.counts.end(port, &self.pool, target, failed, now);
            Some(target)
        }

        fn tick(&mut self, port: &mut dyn Port, now: Nanos) {
            self.counts.tick(port, now);
        }

        fn of(&mut self, port: &mut dyn Port, target: usize) -> u32 {
            self.counts.of(port, &self.pool, target)
        }
    }

    /// What the gauge of a target says, to operators too.
    fn gauge(map: &Map, target: usize) -> i64 {
        let name = format!("pointsman.pool.p.target.t{target}.in_flight");
        map.gauges
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, value)| *value)
    }

    #[test]
    fn counts_are_exact_at_any_time_and_return_to_zero() {
        for seed in 0..4 {
            let (mut map, mut dice, config) = (Map::default(), Dice(seed << 32), config(0, 100));
            let mut workers: Vec<_> = (1..=8).map(|holder| Worker::new(&config, holder)).collect();
            let (mut now, mut counts, mut penalties) = (NOW, [0_u32; 100], Vec::new());
            for step in 0..100_000_u64 {
                // All workers tick once a second, of a thousand steps each.
                now += SECOND / 1000;
                let worker = &mut workers[dice.roll(8) as usize];
                let target = dice.roll(100).min(dice.roll(100)) as usize;
                if dice.roll(2) == 0 {
                    worker.begin(&mut map, target, now);
                    counts[target] += 1;
                } else {
                    let failed = dice.roll(3) == 0;
                    match worker.end(&mut map, dice.roll(1 << 40), failed, now) {
                        Some(target) if failed => penalties.push((now, target)),
                        Some(target) => counts[target] -= 1,
                        None => {}
                    }
                }
                if step % 1000 < 8 {
                    workers[step as usize % 8].tick(&mut map, now);
                }
                // All that failed before the last second's ticks is over; what failed within a
                // second is not.
                penalties.retain(|(then, target)| {
                    let over = now - *then > 2 * SECOND + PENALTY_STEP;
                    counts[*target] -= u32::from(over);
                    !over
                });
                if step % 64 == 0 {
                    let target = dice.roll(100) as usize;
                    let seen = workers[dice.roll(8) as usize].of(&mut map, target);
                    let maybe_over = |then: Nanos| now - then >= PENALTY;
                    let open = penalties
                        .iter()
                        .filter(|(then, of)| *of == target && maybe_over(*then))
                        .count() as u32;
                    assert!(
                        (counts[target] - open..=counts[target]).contains(&seen),
                        "seed {seed}, step {step}"
                    );
                }
            }
            for worker in &mut workers {
                while worker.end(&mut map, 0, false, now).is_some() {}
                worker.tick(&mut map, now + 2 * SECOND);
            }
            assert!(
                map.gauges.len() >= 100 && map.gauges.iter().all(|(_, value)| *value == 0),
                "seed {seed}"
            );
            assert!(
                workers
                    .iter_mut()
                    .all(|worker| worker.counts.take_events().is_empty())
            );
            assert!(
                workers.iter().all(|worker| worker
                    .counts
                    .own_counts()
                    .iter()
                    .all(|byte| *byte == 0))
            );
        }
    }

    /// Found by the fuzz target `records`. This is all that two faults within the same seconds can
    /// cost.
    #[test]
    fn who_is_taken_for_dead_and_traps_before_it_knows_loses_what_it_counted_since_and_no_more() {
        let (mut map, config) = (Map::default(), config(0, 1));
        let mut workers = [1, 2].map(|holder| Worker::new(&config, holder));
        let [hangs, lives] = &mut workers;
        hangs.begin(&mut map, 0, NOW);
        lives.begin(&mut map, 0, NOW);
        for second in 1..=u64::from(PATIENCE) + 1 {
            lives.tick(&mut map, NOW + second * SECOND);
        }
        assert_eq!(gauge(&map, 0), 1, "what it had is taken back");
        // Its clock stands where it hung; a later one would tell it.
        hangs.begin(&mut map, 0, NOW);
        hangs.begin(&mut map, 0, NOW);
        lives.end(&mut map, 0, false, NOW + 5 * SECOND);
        for second in 6..60 {
            lives.tick(&mut map, NOW + second * SECOND);
        }
        assert_eq!(gauge(&map, 0), 2);
    }

    /// Found by the fuzz target `records`. Three faults: a worker hangs for longer than its slot
    /// rests, the next owner of the slot dies with requests in flight, and only then the first one
    /// finds out.
    #[test]
    fn who_hangs_until_its_note_is_gone_puts_back_what_it_has_itself() {
        let (mut map, config) = (Map::default(), config(0, 1));
        let mut workers = [1, 2, 3].map(|holder| Worker::new(&config, holder));
        let [hangs, lives, dies] = &mut workers;
        let mut second = 0;
        let mut pass = |lives: &mut Worker, map: &mut Map, seconds: u64| {
            for _ in 0..seconds {
                second += 1;
                lives.tick(map, NOW + second * SECOND);
            }
            NOW + second * SECOND
        };
        lives.begin(&mut map, 0, NOW);
        hangs.begin(&mut map, 0, NOW);
        pass(lives, &mut map, u64::from(PATIENCE) + 1);
        // Nobody took this one back, and it will be put back with the other.
        hangs.begin(&mut map, 0, NOW);
        let now = pass(lives, &mut map, REST / SECOND + 1);
        dies.begin(&mut map, 0, now);
        let now = pass(lives, &mut map, u64::from(PATIENCE) + 1);
        assert_eq!(gauge(&map, 0), 2, "one lives, one was not taken");
        hangs.tick(&mut map, now);
        assert_eq!(gauge(&map, 0), 2 + 2);
        while hangs.end(&mut map, 0, false, now).is_some() {}
        lives.end(&mut map, 0, false, now);
        assert_eq!(gauge(&map, 0), 1, "what it counted before it knew");
    }

    /// A proxy whose calls are watched.
    #[derive(Default)]
    struct Watched {
        map: Map,
        calls: Vec<&'static str>,
        /// The gauges are not there, or they take nothing in.
        no_gauges: bool,
        null_gauges: bool,
        /// After so many calls at which a VM can trap, it does.
        trap: Option<u32>,
    }

    impl Watched {
        fn call(&mut self, name: &'static str, can_trap: bool) {
            self.trap = self.trap.map(|left| match left {
                0 if can_trap => std::panic::resume_unwind(Box::new(())),
                left => left - u32::from(can_trap),
            });
            self.calls.push(name);
        }
    }

    impl Connection for Watched {
        fn source_address(&mut self) -> Option<IpAddr> {
            None
        }
    }

    impl Store for Watched {
        fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
            self.call("read", true);
            self.map.get(key)
        }

        fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
            // Before a blind write comes nothing that could fail: a CAS that was won, or
            // arithmetic.
            match expected {
                Expected::Any => self.call("write", false),
                _ => self.call("swap", true),
            }
            self.map.set(key, value, expected)
        }
    }

    impl Stats for Watched {
        fn gauge(&mut self, name: &str) -> Option<Gauge> {
            self.call("define", true);
            if self.no_gauges {
                None
            } else {
                self.map.gauge(name)
            }
        }

        fn add(&mut self, gauge: Gauge, by: i64) {
            self.call("add", false);
            if !self.null_gauges {
                self.map.add(gauge, by);
            }
        }

        fn value(&mut self, gauge: Gauge) -> Option<i64> {
            self.call("value", true);
            self.map.value(gauge)
        }
    }

    #[test]
    fn a_request_in_steady_state_is_a_write_and_an_add_each_way() {
        let (mut port, config) = (Watched::default(), config(0, 10));
        let mut worker = Worker::new(&config, 1);
        for step in 0..100 {
            if step % 10 == 0 {
                worker.tick(&mut port, NOW + step * SECOND / 10);
            }
            port.calls.clear();
            worker.begin(&mut port, 3, NOW + step * SECOND / 10);
            let way_in = std::mem::take(&mut port.calls);
            assert_eq!(worker.of(&mut port, 3), 1);
            let look = std::mem::take(&mut port.calls);
            worker.end(&mut port, 0, false, NOW + step * SECOND / 10);
            if step > 0 {
                assert_eq!(
                    (&way_in[..], &look[..]),
                    (&["write", "add"][..], &["value"][..])
                );
                assert_eq!(port.calls, ["write", "add"]);
            }
        }
        // The first request to another target asks for its gauge, says whose the ledger's new place
        // is, and looks whether the gauge takes it in. A mere look asks for the gauge.
        port.calls.clear();
        worker.begin(&mut port, 4, NOW + 10 * SECOND);
        assert_eq!(port.calls, ["define", "write", "write", "add", "value"]);
        port.calls.clear();
        worker.of(&mut port, 5);
        assert_eq!(port.calls, ["define", "value"]);
        // A tick is one read and one write of the table.
        port.calls.clear();
        worker.tick(&mut port, NOW + 10 * SECOND);
        assert_eq!(port.calls, ["read", "swap"]);
    }

    /// Random interleavings of every host call, with ticks so frequent that the living are taken
    /// for dead all the time, and VMs that trap with requests in flight. A trap is between
    /// requests: within one, the only host calls after which the sums would be wrong are followed
    /// at once by the call that makes them right.
    #[cfg(not(target_arch = "wasm32"))] // threads
    #[test]
    fn sums_are_exact_in_every_interleaving_with_traps_and_stalls() {
        use std::sync::Mutex;
        use std::sync::atomic::{AtomicUsize, Ordering};
        const WORKERS: usize = 4;
        const TARGETS: usize = 3;
        let (mut revived, mut reaped) = (0, 0);
        for seed in 0..60 {
            let met = AtomicUsize::new(0);
            let alive = Mutex::new([0_i64; TARGETS]);
            let gauges = |map: &Map| [0, 1, 2].map(|target| gauge(map, target));
            let (events, world) = interleaved(seed, WORKERS, NOW, |turn| {
                let config = config(0, TARGETS);
                let number = turn.worker as u64 + 1;
                let mut worker = Worker::new(&config, number);
                let mut events = Vec::new();
                for step in 1..80 {
                    let (dice, target, which) = turn.step(|world| {
                        let dice = &mut world.dice;
                        (dice.roll(24), dice.roll(TARGETS as u64), dice.roll(100))
                    });
                    match dice {
                        // Not while it is taken for dead and has not found out: what such a one
                        // counts is in no ledger.
                        0 => {
                            worker.tick(turn, NOW);
                            if worker.counts.slot().is_some() {
                                events.extend(worker.counts.take_events());
                                worker = Worker::new(&config, number + 100 * step);
                            }
                        }
                        1..6 => worker.tick(turn, NOW),
                        6..16 => worker.begin(turn, target as usize, NOW),
                        _ => drop(worker.end(turn, which, false, NOW)),
                    }
                    events.extend(worker.counts.take_events());
                }
                let mut round = 0;
                let mut meet = |turn: &mut crate::shared::tests::Turn<'_>| {
                    round += 1;
                    turn.step(|_| met.fetch_add(1, Ordering::SeqCst));
                    while turn.step(|_| met.load(Ordering::SeqCst)) < round * WORKERS {}
                };
                // In step, so that nobody alive is taken for dead any more: the dead are, and the
                // rest puts things right.
                for _ in 0..8 {
                    meet(turn);
                    worker.tick(turn, NOW);
                }
                for target in &worker.flights {
                    alive.lock().unwrap()[*target] += 1;
                }
                meet(turn);
                let seen = turn.step(|world| gauges(&world.map));
                assert_eq!(seen, *alive.lock().unwrap(), "seed {seed}");
                let told: Vec<_> = (0..TARGETS)
                    .map(|target| i64::from(worker.of(turn, target)))
                    .collect();
                assert_eq!(told, seen, "seed {seed}");
                meet(turn);
                while worker.end(turn, 0, false, NOW).is_some() {}
                events.extend(worker.counts.take_events());
                events
            });
            assert_eq!(gauges(&world.map), [0; 3], "seed {seed}");
            let count = |what: fn(&Event) -> bool| {
                events.iter().flatten().filter(|event| what(event)).count()
            };
            revived += count(|event| *event == Event::Revived);
            reaped += count(|event| matches!(event, Event::Reaped(_)));
        }
        assert!(revived > 100 && reaped > 100, "{revived} {reaped}");
    }

    #[cfg(not(target_arch = "wasm32"))] // unwinding
    #[test]
    fn a_trap_in_the_middle_of_a_callback_leaves_nothing_behind() {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        for calls in 0..1000 {
            let (mut port, config) = (Watched::default(), config(0, 70));
            let mut dead = Worker::new(&config, 1);
            (0..70).for_each(|target| dead.begin(&mut port, target, NOW));
            port.trap = Some(calls);
            let trapped = catch_unwind(AssertUnwindSafe(|| {
                let mut worker = Worker::new(&config, 2);
                for step in 1..=5 {
                    let now = NOW + step * SECOND;
                    worker.begin(&mut port, step as usize, now);
                    worker.begin(&mut port, 69, now);
                    worker.end(&mut port, step, step % 2 == 0, now);
                    worker.tick(&mut port, now);
                }
            }));
            port.trap = None;
            let mut heir = Worker::new(&config, 3);
            (6..12).for_each(|step| heir.tick(&mut port, NOW + step * SECOND));
            assert!(
                port.map.gauges.iter().all(|(_, value)| *value == 0),
                "after {calls} calls"
            );
            if trapped.is_ok() {
                assert!(calls > 20, "{calls}");
                return;
            }
        }
        panic!("the script is longer than that");
    }

    #[test]
    fn what_the_dead_had_is_back_within_five_ticks_and_the_living_keep_theirs() {
        for workers in 1..4 {
            let (mut map, config) = (Map::default(), config(0, 200));
            let mut worker = Worker::new(&config, 1);
            (0..500).for_each(|request| worker.begin(&mut map, request % 200, NOW));
            // A VM that trapped is followed by a fresh one; other configurations may not even have
            // its targets.
            let others = self::config(150, 250);
            let mut alive: Vec<_> = (0..workers)
                .map(|number| Worker::new(&others, number + 2))
                .collect();
            alive
                .iter_mut()
                .for_each(|worker| worker.begin(&mut map, 0, NOW));
            for tick in 1..=100 {
                // The clock jumps about: that does nothing.
                let now = NOW + [0, 7200, 1, 3600][tick as usize % 4] * SECOND;
                alive
                    .iter_mut()
                    .for_each(|worker| worker.tick(&mut map, now));
                if tick < PATIENCE {
                    assert_eq!(gauge(&map, 0), 3, "tick {tick}");
                }
                if tick >= 5 {
                    for target in 0..200 {
                        let own = if target == 150 { workers as i64 } else { 0 };
                        assert_eq!(gauge(&map, target), own, "tick {tick}, target {target}");
                    }
                }
            }
            let events: Vec<_> = alive
                .iter_mut()
                .flat_map(|worker| worker.counts.take_events())
                .collect();
            assert_eq!(events, [Event::Reaped(500)]);
        }
    }

    #[test]
    fn who_was_taken_for_dead_puts_back_exactly_what_was_taken() {
        for by_a_tick in [true, false] {
            let (mut map, config) = (Map::default(), config(0, 3));
            let (mut hung, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
            let mut now = NOW;
            for time in 1..4 {
                (0..5).for_each(|_| hung.begin(&mut map, 1, now));
                other.begin(&mut map, 1, now);
                for _ in 0..5 {
                    now += SECOND;
                    other.tick(&mut map, now);
                }
                assert_eq!(gauge(&map, 1), time, "what the hung one had is off");
                assert_eq!(other.counts.take_events(), [Event::Reaped(5 * time as u32)]);
                // It goes on where it was, and does not know. What comes meanwhile was not taken.
                if by_a_tick {
                    let then = now - 5 * SECOND;
                    hung.begin(&mut map, 1, then);
                    hung.end(&mut map, 0, false, then);
                    hung.end(&mut map, 0, false, then);
                    assert_eq!(gauge(&map, 1), time - 1);
                    assert_eq!(other.of(&mut map, 2), 0);
                    hung.tick(&mut map, now);
                } else {
                    // No tick comes, but a request: it looks first.
                    hung.end(&mut map, 0, false, now);
                }
                assert_eq!(hung.counts.take_events(), [Event::Revived]);
                assert_eq!(gauge(&map, 1), 6 * time - 1);
                hung.begin(&mut map, 1, now);
            }
            // Its new ledger is right too.
            drop(hung);
            (1..=5).for_each(|tick| other.tick(&mut map, now + tick * SECOND));
            assert_eq!((gauge(&map, 1), other.of(&mut map, 1)), (3, 3));
        }
    }

    #[test]
    fn without_gauges_a_worker_goes_by_its_own_counts() {
        for null_gauges in [true, false] {
            let (mut port, config) = (Watched::default(), config(0, 3));
            (port.null_gauges, port.no_gauges) = (null_gauges, !null_gauges);
            let (mut worker, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
            for request in 0..6 {
                worker.begin(&mut port, request % 2, NOW);
            }
            other.begin(&mut port, 0, NOW);
            assert_eq!(
                [0, 1, 2].map(|target| worker.of(&mut port, target)),
                [3, 3, 0]
            );
            assert_eq!(other.of(&mut port, 0), 1);
            for worker in [&mut worker, &mut other] {
                assert_eq!(worker.counts.take_events(), [Event::NoGauges], "told once");
            }
            while worker.end(&mut port, 0, false, NOW).is_some() {}
            assert_eq!(worker.of(&mut port, 0), 0);
            // Nor does it matter to who takes it for dead.
            (1..=5).for_each(|tick| other.tick(&mut port, NOW + tick * SECOND));
            assert_eq!(other.of(&mut port, 0), 1);
        }
    }

    #[test]
    fn without_a_slot_a_worker_goes_by_its_own_counts_until_there_is_one() {
        let (mut map, config) = (Map::default(), config(0, 3));
        let table = (0..MAX_SLOTS as u64)
            .flat_map(|nonce| [nonce, 1, 1])
            .flat_map(u64::to_le_bytes);
        map.set(HOLDERS, &table.collect::<Vec<_>>(), Expected::Any)
            .unwrap();
        let (mut worker, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
        (0..5).for_each(|_| worker.begin(&mut map, 1, NOW));
        other.begin(&mut map, 1, NOW);
        assert_eq!(
            (
                worker.of(&mut map, 1),
                other.of(&mut map, 1),
                gauge(&map, 1)
            ),
            (5, 1, 0)
        );
        let reads = map.reads;
        (0..100).for_each(|_| worker.begin(&mut map, 2, NOW));
        assert_eq!(map.reads, reads, "it asks for a slot once a tick");
        // The table's holders are dead; each worker buries as many as it may in a tick, and the
        // slots rest.
        for tick in 1..=60 {
            worker.tick(&mut map, NOW + tick * SECOND);
            other.tick(&mut map, NOW + tick * SECOND);
            if tick < 30 {
                assert_eq!(gauge(&map, 1), 0, "tick {tick}");
            }
        }
        assert_eq!(gauge(&map, 1), 6);
        assert_eq!([1, 2].map(|target| worker.of(&mut map, target)), [6, 100]);
        assert_eq!(worker.counts.take_events(), [Event::NoSlot], "told once");
        assert_eq!(map.values[HOLDERS].0.len(), SLOT * MAX_SLOTS);
    }

    /// Targets change with each reload. The old root contexts live on for a while and end their
    /// requests, unless their VM traps.
    #[test]
    fn a_thousand_reloads_need_no_more_keys_than_a_few() {
        const WORKERS: u64 = 3;
        for (seed, seconds, few) in [(0, 40, 10), (1, 5, 20)] {
            let (mut map, mut dice, mut now, mut keys) = (Map::default(), Dice(seed << 32), NOW, 0);
            let mut old = Vec::<Worker>::new();
            for reload in 0..1000 {
                let from = (reload * 7 % 50) as usize;
                let config = config(from, from + 20);
                let holders = reload * WORKERS + 1..=(reload + 1) * WORKERS;
                let mut workers: Vec<_> =
                    holders.map(|holder| Worker::new(&config, holder)).collect();
                for worker in &mut workers {
                    (0..30).for_each(|request| worker.begin(&mut map, request % 20, now));
                }
                for second in 0..seconds {
                    now += SECOND;
                    workers
                        .iter_mut()
                        .for_each(|worker| worker.tick(&mut map, now));
                    if second == 0 {
                        for mut worker in old.drain(..).filter(|_| dice.roll(10) > 0) {
                            while worker.end(&mut map, 0, false, now).is_some() {}
                        }
                    }
                }
                old = workers;
                if reload == few {
                    keys = map.values.len();
                }
            }
            assert_eq!(map.values.len(), keys, "with {seconds} s between reloads");
            // Of each slot a ledger, its names, a note, and room for all that rest.
            assert!(
                keys <= 1 + 3 * WORKERS as usize * (2 + 40 / seconds as usize),
                "{keys}"
            );
            let mut last = Worker::new(&config(0, 70), 1 << 20);
            old.clear();
            (1..=5).for_each(|tick| last.tick(&mut map, now + tick * SECOND));
            assert!(map.gauges.iter().all(|(_, value)| *value == 0));
        }
    }

    #[test]
    fn a_failed_request_keeps_its_place_for_a_second() {
        let (mut map, config) = (Map::default(), config(0, 3));
        let mut worker = Worker::new(&config, 1);
        for _ in 0..3 {
            worker.begin(&mut map, 1, NOW);
        }
        worker.end(&mut map, 0, true, NOW);
        worker.end(&mut map, 0, true, NOW + SECOND / 2);
        worker.end(&mut map, 0, false, NOW + SECOND / 2);
        assert_eq!(worker.of(&mut map, 1), 2);
        for (now, left) in [
            (SECOND - Nanos::new(1), 2),
            (SECOND + PENALTY_STEP, 1),
            (SECOND * 3 / 2, 1),
            (3 * SECOND, 0),
        ] {
            worker.tick(&mut map, NOW + now);
            assert_eq!(
                (worker.of(&mut map, 1), gauge(&map, 1)),
                (left, left.into()),
                "{now:?}"
            );
        }
        // Requests release penalties too; and a clock that is set back far keeps nothing.
        for later in [4 * SECOND, Nanos::ZERO] {
            worker.begin(&mut map, 1, NOW + 2 * SECOND);
            worker.end(&mut map, 1, true, NOW + 2 * SECOND);
            assert_eq!(worker.of(&mut map, 1), 1);
            worker.begin(&mut map, 2, NOW + later);
            assert_eq!(worker.of(&mut map, 1), 0);
        }
        // However many fail, what is remembered is bounded.
        for request in 0..100_000 {
            worker.begin(&mut map, request % 3, NOW);
            worker.end(
                &mut map,
                0,
                true,
                NOW + (request as u64 * SECOND / 2000) % SECOND,
            );
        }
        assert!(
            worker.counts.penalties.len() <= 3 * 12,
            "{}",
            worker.counts.penalties.len()
        );
    }

    #[test]
    fn strange_values_do_no_harm() {
        let (mut map, config) = (Map::default(), config(0, 3));
        let mut worker = Worker::new(&config, 1);
        for (value, seen) in [(-5, 0), (0, 0), (7, 7), (1 << 40, u32::MAX), (i64::MIN, 0)] {
            let name = "pointsman.pool.p.target.t0.in_flight";
            let handle = map.gauge(name).unwrap();
            map.gauges[handle.0 as usize].1 = value;
            assert_eq!(worker.of(&mut map, 0), seen);
        }
        // A target that is none, and an end without a beginning, count nothing.
        worker.begin(&mut map, 3, NOW);
        worker.counts.end(&mut map, &config.pools[0], 3, false, NOW);
        worker.counts.end(&mut map, &config.pools[0], 1, false, NOW);
        worker.begin(&mut map, 1, NOW);
        (0..2).for_each(|_| worker.counts.end(&mut map, &config.pools[0], 1, false, NOW));
        assert_eq!(
            (
                gauge(&map, 1),
                worker.of(&mut map, 1),
                worker.of(&mut map, 3)
            ),
            (0, 0, 0)
        );
        // Records that are none are as if they were not there.
        let mut other = Worker::new(&config, 2);
        worker.begin(&mut map, 1, NOW);
        let keys: Vec<_> = map.values.keys().cloned().collect();
        for junk in [&b""[..], b"x", &[255; 100]] {
            for key in &keys {
                map.set(key, junk, Expected::Any).unwrap();
            }
            (1..9).for_each(|tick| other.tick(&mut map, NOW + tick * SECOND));
            other.begin(&mut map, 2, NOW + 9 * SECOND);
        }
        assert_eq!(
            [1, 2].map(|target| other.of(&mut map, target) > 0),
            [true; 2]
        );
    }
}
