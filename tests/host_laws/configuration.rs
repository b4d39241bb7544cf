//! The plugin's configuration, and how often it is loaded.

use super::ProbeHost;

pub(crate) fn the_configuration_is_there_only_while_it_is_loaded(host: &mut dyn ProbeHost) {
    assert_eq!(host.did("configuration"), "1 ");
}

pub(crate) fn a_configuration_is_loaded_workers_plus_two_times(host: &mut dyn ProbeHost) {
    assert_eq!(host.did("get configured"), "0 3");
}

pub(crate) fn a_refused_configuration_leaves_the_one_before_and_shared_data(
    host: &mut dyn ProbeHost,
) {
    assert_eq!(host.did("set k v 0"), "0");
    assert!(!host.update("refuse"));
    assert_eq!(host.did("get k"), "0 v");
    assert!(host.update("another"));
    assert_eq!(host.did("get k"), "0 v");
}
