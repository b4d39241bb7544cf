//! Which configuration of a plugin is the newest, and what becomes of the ones before it.
//!
//! After a reload a proxy keeps the configuration before for as long as a connection of the old
//! filter chain may ask once more: Envoy for its drain time, ten minutes by default, whether or not
//! there is such a connection. Each has a root context of its own, and those of one VM do not know
//! each other. So that they do not fill the VM, a configuration that is no longer the newest gives
//! up its memory as soon as nobody asks for it: it *sleeps*. If somebody asks after all, it *wakes*,
//! and is what it was.
//!
//! **The newest** is said by one record in shared data ([`keys::NEWEST`]), with an entry for each
//! plugin: a number that rises, and the hash of the configuration's bytes. A configuration writes
//! itself in at its first tick, not when it is loaded: then it is not sure that the proxy will take
//! it, and a canary never ticks. No clock is asked: what is written later has the larger number.
//!
//! | state | event | next state |
//! |---|---|---|
//! | awake | first tick | awake; it is written in as the newest, unless it stands there |
//! | awake | tick; another one is the newest, and a request came since the last tick, or, once it had woken, in the last [`Generation::patience`] | awake |
//! | awake | tick; another one is the newest, and no request came | asleep |
//! | asleep | request | awake; from the second time on the next tick is like the first |
//! | asleep | tick; it is the newest again | awake |
//!
//! **Who wakes twice is alive.** A proxy that goes back to a configuration that it still has uses
//! it again without a word, and two listeners may give their filters one name. Both look like an old
//! configuration that is asked again and again. It costs them a load, never a wrong answer: each
//! waking doubles the time for which it stays awake without requests, and from the second one on it
//! says that it is the newest.
//!
//! **When shared data fails**, nothing sleeps or wakes.
//!
//! **The record** has up to [`MAX_PLUGINS`] entries of three numbers of 8 bytes: the plugin's id, the
//! number, the hash. The entry with the lowest number makes room for a new plugin; who has no entry
//! is not asleep.

use crate::port::Store;
use crate::scope::Plugin;
use crate::shared::record::{Entry, FieldReader, FieldWriter, decode, encode};
use crate::shared::{self, Update, UpdateError, keys};
use crate::siphash::SipWriter;

/// The most plugins of one VM that are told apart.
const MAX_PLUGINS: usize = 64;

/// Ticks without a request after which a configuration that was never woken sleeps.
const FIRST_PATIENCE: u32 = 1;

/// The same of one that was woken once; each further waking doubles it.
const PATIENCE: u32 = 30;

/// How often it is doubled at most: half an hour.
const MAX_DOUBLINGS: u32 = 6;

/// What a root context knows of its configuration among those of its plugin.
#[derive(Debug)]
pub struct Generation {
    /// The hash of the plugin's name.
    plugin: u64,
    /// The hash of the configuration's bytes.
    config: u64,
    /// The number of its entry. None: it is not written in yet, or is to be again.
    number: Option<u64>,
    is_asleep: bool,
    /// Whether no other configuration is newer, as far as is known.
    is_newest: bool,
    /// Whether this worker wrote it in since that was last asked.
    has_written: bool,
    /// Whether a request came since the last tick.
    is_used: bool,
    /// Ticks since the last request.
    idle: u32,
    /// How often it was woken by a request.
    wakings: u32,
}

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Stay,
    /// The configuration is to sleep: it counts as asleep from now on.
    Sleep,
    /// The configuration is to wake, for it is the newest again: it counts as awake from now on.
    Wake,
}

impl Generation {
    /// Of this plugin with this configuration. Not of its scope: two listeners that share one on
    /// purpose are two plugins with two configurations.
    pub fn new(plugin: &Plugin, config: &[u8]) -> Generation {
        let hash = |parts: &[&[u8]]| {
            let mut hash = SipWriter::new(*b"pointsman newest");
            parts.iter().for_each(|part| hash.write_field(part));
            hash.finish()
        };
        let Plugin {
            vm_id,
            name,
            root_id,
            direction,
        } = plugin;
        Generation {
            plugin: hash(&[vm_id, name, root_id, direction]),
            config: hash(&[config]),
            number: None,
            is_asleep: false,
            is_newest: false,
            has_written: false,
            is_used: false,
            idle: 0,
            wakings: 0,
        }
    }

    /// Whether no other configuration of the plugin was newer at the last tick.
    pub fn is_newest(&self) -> bool {
        self.is_newest
    }

    /// Whether this worker is the one that wrote the configuration in as the newest, since this was
    /// last asked. Of all workers of a proxy that load it one is told so.
    pub fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// A request came, and the configuration is awake.
    #[inline]
    pub fn used(&mut self) {
        self.is_used = true;
    }

    /// A request woke the configuration.
    pub fn woken(&mut self) {
        self.is_asleep = false;
        self.idle = 0;
        self.wakings += 1;
        if self.wakings > 1 {
            self.number = None;
        }
    }

    /// For how many ticks without a request a configuration stays awake that is not the newest.
    pub fn patience(&self) -> u32 {
        match self.wakings.checked_sub(1) {
            None => FIRST_PATIENCE,
            Some(doublings) => PATIENCE << doublings.min(MAX_DOUBLINGS),
        }
    }

    /// Once a second. One read, and one write where the configuration is written in.
    pub fn tick(&mut self, store: &mut dyn Store) -> Advice {
        self.idle = match std::mem::take(&mut self.is_used) {
            true => 0,
            false => self.idle.saturating_add(1),
        };
        let Ok(is_newest) = self.look(store) else {
            return Advice::Stay;
        };
        self.is_newest = is_newest;
        match (self.is_asleep, is_newest) {
            (true, true) => {
                self.is_asleep = false;
                self.idle = 0;
                Advice::Wake
            }
            (false, false) if self.idle >= self.patience() => {
                self.is_asleep = true;
                Advice::Sleep
            }
            _ => Advice::Stay,
        }
    }

    /// Whether no other configuration of the plugin is newer. Writes this one in if it is to be.
    fn look(&mut self, store: &mut dyn Store) -> Result<bool, UpdateError> {
        let (plugin, config, number) = (self.plugin, self.config, self.number);
        let (known, has_written) = shared::update(store, keys::NEWEST, &mut |record| {
            let mut entries: Vec<Newest> = decode(record.unwrap_or_default()).collect();
            let own = entries.iter().find(|entry| entry.plugin == plugin).copied();
            match (own, number) {
                (Some(own), _) if number.is_some() || own.config == config => {
                    return Update::Keep((own, false));
                }
                // Its entry made room for another plugin's.
                (None, Some(number)) => {
                    let own = Newest {
                        plugin,
                        number,
                        config,
                    };
                    return Update::Keep((own, false));
                }
                _ => {}
            }
            let last = entries.iter().map(|entry| entry.number).max();
            let own = Newest {
                plugin,
                number: last.unwrap_or_default().saturating_add(1),
                config,
            };
            entries.retain(|entry| entry.plugin != plugin);
            while entries.len() >= MAX_PLUGINS {
                let oldest = (0..).zip(&entries).min_by_key(|(_, entry)| entry.number);
                entries.remove(oldest.map_or(0, |(at, _)| at));
            }
            entries.push(own);
            Update::Write(encode(&entries), (own, true))
        })?;
        self.has_written |= has_written;
        if known.config == config {
            self.number = Some(known.number);
        }
        Ok(known.config == config || self.number.is_some_and(|own| own >= known.number))
    }
}

/// An entry of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest {
    plugin: u64,
    number: u64,
    config: u64,
}

impl Entry for Newest {
    const SIZE: usize = 24;

    fn read(fields: &mut FieldReader<'_>) -> Option<Newest> {
        Some(Newest {
            plugin: fields.u64()?,
            number: fields.u64()?,
            config: fields.u64()?,
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.plugin);
        fields.u64(self.number);
        fields.u64(self.config);
    }
}

#[cfg(test)]
mod tests;
