//! Whose records and metrics are whose, where a proxy has several configurations.
//!
//! All configurations of one `vm_id` see one map of shared data, and all of a proxy one set of
//! metrics. So that they do not meet, each belongs to a *scope*: the keys of its records have the
//! scope's hash in them ([`crate::shared::keys`]), and the names of its metrics its label.
//!
//! | `scope` in the configuration | the scope is |
//! |---|---|
//! | not given | that of the plugin: its `vm_id`, name, root id and the direction of its listener, which is all by which a proxy tells plugins apart but for the configuration itself. So a reload keeps its scope |
//! | `NAME` | that of the name: all configurations with the same one share records and metrics |
//!
//! Two listeners whose filters have the same name in the same VM look like two versions of one
//! configuration; nothing that a filter can ask for tells them apart. What is theirs together is
//! therefore by no means wrong for either: the record and the gauge of a target belong to what the
//! target *is*, see [`crate::pool::Pool::target_identity`].
//!
//! **Names of metrics.** `pointsman.…` is for the first scope of the process, so that a proxy with
//! one configuration has the names that it always had; any other has `pointsman.scope.<label>.…`.
//! A scope with a name always has the latter, so whoever has several configurations and wants names
//! that do not depend on which was first gives each a `scope`.

use crate::port::Stats;
use crate::siphash::SipWriter;
use std::rc::Rc;

/// The first bytes of a scope's keys in shared data, after those that say what the record is.
pub type ScopeKey = [u8; 8];

/// Whose the records and metrics of a configuration are. Default: those of a proxy with one
/// configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    key: ScopeKey,
    /// What all names of metrics begin with.
    metric: Rc<str>,
    /// The label in them. None: the scope has the plain names.
    label: Option<Rc<str>>,
}

impl Default for Scope {
    fn default() -> Scope {
        Scope {
            key: ScopeKey::default(),
            metric: PLAIN.into(),
            label: None,
        }
    }
}

/// What a proxy tells of the plugin that a configuration is of, each as its bytes; empty where the
/// proxy does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plugin {
    /// `plugin_vm_id`
    pub vm_id: Vec<u8>,
    /// `plugin_name`
    pub name: Vec<u8>,
    /// `plugin_root_id`
    pub root_id: Vec<u8>,
    /// `listener_direction`
    pub direction: Vec<u8>,
}

impl Scope {
    /// The scope of all configurations that say `scope: name`.
    pub fn named(name: &str) -> Scope {
        let mut hash = SipWriter::new(*b"pointsman scope.");
        hash.write_field(b"name");
        hash.write(name.as_bytes());
        Scope::new(hash.finish(), name)
    }

    /// The scope of a configuration that says none. It gets the plain names of metrics if it is the
    /// first of the process, or if the proxy has no gauges by which to tell.
    ///
    /// To be called when a configuration is loaded. A proxy loads each one on its main thread
    /// before it does in its workers, so no two scopes can both find that they are the first.
    pub fn of_plugin(plugin: &Plugin, stats: &mut dyn Stats) -> Scope {
        let mut hash = SipWriter::new(*b"pointsman scope.");
        hash.write_field(b"plugin");
        for part in [
            &plugin.vm_id,
            &plugin.name,
            &plugin.root_id,
            &plugin.direction,
        ] {
            hash.write_field(part);
        }
        let hash = hash.finish();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let readable = plugin.name.iter().map(|byte| match is_plain(byte) {
            true => char::from(*byte),
            false => '_',
        });
        let readable: String = readable.take(MAX_READABLE).collect();
        let scope = Scope::new(hash, &format!("{readable}-{:08x}", hash >> 32));
        match is_first(hash, stats) {
            false => scope,
            true => Scope {
                key: scope.key,
                ..Scope::default()
            },
        }
    }

    fn new(hash: u64, label: &str) -> Scope {
        Scope {
            key: hash.to_be_bytes(),
            metric: [PLAIN, ".scope.", label].concat().into(),
            label: Some(label.into()),
        }
    }

    /// What the keys of its records have in them.
    pub fn key(&self) -> ScopeKey {
        self.key
    }

    /// What the names of its metrics begin with, without a dot at the end.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Its label in the names of metrics. None: it has the plain names.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

/// Whether this is the first scope of the process, which the gauge [`FIRST`] tells. Where the proxy
/// has no gauges there is nothing in them to meet.
fn is_first(hash: u64, stats: &mut dyn Stats) -> bool {
    // In 31 bits, and never 0. During a hot restart a gauge is the sum of both processes.
    let tag = i64::from(u32::try_from(hash >> 33).unwrap_or(0)) | 1;
    let Some(gauge) = stats.gauge(FIRST) else {
        return true;
    };
    match stats.value(gauge) {
        None => true,
        Some(0) => {
            stats.add(gauge, tag);
            true
        }
        Some(value) => value % tag == 0 && (1..=MAX_PROCESSES).contains(&(value / tag)),
    }
}

/// The gauge whose value says which scope has the plain names.
pub const FIRST: &str = "pointsman.first_scope";

/// What all names of metrics begin with.
const PLAIN: &str = "pointsman";

/// So many characters of a plugin's name are in its label.
const MAX_READABLE: usize = 64;

/// Processes that a hot restart can have at the same time, and some.
const MAX_PROCESSES: i64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryPort;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn plugin(name: &str) -> Plugin {
        Plugin {
            vm_id: b"vm".to_vec(),
            name: name.into(),
            ..Plugin::default()
        }
    }

    #[test]
    fn the_first_scope_of_a_process_has_the_plain_names_whenever_it_loads() {
        let mut port = MemoryPort::default();
        let first = Scope::of_plugin(&plugin("a"), &mut port);
        let second = Scope::of_plugin(&plugin("b.c"), &mut port);
        assert_eq!((first.metric(), first.label()), ("pointsman", None));
        let label = second.label().unwrap();
        assert!(label.starts_with("b_c-"), "{label}");
        assert_eq!(second.metric(), format!("pointsman.scope.{label}"));
        // As after a reload, and in another worker.
        assert_eq!(Scope::of_plugin(&plugin("a"), &mut port), first);
        assert_eq!(Scope::of_plugin(&plugin("b.c"), &mut port), second);
        // During a hot restart the gauge is the sum of both processes.
        let gauge = port.gauge(FIRST).unwrap();
        let value = port.value(gauge).unwrap();
        port.add(gauge, value);
        assert_eq!(Scope::of_plugin(&plugin("a"), &mut port), first);
        assert_eq!(Scope::of_plugin(&plugin("b.c"), &mut port), second);
    }

    #[test]
    fn a_scope_is_all_by_which_a_proxy_tells_plugins_apart() {
        let mut port = MemoryPort::default();
        let one = plugin("a");
        let others = [
            Plugin {
                vm_id: b"other".to_vec(),
                ..one.clone()
            },
            plugin("b"),
            Plugin {
                root_id: b"root".to_vec(),
                ..one.clone()
            },
            Plugin {
                direction: 1_u64.to_le_bytes().to_vec(),
                ..one.clone()
            },
            Plugin {
                vm_id: b"vma".to_vec(),
                ..plugin("")
            },
        ];
        let first = Scope::of_plugin(&one, &mut port);
        let mut seen = vec![first.key(), ScopeKey::default()];
        for other in others {
            let scope = Scope::of_plugin(&other, &mut port);
            assert!(!seen.contains(&scope.key()), "{other:?}");
            assert!(scope.label().is_some(), "{other:?}");
            seen.push(scope.key());
        }
    }

    #[test]
    fn a_scope_with_a_name_is_the_names() {
        let scope = Scope::named("edge");
        assert_eq!(scope.metric(), "pointsman.scope.edge");
        assert_eq!(scope, Scope::named("edge"));
        assert_ne!(scope.key(), Scope::named("edg").key());
    }
}
