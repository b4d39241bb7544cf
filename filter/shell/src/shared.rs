//! What the root context and its streams share: one configuration, awake or asleep.
//!
//! [`pointsman_core::generation`] says when a configuration sleeps and wakes. Asleep it is a few
//! hundred bytes, its compressed text, and what the ends of its requests need until they are over.

use crate::ask::WaitingRequests;
use crate::host;
use crate::metrics::{Failures, Metrics};
use crate::packed::Packed;
use crate::port::Host;
use pointsman_core::config::Config;
use pointsman_core::entropy::{Entropy, WorkerId};
use pointsman_core::generation::{Advice, Generation};
use pointsman_core::pool::health::Probe;
use pointsman_core::scope::{Plugin, Scope};
use pointsman_core::shared::seed;
use pointsman_core::time::{Nanos, Seconds};
use pointsman_core::worker::Worker;
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// What the streams of one root context share.
pub(crate) struct Shared {
    /// Borrowed for one callback at a time: a VM has one thread, and no callback runs inside
    /// another.
    state: RefCell<ConfigurationState>,
    /// What is counted whatever becomes of the configuration.
    pub failures: Failures,
    /// The requests that wait for an engine.
    pub waiting: WaitingRequests,
}

/// A configuration, awake or asleep.
pub(crate) struct ConfigurationState {
    generation: Generation,
    packed: Packed,
    /// When the configuration was loaded first.
    loaded: Seconds,
    /// Of the configuration, which is asked for once.
    scope: Scope,
    life: Life,
    /// Ticks until a second has passed.
    ticks_left: u64,
    /// Whether there was no tick yet.
    is_new: bool,
}

enum Life {
    Awake(Box<Loaded>),
    /// With what the ends of its requests need. None: none is under way.
    Asleep(Option<Box<Loaded>>),
}

/// A configuration in memory.
pub(crate) struct Loaded {
    /// What decides by it.
    pub worker: Worker,
    /// What operators see.
    pub metrics: Metrics,
}

impl Loaded {
    /// Counts what happened.
    pub(crate) fn count(&mut self) {
        self.metrics.count_events(&mut self.worker);
    }
}

impl Shared {
    /// For a root context of this `plugin`, that has loaded `config` from `bytes`; `packed` holds
    /// them too.
    pub(crate) fn new(plugin: &Plugin, bytes: &[u8], packed: Packed, config: Config) -> Shared {
        let loaded = host::current_time().unwrap_or_default().to_seconds();
        let config = Rc::new(config);
        let failures = Failures::define(config.scope.metric());
        let state = ConfigurationState {
            generation: Generation::new(plugin, bytes),
            packed,
            loaded,
            scope: config.scope.clone(),
            life: Life::Awake(Box::new(Loaded {
                metrics: Metrics::define(&config, failures),
                worker: Worker::new(config, entropy(loaded)),
            })),
            ticks_left: 0,
            is_new: true,
        };
        state.set_tick_period();
        Shared {
            state: RefCell::new(state),
            failures,
            waiting: WaitingRequests::default(),
        }
    }

    /// The configuration. None, which is counted as the bug `what`: another callback holds it.
    pub(crate) fn borrow(&self, what: &'static str) -> Option<RefMut<'_, ConfigurationState>> {
        let state = self.state.try_borrow_mut().ok();
        if state.is_none() {
            self.failures.bug(what);
        }
        state
    }
}

impl ConfigurationState {
    /// The configuration for a request: in memory, whatever it was before. None, which is counted as
    /// a bug: it could not be loaded again.
    #[inline]
    pub(crate) fn for_request(&mut self, failures: &Failures) -> Option<&mut Loaded> {
        if let Life::Asleep(_) = self.life {
            self.wake(failures);
            self.generation.woken();
        }
        self.generation.used();
        match &mut self.life {
            Life::Awake(loaded) => Some(loaded),
            Life::Asleep(_) => None,
        }
    }

    /// What is in memory: all, if it is awake, and while it sleeps what the ends of its requests
    /// need.
    pub(crate) fn in_memory(&mut self) -> Option<&mut Loaded> {
        match &mut self.life {
            Life::Awake(loaded) => Some(loaded),
            Life::Asleep(left) => left.as_deref_mut(),
        }
    }

    /// All of it. None: it sleeps.
    pub(crate) fn awake(&mut self) -> Option<&mut Loaded> {
        match &mut self.life {
            Life::Awake(loaded) => Some(loaded),
            Life::Asleep(_) => None,
        }
    }

    /// A tick of the root context. Returns the probes to send.
    pub(crate) fn tick(&mut self, failures: &Failures) -> Vec<Probe> {
        if std::mem::take(&mut self.is_new) {
            self.set_tick_period();
        }
        let is_second = self.ticks_left == 0;
        match self.ticks_left.checked_sub(1) {
            Some(left) => self.ticks_left = left,
            // Ticks are counted and not timed: a clock that jumps must wake nobody.
            None => {
                self.ticks_left = (Nanos::SECOND / self.tick_period()).saturating_sub(1);
                if self
                    .awake()
                    .is_some_and(|loaded| loaded.worker.has_waiting())
                {
                    self.generation.used();
                }
                let was_newest = self.generation.is_newest();
                match self.generation.tick(&mut Host) {
                    Advice::Stay => {}
                    Advice::Sleep => self.sleep(),
                    Advice::Wake => self.wake(failures),
                }
                let is_newest = self.generation.is_newest();
                let has_written = self.generation.take_written();
                if has_written || is_newest && !was_newest {
                    self.tell(has_written);
                }
            }
        }
        let Ok(now) = host::current_time() else {
            return Vec::new();
        };
        match &mut self.life {
            Life::Awake(loaded) => {
                loaded.metrics.flush();
                let probes = loaded.worker.tick(&mut Host, now);
                if is_second && self.generation.is_newest() {
                    loaded.worker.show_health(&mut Host, now);
                }
                loaded.count();
                probes
            }
            Life::Asleep(left) => {
                let is_over = left.as_deref_mut().is_some_and(|left| {
                    let is_over = left.worker.tick_asleep(&mut Host, now);
                    left.count();
                    left.metrics.flush();
                    is_over
                });
                if is_over {
                    self.life = Life::Asleep(None);
                    self.set_tick_period();
                }
                Vec::new()
            }
        }
    }

    /// Tells which configuration is live: a gauge, by each worker that finds it the newest, and a
    /// line of the log by the one that wrote it in (`is_first`).
    #[cold]
    #[inline(never)]
    fn tell(&mut self, is_first: bool) {
        let Life::Awake(loaded) = &self.life else {
            return;
        };
        let config = loaded.worker.config();
        let name = [config.scope.metric(), ".configuration"].concat();
        if let Ok(gauge) = host::define_gauge(&name) {
            // A handle of our own is refused by no host.
            let _ = host::set_gauge(gauge, config.hash.number());
        }
        if is_first {
            log::info!("{}", config.summary());
        }
    }

    fn sleep(&mut self) {
        let life = std::mem::replace(&mut self.life, Life::Asleep(None));
        if let Life::Awake(mut loaded) = life {
            loaded.worker.sleep(&mut Host);
            loaded.metrics.forget(loaded.worker.config());
            self.life = Life::Asleep(Some(loaded));
        }
        self.set_tick_period();
    }

    #[cold]
    #[inline(never)]
    fn wake(&mut self, failures: &Failures) {
        let bytes = self.packed.unpack();
        let scope = &mut || self.scope.clone();
        let config = bytes.and_then(|bytes| Config::load_in(&bytes, scope, &host::variable).ok());
        let Some(config) = config.map(Rc::new) else {
            // It was loaded from the same bytes before.
            return failures.bug("a configuration cannot be loaded again");
        };
        let entropy = entropy(self.loaded);
        let life = std::mem::replace(&mut self.life, Life::Asleep(None));
        let loaded = match life {
            Life::Awake(loaded) => loaded,
            Life::Asleep(Some(mut left)) => {
                left.metrics.recall(&config);
                left.worker.wake(config, entropy);
                left
            }
            Life::Asleep(None) => Box::new(Loaded {
                metrics: Metrics::define(&config, *failures),
                worker: Worker::new(config, entropy),
            }),
        };
        self.life = Life::Awake(loaded);
        self.set_tick_period();
    }

    /// The time from one tick to the next.
    pub(crate) fn tick_period(&self) -> Nanos {
        let period = match &self.life {
            Life::Awake(loaded) => loaded.worker.tick_period(),
            Life::Asleep(Some(_)) => Nanos::SECOND,
            Life::Asleep(None) => ASLEEP,
        };
        period.max(Nanos::MILLISECOND)
    }

    fn set_tick_period(&self) {
        let period = match self.is_new {
            true => FIRST_TICK,
            false => self.tick_period(),
        };
        let milliseconds = period / Nanos::MILLISECOND;
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        if let Err(status) = host::set_tick_period(milliseconds) {
            log::error!("there are no ticks: {status}");
        }
    }
}

/// What a worker is given at its start, or when it wakes. `loaded`: when its configuration was.
fn entropy(loaded: Seconds) -> Entropy {
    let fresh = randomness();
    // Without shared data the limits hold for each worker by itself; the log says so, and each
    // failure is counted.
    let seed = seed::load_or_create(&mut Host, fresh).unwrap_or_else(|failed| {
        log::error!("the workers share no seed: {failed:?}");
        fresh
    });
    Entropy {
        seed,
        rolls: u64::from_le_bytes(randomness()),
        worker: WorkerId::new(loaded, u32::from_le_bytes(randomness())),
    }
}

/// Random bytes. A host without randomness does not make the filter refuse its configuration: what
/// is lost then is that clients cannot guess the numbers, so the log says so.
fn randomness<const N: usize>() -> [u8; N] {
    host::random().unwrap_or_else(|status| {
        log::warn!("no randomness, the clock has to do: {status}");
        let mut bytes = [0; N];
        let time = host::current_time().unwrap_or_default();
        for (byte, from) in bytes.iter_mut().zip(time.get().to_le_bytes()) {
            *byte = from;
        }
        bytes
    })
}

/// From the start to the first tick, which says that this configuration is the newest: the one before
/// then sleeps the sooner, and few are awake at once where reloads follow each other fast.
const FIRST_TICK: Nanos = Nanos::from_millis(100);

/// From one tick to the next of a configuration that sleeps and has nothing in flight: it looks
/// whether it is the newest again.
const ASLEEP: Nanos = Nanos::from_secs(5);
