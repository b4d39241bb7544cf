//! Who the client is, and what it may say itself: addresses, certificates, the filter's own headers.

use super::{Change, ask, checked, start, start_edge};
use host_sim::client::Client;
use host_sim::testkit::Site;
use host_sim::wait::until;
use pointsman_tests::tls::{self, Certificates, MESH};

/// What a client at this address, as it says itself, is answered: more often than the limit allows.
fn logins(site: &Site, address: impl Fn(usize) -> String) -> Vec<u16> {
    let mut client = site.client().unwrap();
    let answers = (0..6).map(|number| {
        let address = address(number);
        ask(&mut client, "/login", &[("x-forwarded-for", &address)]).0
    });
    answers.collect()
}

const LIMITED: [u16; 6] = [200, 200, 200, 429, 429, 429];

#[test]
fn with_too_many_hops_a_client_is_who_it_says_and_with_too_few_all_are_one() {
    let kind = "trusted_hops";
    const LOGIN: Change<'_> = ("requests: 1, per: 2s, burst: 3", "requests: 3, per: 1h");
    const OURS: &str = "trusted_hops: 1 }";
    const OWN: &str = "                use_remote_address: true\n";
    let hops = format!("{OWN}                xff_num_trusted_hops: 1\n");
    let two = (OURS, "trusted_hops: 2 }");
    let behind_one = (OWN, &*hops);
    // Another address each time.
    let says = |number: usize| format!("192.0.2.{number}");
    assert_eq!(
        logins(&start_edge(&[LOGIN, two], kind, true), says),
        [200; 6]
    );
    assert_eq!(logins(&start_edge(&[LOGIN], kind, false), says), LIMITED);
    // Behind a proxy that says so.
    assert_eq!(
        logins(&start_edge(&[LOGIN, behind_one], kind, true), says),
        LIMITED
    );
    let site = start_edge(&[LOGIN, behind_one, two], kind, false);
    assert_eq!(logins(&site, says), [200; 6]);
}

const INBOUND: &str = "sidecar-mtls/inbound.yaml";
const SERVICE: &str = "payments.shop.svc.cluster.local";

/// What a client of the inbound proxy is answered at `path`, over TLS. None: it is not let in.
fn paid(site: &Site, certificates: &Certificates, of: &Certificates, path: &str) -> Option<u16> {
    let config = certificates.client_of(of, MESH, Some("shop"), &["http/1.1"]);
    let address = site.envoy.address().unwrap();
    let mut client = tls::Client::connect(address, SERVICE, &config.unwrap()).ok()?;
    let answer = client.get(SERVICE, path, &[]).ok()?;
    Some(answer.status().as_u16())
}

#[test]
fn a_certificate_that_nobody_asks_for_or_verifies_proves_nothing() {
    const REQUIRED: Change<'_> = (
        "require_client_certificate: true",
        "require_client_certificate: false",
    );
    const VERIFIED: &str = "                validation_context_sds_secret_config:\n                  \
        name: mesh-ca\n                  sds_config: { path_config_source: { path: \
        envoy-config/tls/mesh-ca.yaml } }\n";
    let kind = "no_client_certificate";
    let certificates = Certificates::make().unwrap();
    // By another authority, for the same names.
    let stranger = Certificates::make().unwrap();
    let inbound = |changes: &[Change<'_>], is_wrong: bool| {
        start(
            certificates
                .adjust(checked(INBOUND, changes, kind, is_wrong))
                .unwrap(),
        )
    };

    let site = inbound(&[], false);
    assert_eq!(
        paid(&site, &certificates, &certificates, "/pay/1"),
        Some(200)
    );
    assert_eq!(paid(&site, &certificates, &stranger, "/pay/1"), None);

    // Without an authority none is asked for, required or not: whoever has one is nobody.
    for required in [&[][..], &[REQUIRED]] {
        let site = inbound(&[&[(VERIFIED, "")], required].concat(), true);
        for of in [&certificates, &stranger] {
            assert_eq!(paid(&site, &certificates, of, "/pay/1"), Some(403));
            assert_eq!(paid(&site, &certificates, of, "/health"), Some(200));
        }
    }

    // It is taken whoever made it.
    let open =
        "                validation_context: { trust_chain_verification: ACCEPT_UNTRUSTED }\n";
    let site = inbound(&[(VERIFIED, open)], true);
    for of in [&certificates, &stranger] {
        assert_eq!(paid(&site, &certificates, of, "/pay/1"), Some(200));
    }

    // There is no TLS.
    let (text, _) = super::changed(INBOUND, &[]);
    let begin = text.find("          transport_socket:\n").unwrap();
    let socket = &text[begin..text.find("          filters:\n").unwrap()];
    let site = inbound(&[(socket, "")], true);
    let mut client = site.client().unwrap();
    let status = |path: &str, client: &mut Client| client.get(SERVICE, path).unwrap().status();
    assert_eq!(status("/pay/1", &mut client), 403);
    assert_eq!(status("/health", &mut client), 200);
}

#[test]
fn a_policy_that_is_open_refuses_nothing_after_a_trap() {
    let certificates = Certificates::make().unwrap();
    for (policy, is_wrong) in [("FAIL_OPEN", true), ("FAIL_RELOAD", false)] {
        let changes = [("FAIL_RELOAD", policy)];
        let deployment = checked(INBOUND, &changes, "failure_policy", is_wrong);
        let site = start(certificates.adjust(deployment).unwrap());
        let config = certificates.client(MESH, Some("guest"), &["http/1.1"]);
        let address = site.envoy.address().unwrap();
        let mut guest = tls::Client::connect(address, SERVICE, &config.unwrap()).unwrap();
        let mut status = |path: &str, headers: &[(&str, &str)]| {
            let answer = guest.get(SERVICE, path, headers).unwrap();
            answer.status().as_u16()
        };
        assert_eq!(status("/pay/1", &[]), 403);
        assert_eq!(status("/health", &[("x-trap", "now")]), 503);
        match is_wrong {
            true => assert_eq!(status("/pay/1", &[]), 200),
            false => until("a new VM decides", || status("/pay/1", &[]) == 403),
        }
    }
}

/// While a VM is dead Envoy answers 503 by itself, unless the policy is FAIL_OPEN.
#[test]
fn where_requests_go_on_without_the_filter_a_client_that_sends_its_headers_chooses() {
    let kind = "upstream_header_kept";
    let forged = [("x-pointsman-cluster", "gold")];
    const REMOVED: &str = "- remove: x-pointsman-cluster";
    const OTHER: &str = "- remove: x-other";
    let chosen = (200, "9004".to_owned());
    for (policy, removed, expected) in [
        ("FAIL_OPEN", OTHER, &chosen),
        ("FAIL_OPEN", REMOVED, &(503, String::new())),
        ("FAIL_CLOSED", OTHER, &(503, String::new())),
    ] {
        let changes = [("FAIL_RELOAD", policy), (REMOVED, removed)];
        let site = start_edge(&changes, kind, removed == OTHER);
        let mut client = site.client().unwrap();
        // The filter's own removal, while it lives.
        assert_ne!(ask(&mut client, "/", &forged), chosen);
        assert_eq!(ask(&mut client, "/", &[("x-trap", "now")]).0, 503);
        for _ in 0..5 {
            assert_eq!(
                ask(&mut client, "/", &forged),
                *expected,
                "{policy} {removed}"
            );
        }
    }
}
