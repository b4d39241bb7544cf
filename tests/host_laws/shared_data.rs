//! Shared data.

use super::ProbeHost;

pub(crate) fn cas_decides_where_the_key_exists_and_is_ignored_where_it_does_not(
    host: &mut dyn ProbeHost,
) {
    assert_eq!(host.did("get k"), "1 ");
    assert_eq!(host.did("set k a never; set k b never; get k"), "0;8;0 a");
    assert_eq!(
        host.did("get k; set k c other; set k d same; set k e same; get k"),
        "0 a;8;0;8;0 d"
    );
    assert_eq!(host.did("set k f 0; get k"), "0;0 f");
    assert_eq!(host.did("set fresh x other; get fresh"), "0;0 x");
}

/// So no two writes get the same version: a version says which value it is.
pub(crate) fn writes_of_all_keys_are_numbered_in_one_row(host: &mut dyn ProbeHost) {
    assert_eq!(host.did("set one a never; get one"), "0;0 a");
    // Another key, then this one; its version is neither its own next one nor a later one.
    assert_eq!(
        host.did("get one; set two a 0; set one b same; set one c 1; set one c 3; set one c 2"),
        "0 a;0;0;8;8;0"
    );
    // A write that is refused takes no number.
    assert_eq!(
        host.did("get one; set one d other; set two d never; set one d same; set one e 1"),
        "0 c;8;8;0;0"
    );
}

pub(crate) fn an_empty_value_is_a_value(host: &mut dyn ProbeHost) {
    assert_eq!(host.did("set k  0; get k; set k x never"), "0;0 ;8");
}
