//! Per-target in-flight counts shared by all workers. A gauge holds the sum; each worker's ledger
//! records its own contribution, so that it can be subtracted if its VM traps.
//!
//! **How exact.** A worker's own counts are exact in its memory. It shares them at each begin and
//! end of a request while it has less than 100 requests a second, or a burst of ten; while it is
//! busier, each 5 ms (see [`Pace`]); at each of its ticks; and whenever its last request is over.
//! So others see the counts of a busy worker 5 ms late. Of one that becomes quiet while some of its
//! requests go on, they may see the last few changes with its next tick, at most a second later.
//!
//! **Alternatives.** Prices are those of a call from inside the VM in Envoy 1.40: a read of shared
//! data 650 ns, because it returns bytes; a write 120; adding to a gauge 55; reading one 65. W is
//! the number of workers.
//!
//! | | B: one record for each pool, changed by CAS | F: one record for each worker, written without a check | G: gauges, and a ledger for each worker |
//! |---|---|---|---|
//! | a request begins | 1 read, 1 write | 1 write | 1 write, 1 add; of a busy worker none |
//! | a request ends | 1 read, 1 write | 1 write | 1 write, 1 add; of a busy worker none |
//! | to know the counts | comes with the read above | W − 1 reads, at most every 10 ms | 65 ns for each target that is compared, at most every 10 ms |
//! | all of it, with 8 workers, 20 targets, 200 requests/s each | 1540 ns, and retries | 240 ns + 3.5 × 650 ns (7 reads at every other request) | 350 ns + at most 20 × 65 ns |
//! | calls that return bytes, for each request | 2 | up to W − 1 | 0 |
//! | age of the counts | 0 | 10 ms and more | 0; of a busy worker 5 ms |
//! | contention | every request writes the one record, so workers retry | none | none: a gauge is an atomic number |
//! | a VM traps | its contribution cannot be told from that of the others | its record is left out | its ledger is subtracted from the gauges |
//!
//! G is what this module does. It returns no bytes at all, and it is the only one whose cost does
//! not depend on W. F exceeds the budget of four calls that return bytes from five workers on. B
//! cannot be repaired after a trap without a ledger beside it, and then it is G with dearer calls.
//!
//! **Gauges.** `pointsman.pool.<pool>.target.<target>.in_flight` is one number of the whole process,
//! which operators read too; `gauge_name.rs` keeps those of several configurations apart. A handle
//! is asked for when a target is first compared or used, and not when a configuration is loaded:
//! each one costs the proxy memory for good, in every worker, and of 10,000 targets few workers may
//! ever use all.
//!
//! **Ledgers.** What a VM that trapped had added to a gauge stays there. So each worker (one root
//! context of one VM) also writes what it has shared of its counts to shared data. It is the only
//! writer of its ledger, so it writes without a check. The write stands directly before the adds to
//! the gauges, and nothing between them could trap: no allocation, and no arithmetic that can fail.
//! So a trap comes before all or after all of them, and the ledger is always exactly what the
//! worker has in the gauges. What was counted and not shared yet is in neither.
//!
//! **Leases.** A worker publishes its ledger in a *slot*, which it holds under a *lease*. One
//! record has all slots. Once a second each worker raises a number in its slot, the *heartbeat*. A
//! worker that sees another one's number unchanged over three of its own ticks takes that one for
//! expired. It reads the ledger, frees the slot by CAS, leaves a note of what it subtracts, and
//! subtracts that from the gauges. Of several workers that try, one wins the CAS, and only that one
//! subtracts. Heartbeats are counted in ticks, and no clock is read, so that a clock that jumps
//! expires nobody. `lease.rs` has the state machine of a worker's own lease, and says why
//! [`super::health`] has another protocol.
//!
//! **False expiry.** A worker may be alive although it expired: it hung for seconds; or it belongs
//! to a root context that gets no more ticks while its last streams run. It notices at its next
//! tick, or at the first request that comes two seconds after its last heartbeat, because its slot
//! is not held under its lease any more. Then it rejoins: it claims a slot under a new lease,
//! writes its ledger there, and adds to the gauges what the note says was subtracted, not what it
//! believes it had. So the sum is exact in every interleaving. Let *o* be what the worker has shared,
//! *g* its contribution to the gauge, and *t* what was subtracted, which may be older than *o*. As
//! long as the lease is held, *g* = *o*. After the expiry *g* = *o* − *t*, and it stays so while
//! the worker goes on to change *o* and *g* together. When it rejoins it adds *t*, so *g* = *o*
//! again. Until the note is written the worker does not rejoin, and counts on in the gauges.
//!
//! **What is not repaired**, both times because two faults meet:
//! - A worker that traps after a false expiry and before it rejoins: what it counted in between is
//!   in no ledger, and stays in the gauges.
//! - A worker that hangs for longer than a freed slot is in quarantine (30 s, so that it does not
//!   write into the ledger of the next holder): if it hung between two host calls, the next
//!   holder's ledger is wrong until that one's next write. If the next holder has expired too by
//!   the time the first one goes on, its note has overwritten the first one's. Then the first one
//!   adds all its own counts, which is too much by what it counted after its expiry and before it
//!   rejoined.
//!
//! **After a reload** the old root context lives on, with its ticks, until its last stream is over,
//! and both root contexts of the VM count in the same gauges. Then the heartbeats of the old one
//! stop, and its slot, whose counts are all zero, is freed. Slots are claimed from the lowest, so a
//! thousand reloads need no more keys than a few do.
//!
//! **Without shared counts.** Where the proxy has no gauges or rejects them (`stats_matcher`: what
//! is added vanishes), or all slots are taken, or shared data fails, a worker uses its own counts
//! alone. [`InFlightEvent`]s say so.
//!
//! **Penalty.** A request that failed stays counted for a second longer, so that a target that
//! fails fast does not look idle. Not at a target with [`max_in_flight`](super::max_in_flight),
//! whose counts are also shared at each begin and end, however busy the worker is.
//!
//! **Records**, all under keys of [`crate::shared::keys`]. Numbers are little-endian; ids of leases
//! have 8 bytes, and counts 4.
//!
//! | key | record | written |
//! |---|---|---|
//! | `pm1/hold` | for each slot 24 bytes: the id of its lease; whether it is held, 0 or 1; and then the number that heartbeats raise, or when it was freed in nanoseconds since 1970 | by CAS |
//! | `pm1/ledg` slot part | the id of the lease, then the counts of up to 64 gauges | by the worker that holds the slot, when it shares its counts |
//! | `pm1/name` slot part | the id of the lease, then for each of these gauges the length (4 bytes) and the bytes of its name, so that other workers can subtract from it whatever their own configurations are | by the worker that holds the slot, when it first uses the target |
//! | `pm1/took` slot | the id of the lease that expired, then the counts that were subtracted, of all parts | by the worker that freed the slot |

mod gauge_name;
mod lease;
mod ledger;
mod penalty;
mod reclaim;
mod slots;

use crate::entropy::WorkerId;
use crate::index::{PoolIndex, TargetIndex, TargetRef};
use crate::pool::Pool;
use crate::pool::pace::Pace;
use crate::port::{Gauge, Port};
use crate::time::Nanos;
use gauge_name::GaugeName;
use lease::{
    HEARTBEAT_MAX_AGE, Lease, LeaseAction, LeaseEvent, LeaseId, Missing, Note, OwnSlot, SlotNumber,
};
use ledger::{CountIndex, Ledger, note_key, payload_if_owner};
use penalty::Penalties;
use reclaim::{ForeignGauges, MAX_RECLAIMED, reclaim};
use slots::{HeartbeatWatch, Slots};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Penalties that are ended while one request is handled. Ticks end the rest.
const PENALTIES_PER_REQUEST: usize = 4;

/// Something that happened to the counts and that an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlightEvent {
    /// The proxy has no gauges, or its configuration of statistics rejects ours: this worker uses
    /// its own counts. Told once.
    NoGauges,
    /// No slot is free, or shared data fails: this worker uses its own counts until it can claim
    /// one. Told once until then.
    NoSlot,
    /// A worker expired with this many requests in flight, and this worker subtracted them.
    Reclaimed(u32),
    /// This worker had expired although it was alive. Its counts are in the gauges again.
    Rejoined,
    /// A state that the code rules out; the worker tells it as its own.
    Bug(&'static str),
}

/// The in-flight counts, as one worker takes part in them. It belongs to the root context and ends
/// with its VM; what it has added to the gauges does not.
#[derive(Debug)]
pub struct InFlight {
    /// For each pool, once one of its targets was asked for, all its targets.
    targets: Vec<Vec<TargetState>>,
    ledger: Ledger,
    lease: Lease,
    /// Of the lease that is held or expired. The next one has the next id.
    lease_id: LeaseId,
    /// When the worker last read or wrote the table of slots.
    last_heartbeat: Nanos,
    watch: HeartbeatWatch,
    foreign_gauges: ForeignGauges,
    penalties: Penalties,
    /// Of sharing the counts.
    pace: Pace,
    events: Vec<InFlightEvent>,
    no_gauges_told: bool,
    no_slot_told: bool,
}

/// What a worker knows of a target.
#[derive(Clone, Copy, Debug, Default)]
struct TargetState {
    name: GaugeName,
    gauge: GaugeHandle,
    /// Its count in the ledger. None: the worker never counted a request of it.
    count: Option<CountIndex>,
}

#[derive(Clone, Copy, Debug, Default)]
enum GaugeHandle {
    #[default]
    NotAskedFor,
    /// The proxy gives none.
    Refused,
    Given(Gauge),
}

impl GaugeHandle {
    fn gauge(self) -> Option<Gauge> {
        match self {
            GaugeHandle::Given(gauge) => Some(gauge),
            GaugeHandle::NotAskedFor | GaugeHandle::Refused => None,
        }
    }
}

impl InFlight {
    /// For a worker and its configuration.
    pub fn new(pools: &[Rc<Pool>], worker: WorkerId) -> InFlight {
        InFlight {
            targets: pools.iter().map(|_| Vec::new()).collect(),
            ledger: Ledger::new(pools),
            lease: Lease::Unclaimed,
            lease_id: LeaseId::before_first(worker),
            last_heartbeat: Nanos::ZERO,
            watch: HeartbeatWatch::default(),
            foreign_gauges: ForeignGauges::default(),
            penalties: Penalties::default(),
            pace: Pace::default(),
            events: Vec::new(),
            no_gauges_told: false,
            no_slot_told: false,
        }
    }

    /// A request goes to a target. No host call, or where the counts are to be shared one write,
    /// and one add for each gauge. Only the first request of a worker reads, and one that comes
    /// more than two seconds after the last tick.
    pub fn begin(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex, now: Nanos) {
        self.before_request(port, now);
        let known = self.ledger.len();
        let Some(index) = self.count_index(port, pool, target) else {
            return self.report_bug("a request began at a target that no pool has");
        };
        self.count(index, 1);
        if self.ledger.len() > known {
            self.share(port);
            self.verify_gauge(port, index);
        } else if pool.max_in_flight(target).is_some() {
            self.share(port);
        } else {
            self.share_at_pace(port, now);
        }
    }

    /// A request goes to a target, unless that has as many as it may have by all that workers have
    /// shared. Returns whether it does. It is counted first and looked at then, so that of several
    /// workers that come at once no two can take the last place
    /// ([`max_in_flight`](super::max_in_flight)). Two reads of a gauge more than
    /// [`InFlight::begin`], and where the target is full one.
    pub fn begin_within(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        most: u32,
        now: Nanos,
    ) -> bool {
        if self.all(port, pool, target) >= most {
            return false;
        }
        self.begin(port, pool, target, now);
        if self.all(port, pool, target) <= most {
            return true;
        }
        self.end(port, pool, target, false, now);
        false
    }

    /// How many requests all workers have in flight at a target.
    fn all(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex) -> u32 {
        let others = self.others(port, pool, target);
        let own = self.own(TargetRef {
            pool: pool.index,
            index: target,
        });
        own.saturating_add(others)
    }

    /// Whether a target has as many requests as it may have. No host call where it may have any
    /// number, or where this worker alone has as many; otherwise one read of a gauge.
    pub fn is_full(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex) -> bool {
        let own = self.own(TargetRef {
            pool: pool.index,
            index: target,
        });
        let most = pool.max_in_flight(target);
        most.is_some_and(|most| own >= most || self.all(port, pool, target) >= most)
    }

    /// A request is over: exactly once for each that began. One that `failed` stays
    /// counted for a second longer. It costs as much.
    pub fn end(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        failed: bool,
        now: Nanos,
    ) {
        self.before_request(port, now);
        let targets = self.targets.get(pool.index.get());
        let state = targets.and_then(|targets| targets.get(target.get()));
        let Some(index) = state.and_then(|state| state.count) else {
            return self.report_bug("a request ended at a target where none began");
        };
        // A penalty is no request, so it must not take the place of one.
        let is_limited = pool.max_in_flight(target).is_some();
        match failed && !is_limited {
            true => self.penalties.add(index, now),
            false => self.count(index, -1),
        }
        match is_limited {
            true => self.share(port),
            false => self.share_at_pace(port, now),
        }
    }

    /// How many requests this worker has in flight at a target. Exact, and no host call.
    pub fn own(&self, target: TargetRef) -> u32 {
        self.known_count(target).0
    }

    /// How many requests all other workers have in flight at a target, by what they have shared.
    /// One read of a gauge, and no call that returns bytes.
    pub fn others(&mut self, port: &mut dyn Port, pool: &Pool, target: TargetIndex) -> u32 {
        let Some(state) = self.target(port, pool, target) else {
            return 0;
        };
        let gauge = state.gauge.gauge();
        let value = gauge.and_then(|gauge| port.value(gauge)).unwrap_or(0);
        let (_, shared) = match self.lease.is_shared() {
            true => self.known_count(TargetRef {
                pool: pool.index,
                index: target,
            }),
            false => (0, 0),
        };
        // It may be below 0 after a false expiry, until the worker rejoins; and a gauge that takes
        // nothing in says 0.
        let others = value.saturating_sub(shared.into());
        u32::try_from(others.max(0)).unwrap_or(u32::MAX)
    }

    /// Shares what was counted since that was last done. For each tick, of whatever period: so a
    /// worker that becomes quiet does not keep its last requests to itself.
    pub fn share(&mut self, port: &mut dyn Port) {
        if self.ledger.is_changed() && self.lease.is_shared() {
            let is_published = matches!(self.lease, Lease::Held(_));
            self.ledger.share(port, is_published);
        }
    }

    /// How many workers the proxy has, as far as is known: at least 1.
    pub(crate) fn workers(&self) -> u32 {
        self.watch.alive().max(1)
    }

    /// Once a second: sends a heartbeat, and reclaims the counts of expired workers. A worker that
    /// has served nothing yet has no slot and sends none.
    pub fn tick(&mut self, port: &mut dyn Port, now: Nanos) {
        let slots = self.refresh_lease(port, now, LeaseEvent::Tick);
        self.end_penalties(now, usize::MAX);
        self.share(port);
        let Some(slots) = slots else {
            return;
        };
        self.watch.observe(&slots, true);
        let expired = self.watch.expired(self.lease.held());
        let expired: Vec<_> = expired.take(MAX_RECLAIMED).collect();
        if !expired.is_empty() {
            let (gauges, events) = (&mut self.foreign_gauges, &mut self.events);
            reclaim(port, &expired, gauges, events, now);
        }
    }

    /// The pools of which this worker counts a request.
    pub(crate) fn busy_pools(&self) -> BTreeSet<PoolIndex> {
        self.ledger.busy_pools()
    }

    /// Forgets the pools of which this worker counts no request; `pools` has others in their
    /// places, or has all of them again.
    pub(crate) fn set_pools(&mut self, pools: &[Rc<Pool>]) {
        let busy = self.busy_pools();
        for (place, targets) in self.targets.iter_mut().enumerate() {
            if !busy.contains(&PoolIndex::new(place)) {
                *targets = Vec::new();
            }
        }
        self.ledger.set_pools(pools);
        self.watch = HeartbeatWatch::default();
        self.foreign_gauges = ForeignGauges::default();
    }

    /// Once a second, while the configuration sleeps: sends a heartbeat and ends penalties. Other
    /// workers' counts are reclaimed by those that are awake. Returns whether the slot is given
    /// back, or there never was one, because nothing is in flight any more.
    pub(crate) fn tick_asleep(&mut self, port: &mut dyn Port, now: Nanos) -> bool {
        self.refresh_lease(port, now, LeaseEvent::Tick);
        self.end_penalties(now, usize::MAX);
        self.give_back_if_idle(port)
    }

    /// The last request is over, and there will be no other: gives the slot back, unless it has
    /// expired or something is still counted.
    pub(crate) fn finish(&mut self, port: &mut dyn Port) {
        self.end_penalties(Nanos::MAX, usize::MAX);
        self.give_back_if_idle(port);
    }

    /// Shares what is left to be shared and, where nothing is in flight any more, gives the slot
    /// back. Returns whether there is none now.
    fn give_back_if_idle(&mut self, port: &mut dyn Port) -> bool {
        self.share(port);
        let is_empty = self.ledger.total() == 0 && !self.ledger.is_changed();
        is_empty && self.give_back(port)
    }

    /// Gives back the slot of a worker that counts nothing. One that has expired keeps counting
    /// until it has added again what was subtracted.
    fn give_back(&mut self, port: &mut dyn Port) -> bool {
        let (held, lease) = match self.lease {
            Lease::Unclaimed | Lease::Unavailable => return true,
            Lease::Expired(_) => return false,
            Lease::Held(held) => (held, self.lease_id),
        };
        let mut given = false;
        let slots = Slots::update(port, &mut |slots| {
            given = slots.give_back(held, lease);
            given
        });
        if slots.is_ok() && given {
            self.lease = Lease::Unclaimed;
        }
        slots.is_ok() && given
    }

    /// Whether something happened since then.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<InFlightEvent> {
        std::mem::take(&mut self.events)
    }

    /// What each request does beside its own count: nothing in the steady state.
    #[inline]
    fn before_request(&mut self, port: &mut dyn Port, now: Nanos) {
        let is_fresh = now.abs_diff(self.last_heartbeat) <= HEARTBEAT_MAX_AGE;
        let is_steady = is_fresh && matches!(self.lease, Lease::Held(_));
        if !is_steady || !self.penalties.is_empty() {
            self.before_unsteady_request(port, now);
        }
    }

    #[inline(never)]
    fn before_unsteady_request(&mut self, port: &mut dyn Port, now: Nanos) {
        let heartbeat_age = now.abs_diff(self.last_heartbeat);
        let event = LeaseEvent::Request { heartbeat_age };
        match self.lease.step(event) {
            (lease, LeaseAction::Done) => self.lease = lease,
            _ => {
                self.refresh_lease(port, now, event);
            }
        }
        self.end_penalties(now, PENALTIES_PER_REQUEST);
    }

    /// The state of a target, with its gauge asked for. None: there is no such target.
    fn target(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
    ) -> Option<&mut TargetState> {
        let targets = self.targets.get_mut(pool.index.get())?;
        if targets.is_empty() {
            let names = gauge_name::claim(port, pool);
            targets.extend(names.into_iter().map(|name| TargetState {
                name,
                ..TargetState::default()
            }));
        }
        let state = targets.get_mut(target.get())?;
        if matches!(state.gauge, GaugeHandle::NotAskedFor) {
            let gauge = port.gauge(&state.name.of(pool, pool.target(target)?));
            state.gauge = gauge.map_or(GaugeHandle::Refused, GaugeHandle::Given);
        }
        Some(state)
    }

    /// The count of a target, added to the ledger if it is not there.
    fn count_index(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
    ) -> Option<CountIndex> {
        let TargetState { name, gauge, count } = *self.target(port, pool, target)?;
        if count.is_some() {
            return count;
        }
        let published = (self.lease_id, self.lease.held());
        let counted = TargetRef {
            pool: pool.index,
            index: target,
        };
        let (ledger, gauge) = (&mut self.ledger, (name, gauge.gauge()));
        let index = ledger.add_target(port, counted, gauge, published);
        self.target(port, pool, target)?.count = Some(index);
        Some(index)
    }

    /// The counts of a target: the worker's own, and what the gauge has of it.
    fn known_count(&self, target: TargetRef) -> (u32, u32) {
        let targets = self.targets.get(target.pool.get());
        let state = targets.and_then(|targets| targets.get(target.index.get()));
        let index = state.and_then(|state| state.count);
        index.map_or((0, 0), |index| self.ledger.count(index))
    }

    /// Counts this many requests more, or fewer.
    fn count(&mut self, index: CountIndex, by: i32) {
        if let Err(bug) = self.ledger.change(index, by) {
            self.report_bug(bug);
        }
    }

    /// Shares the counts, unless that was done just now. A worker whose last request is over
    /// always does: it may be that no tick comes any more, because its configuration is replaced.
    /// That costs a busy worker at most one write more for each that it makes anyway, since what
    /// was not shared meanwhile cancels out.
    fn share_at_pace(&mut self, port: &mut dyn Port, now: Nanos) {
        if self.ledger.total() == 0 || self.pace.allows(now) {
            self.share(port);
        }
    }

    /// Checks that a gauge takes in what is added, by one that holds a request of our own.
    fn verify_gauge(&mut self, port: &mut dyn Port, index: CountIndex) {
        let value = self.ledger.gauge(index).and_then(|gauge| port.value(gauge));
        let works = value.is_some_and(|value| value != 0);
        if self.lease.is_shared() && !works && !std::mem::replace(&mut self.no_gauges_told, true) {
            self.events.push(InFlightEvent::NoGauges);
        }
    }

    /// Ends penalties that are over, at most this many.
    fn end_penalties(&mut self, now: Nanos, most: usize) {
        for _ in 0..most {
            let Some((index, requests)) = self.penalties.pop(now) else {
                return;
            };
            self.count(index, -requests);
        }
    }

    /// Does what the state machine of the lease asks for, until it is done. Returns the slots as
    /// the heartbeat left them, if there was one.
    #[cold]
    #[inline(never)]
    fn refresh_lease(
        &mut self,
        port: &mut dyn Port,
        now: Nanos,
        mut event: LeaseEvent,
    ) -> Option<Slots> {
        let (mut slots, mut subtracted) = (None, Vec::new());
        loop {
            let (lease, action) = self.lease.step(event);
            self.lease = lease;
            event = match action {
                LeaseAction::Done => return slots,
                LeaseAction::Heartbeat => {
                    slots = self.heartbeat(port, now);
                    LeaseEvent::HeartbeatDone(self.own_slot(slots.as_ref()))
                }
                LeaseAction::ReadNote { from, slot } => {
                    let note = self.read_note(port, from, &mut subtracted);
                    LeaseEvent::NoteRead { slot, note }
                }
                LeaseAction::Claim(missing) => {
                    let missing = match missing {
                        Missing::OwnCounts => self.ledger.counts(),
                        Missing::Subtracted => std::mem::take(&mut subtracted),
                    };
                    let claimed = self.claim(port, now, &missing);
                    claimed.map_or(LeaseEvent::NoSlot, LeaseEvent::Claimed)
                }
                LeaseAction::Bug => {
                    self.report_bug("a worker's lease got an event that cannot come");
                    return slots;
                }
            };
        }
    }

    /// Raises the number in the slot that this worker holds, if it does. Returns the table.
    fn heartbeat(&mut self, port: &mut dyn Port, now: Nanos) -> Option<Slots> {
        let (held, lease) = (self.lease.held(), self.lease_id);
        let slots = Slots::update(port, &mut |slots| {
            held.is_some_and(|held| slots.heartbeat(held, lease))
        });
        self.last_heartbeat = now;
        slots.ok()
    }

    fn own_slot(&self, slots: Option<&Slots>) -> OwnSlot {
        let number = self.lease.held().or(self.lease.expired());
        let known = slots.and_then(|slots| Some(slots.own(number?, self.lease_id)));
        known.unwrap_or(OwnSlot::Unknown)
    }

    /// Looks for the note of what was subtracted when this worker's slot was freed.
    fn read_note(&self, port: &mut dyn Port, from: SlotNumber, subtracted: &mut Vec<u8>) -> Note {
        let Ok(note) = port.get(&note_key(from)) else {
            return Note::Unreadable;
        };
        let note = note.as_ref();
        match note.and_then(|(note, _)| payload_if_owner(self.lease_id, note)) {
            Some(counts) => {
                *subtracted = counts.to_vec();
                Note::Found
            }
            None => Note::Missing,
        }
    }

    /// Claims a slot under a new lease, publishes the ledger there, and adds the counts that are
    /// `missing` from the gauges. None: no slot is free, or shared data failed.
    fn claim(&mut self, port: &mut dyn Port, now: Nanos, missing: &[u8]) -> Option<SlotNumber> {
        let lease = self.lease_id.next();
        let previous = self.lease.expired().map(|slot| (slot, self.lease_id));
        // This allocates, so it comes before the write that shows the claim to other workers.
        let names = self.ledger.all_gauge_names(lease);
        self.events.reserve(1);
        let mut claimed = None;
        let slots = Slots::update(port, &mut |slots| {
            claimed = slots.claim(lease, previous, now);
            claimed.is_some()
        });
        self.last_heartbeat = now;
        let (Ok(slots), Some(slot)) = (slots, claimed) else {
            if !std::mem::replace(&mut self.no_slot_told, true) {
                self.events.push(InFlightEvent::NoSlot);
            }
            return None;
        };
        self.no_slot_told = false;
        if previous.is_some() {
            self.events.push(InFlightEvent::Rejoined);
        }
        self.lease_id = lease;
        // From here to the last gauge nothing allocates or can trap.
        self.ledger.publish(port, slot, lease, &names, missing);
        self.watch.observe(&slots, false);
        Some(slot)
    }

    fn report_bug(&mut self, what: &'static str) {
        self.events.push(InFlightEvent::Bug(what));
    }
}

#[cfg(test)]
mod tests;
