//! What filters of one proxy share: without a name of their own that of everybody, with one plugin's
//! name the records of the other, and what they share on purpose.

use super::{Change, EDGE, assert_warned, changed, deployment, start};
use host_sim::client::{Client, session_cookie};
use host_sim::envoy::Deployment;
use host_sim::testkit::Site;
use host_sim::wait::until;

const VM_ID: &str = "                          vm_id: pointsman\n";
/// Of the filter: that of the routes' filter state ends otherwise.
const NAME: &str = "name: pointsman\n                        #";
const LOGIN: Change<'_> = ("requests: 1, per: 2s, burst: 3", "requests: 3, per: 1h");

/// The edge with a second listener, `other`, which is the first with these changes.
fn two(first: &[Change<'_>], second: &[Change<'_>]) -> String {
    let (text, _) = changed(EDGE, &[LOGIN]);
    let begin = text.find("    - name: edge\n").unwrap();
    let end = text.find("\n  clusters:\n").unwrap();
    let block = |changes: &[Change<'_>]| {
        let mut block = text[begin..end].to_owned();
        for (from, to) in changes {
            assert!(block.contains(from), "{from}");
            block = block.replace(from, to);
        }
        block
    };
    let own = [
        ("- name: edge\n", "- name: other\n"),
        ("port_value: 10000", "port_value: 10001"),
        ("stat_prefix: edge", "stat_prefix: other"),
    ];
    let (first, second) = (block(first), block(&[&own, second].concat()));
    format!("{}{first}\n{second}{}", &text[..begin], &text[end..])
}

fn client(site: &Site, listener: &str) -> Client {
    Client::new(site.envoy.listener(listener).unwrap()).unwrap()
}

/// Whether a client that has used up its limit at one listener is refused at the other.
fn refused_at_the_other(site: &Site) -> bool {
    let statuses = |listener: &str, requests: usize| {
        let mut client = client(site, listener);
        let answers = (0..requests).map(|_| client.get("h", "/login").unwrap());
        answers.map(|it| it.status().as_u16()).collect::<Vec<_>>()
    };
    assert_eq!(statuses("edge", 4), [200, 200, 200, 429]);
    let other = statuses("other", 3);
    match other[0] {
        429 => assert_eq!(other, [429; 3]),
        _ => assert_eq!(other, [200; 3]),
    }
    other[0] == 429
}

/// The two with what `check` says of them, or does not.
fn told(first: &[Change<'_>], second: &[Change<'_>], kind: &str, is_wrong: bool) -> Deployment {
    let text = two(first, second);
    let (_, path) = changed(EDGE, &[]);
    assert_warned(&text, &path, kind, is_wrong);
    deployment(&text)
}

/// Each of two teams has attached the filter to its listener as it came. Without a `vm_id` there is
/// one data for all, whatever code they run: that of another version, or of another vendor, too.
#[test]
fn without_a_vm_id_filters_of_different_code_share_their_records() {
    let kind = "no_vm_id";
    for is_other_code in [false, true] {
        let shared = |ids: [&str; 2], is_wrong: bool| {
            let [one, other] = ids.map(|id| [(VM_ID, id)]);
            let mut deployment = told(&one, &other, kind, is_wrong);
            let directory = tempfile::tempdir().unwrap();
            if is_other_code {
                let listener = &mut deployment.bootstrap_mut()["static_resources"]["listeners"][1];
                let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
                let config = &mut manager["http_filters"][0]["typed_config"]["config"];
                let file = &mut config["vm_config"]["code"]["local"]["filename"];
                let mut code = std::fs::read(file.as_str().unwrap()).unwrap();
                // A custom section: it does the same, and is another module.
                code.extend([0, 6, 5, b'o', b't', b'h', b'e', b'r']);
                let path = directory.path().join("other.wasm");
                std::fs::write(&path, code).unwrap();
                *file = path.display().to_string().into();
            }
            refused_at_the_other(&start(deployment))
        };
        let named = ["one", "two"].map(|id| VM_ID.replace("pointsman", id));
        assert!(shared(["", ""], true));
        assert!(!shared(named.each_ref().map(|it| &**it), false));
    }
}

/// Two teams that have copied the filter's block with its name, into a configuration of their own.
#[test]
fn two_filters_of_one_name_share_limits_and_with_scopes_the_first_sleeps() {
    let kind = "same_filter";
    let other_route = ("- name: old\n", "- name: older\n");
    let other_name = "name: other\n                        #";
    let shared = |second: &[Change<'_>], is_wrong: bool| {
        refused_at_the_other(&start(told(&[], second, kind, is_wrong)))
    };
    assert!(shared(&[other_route], true));
    assert!(!shared(&[other_route, (NAME, other_name)], false));

    // Each probes a path of its own, five times a second.
    let pools = "                            pools:\n";
    let [one, two] =
        ["one", "two"].map(|scope| format!("                            scope: {scope}\n{pools}"));
    let often = ("interval: 5s", "interval: 200ms");
    let quick = (" timeout: 1s\n", " timeout: 200ms\n");
    let probed = |name: &str, is_wrong: bool| {
        let first = [(pools, &*one), often, quick];
        let second = [
            (pools, &*two),
            often,
            quick,
            ("path: /health\n", "path: /health2\n"),
            (NAME, name),
        ];
        let site = start(told(&first, &second, kind, is_wrong));
        let blue = site.backend("9001").unwrap();
        // The probes of both while the second makes five.
        let window = || {
            let mut probes = [0; 2];
            until("the second probes", || {
                for request in blue.take_received() {
                    let path = request.headers.iter().find(|(name, _)| name == b":path");
                    let path = path.map(|(_, path)| &path[..]);
                    probes[0] += usize::from(path == Some(b"/health"));
                    probes[1] += usize::from(path == Some(b"/health2"));
                }
                probes[1] >= 5
            });
            probes[0]
        };
        for _ in 0..3 {
            let _ = window();
        }
        match is_wrong {
            true => until("the first sleeps", || window() == 0),
            false => assert!((0..3).all(|_| window() > 0)),
        }
    };
    probed(NAME, true);
    probed(other_name, false);
}

#[test]
fn what_two_filters_share_on_purpose_they_share() {
    let pools = "                            pools:\n";
    let scope = format!("                            scope: shop\n{pools}");
    let name = (NAME, "name: other\n                        #");
    let shared = |change: Change<'_>, is_wrong: bool| {
        let deployment = told(&[change], &[change, name], "same_scope", is_wrong);
        refused_at_the_other(&start(deployment))
    };
    assert!(shared((pools, &scope), true));
    assert!(!shared((pools, pools), false));

    // A cookie of one is taken by the other where they have a key in common.
    let own = "YS1rZXktb2YtdGhpcy10ZXN0LXRoYXQtbm9ib2R5LWtub3dz";
    let shipped = "ZGVtby1rZXktZGVtby1rZXktZGVtby1rZXktZGVtbyE=";
    for (key, is_wrong) in [(shipped, true), (own, false)] {
        let second = [name, (shipped, key)];
        let site = start(told(&[], &second, "same_sessions", is_wrong));
        let answer = client(&site, "edge").get("h", "/account").unwrap();
        let cookie = session_cookie(&answer).unwrap();
        let headers = [("cookie", &*cookie)];
        let answer = client(&site, "other").get_with("h", "/account", &headers);
        assert_eq!(session_cookie(&answer.unwrap()).is_none(), is_wrong);
    }
}
