//! `match.tls` by the certificates of real clients, and the two files of
//! `envoy-config/sidecar-mtls` with each other.

use host_sim::client::header;
use host_sim::configuration;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Wanted, install};
use host_sim::exchange::{ClientTls, ExchangeRequest, Host};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::wait::until;
use host_sim::world::World;
use pointsman_tests::tls::{Certificates, Client, MESH};
use serde_json::json;

const INBOUND: &str = "sidecar-mtls/inbound.yaml";
const OUTBOUND: &str = "sidecar-mtls/outbound.yaml";
const SERVICE: &str = "payments.shop.svc.cluster.local";
/// Another name of the same certificate.
const OTHER: &str = "payments.internal";

fn certificates() -> Certificates {
    Certificates::make().unwrap()
}

/// The proxy of `payments`, with the application behind it.
fn inbound(certificates: &Certificates) -> Site {
    let deployment = certificates.deployment(INBOUND, &module::build().unwrap());
    let deployment = deployment.unwrap().on_free_ports();
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
    Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment).unwrap()
}

/// The proxy of an application with the certificate `own`, which asks that of `payments`.
fn outbound(certificates: &Certificates, own: &str, payments: &Site) -> Site {
    outbound_with(certificates, own, payments, false)
}

/// `one_request_each`: on each of its connections to `payments`.
fn outbound_with(
    certificates: &Certificates,
    own: &str,
    payments: &Site,
    one_request_each: bool,
) -> Site {
    let deployment = certificates.deployment(OUTBOUND, &module::build().unwrap());
    let deployment = deployment.unwrap().on_free_ports();
    let (fleet, mut deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
    let members = fleet.members().iter().map(|member| &member.backend);
    let stand_in = members.clone().find(|it| it.name() == "15006").unwrap();
    deployment = deployment.move_endpoint(stand_in.address(), payments.envoy.address().unwrap());
    let tree = deployment.bootstrap_mut();
    let secret = (r#""name":"shop""#, &*format!(r#""name":"{own}""#));
    let file = ("/shop.yaml", &*format!("/{own}.yaml"));
    let text = tree.to_string().replace(secret.0, secret.1);
    *tree = serde_json::from_str(&text.replace(file.0, file.1)).unwrap();
    if one_request_each {
        tree["static_resources"]["clusters"][0]["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": { "max_requests_per_connection": 1 },
                "explicit_http_config": { "http_protocol_options": {} },
            },
        });
    }
    Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment).unwrap()
}

/// What a client with this certificate is answered, by the simulator and by a real Envoy.
#[test]
fn the_peer_and_the_name_that_it_asked_for_decide_on_every_host() {
    const SHOP: &str = "spiffe://mesh/ns/shop/sa/shop";
    const SELF: &str = "spiffe://mesh/ns/shop/sa/payments";
    const GUEST: &str = "spiffe://mesh/ns/guest/sa/guest";
    let rows = [
        ("shop", SHOP, SERVICE, "/pay/1", 200),
        ("payments", SELF, SERVICE, "/pay", 200),
        ("guest", GUEST, SERVICE, "/pay/1", 403),
        ("shop", SHOP, OTHER, "/pay/1", 403),
        ("guest", GUEST, OTHER, "/health", 200),
        ("shop", SHOP, SERVICE, "/admin", 403),
        ("guest", GUEST, SERVICE, "/health/../pay/1", 403),
    ];
    let certificates = certificates();
    let site = inbound(&certificates);
    let address = site.envoy.address().unwrap();
    let file = module::repository()
        .unwrap()
        .join("envoy-config")
        .join(INBOUND);
    let configuration = configuration::to_json(&configuration::read(&file).unwrap());
    let mut simulator = World::of(&configuration, 1).unwrap();
    for (own, peer, sni, path, status) in rows {
        let shown = format!("{own} {sni} {path}");
        for protocols in [&["h2"][..], &["http/1.1"]] {
            let config = certificates.client(MESH, Some(own), protocols).unwrap();
            let mut client = Client::connect(address, sni, &config).unwrap();
            // Again on the same connection, and whatever host is asked for.
            for host in [SERVICE, "elsewhere"] {
                let answer = client.get(host, path, &[]).unwrap();
                assert_eq!(answer.status(), status, "{shown} {protocols:?}");
            }
        }
        if path.contains("..") {
            continue; // The proxy's own normalisation.
        }
        let url = format!("https://{SERVICE}{path}");
        let request = ExchangeRequest {
            tls: ClientTls {
                sni: Some(sni.to_owned()),
                peer: Some(peer.to_owned()),
            },
            ..ExchangeRequest::new(b"GET", url.as_bytes()).unwrap()
        };
        let told = simulator.exchange(&request).unwrap();
        assert_eq!(told.response.status, status, "{shown} simulated");
    }
    // Without a certificate, or with one of another authority, nobody comes in.
    for own in [None, Some("shop.example.com")] {
        let config = certificates.client(MESH, own, &["http/1.1"]).unwrap();
        let answer = Client::connect(address, SERVICE, &config)
            .and_then(|mut client| client.get(SERVICE, "/health", &[]));
        assert!(answer.is_err(), "{own:?}");
    }
}

#[test]
fn two_sidecars_know_each_other_and_leave_the_rest_untouched() {
    let certificates = certificates();
    let payments = inbound(&certificates);
    let shop = outbound(&certificates, "shop", &payments);
    let mut client = shop.client().unwrap();
    let forged = [
        (
            "x-forwarded-client-cert",
            "URI=spiffe://mesh/ns/ops/sa/admin",
        ),
        (
            "x-pointsman-cluster",
            "outbound|8080||ratings.shop.svc.cluster.local",
        ),
    ];
    let host = "payments.shop:8080";
    let answer = client.get_with(host, "/pay/1", &forged).unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "x-backend")),
        (200, "9501")
    );
    let received = payments.fleet.take_received();
    let values = |name: &str| -> Vec<String> {
        let headers = received[0].headers.iter();
        let named = headers.filter(|(key, _)| key == name.as_bytes());
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    assert_eq!(values("x-decided"), ["outbound"]);
    let [from] = &values("x-forwarded-client-cert")[..] else {
        panic!("one line of it")
    };
    assert!(
        from.contains("URI=spiffe://mesh/ns/shop/sa/shop") && !from.contains("ops"),
        "{from}"
    );
    // What the other side does not let in.
    let refused = client.get(host, "/admin").unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.body()[..]),
        (403, &b"not for you\n"[..])
    );
    // What is not ours goes along the mesh's own route, as it came.
    let other = client
        .get_with("ratings.shop", "/a?b=%zz", &[("x-a", "b")])
        .unwrap();
    assert_eq!(
        (other.status().as_u16(), header(&other, "x-backend")),
        (200, "9301")
    );
    let received = shop.fleet.take_received();
    let has = |name: &str| {
        received[0]
            .headers
            .iter()
            .any(|(key, _)| key == name.as_bytes())
    };
    assert_eq!(received[0].headers[1].1, b"/a?b=%zz");
    assert!(has("x-a") && !has("x-decided") && !has("x-pointsman-cluster"));

    let guest = outbound(&certificates, "guest", &payments);
    let mut client = guest.client().unwrap();
    for (path, status) in [("/pay/1", 403), ("/health", 200)] {
        assert_eq!(client.get(host, path).unwrap().status(), status, "{path}");
    }
}

/// The steps at the head of `envoy-config/tls/mesh-ca.yaml`: no request fails on the way, and the old
/// authority is believed no longer.
#[test]
fn an_authority_is_replaced_in_three_steps_and_no_request_fails() {
    let (own, others) = (certificates(), certificates());
    let payments = inbound(&own);
    // Each request on a connection of its own, or a step would change nothing.
    let shop = outbound_with(&own, "shop", &payments, true);
    let updates = |site: &Site| -> u64 {
        let stats = ["cluster.", "listener."].map(|start| site.envoy.stats(start).unwrap());
        let of = stats.iter().flatten();
        let of = of.filter(|(name, _)| name.ends_with("ssl_context_update_by_sds"));
        of.map(|(_, value)| value).sum()
    };
    let mut client = shop.client().unwrap();
    let mut ask = || client.get("payments.shop:8080", "/pay/1").unwrap().status();
    let mut step = |what: &str, change: &dyn Fn()| {
        let before = [&payments, &shop].map(updates);
        change();
        until(what, || {
            let now = [&payments, &shop].map(updates);
            now.iter().zip(&before).all(|(now, before)| now > before)
        });
        (0..10).map(|_| ask().as_u16()).collect::<Vec<_>>()
    };
    let authority = |of: &Certificates| of.text(MESH, "tls.crt").unwrap();
    let both = authority(&own) + &authority(&others);
    let pair = |of: &Certificates, name: &str| {
        ["tls.crt", "tls.key"].map(|file| of.text(name, file).unwrap())
    };
    let old = pair(&own, "shop");
    let give = |name: &str, [certificate, key]: [String; 2]| {
        own.move_link(name, &certificate, &key).unwrap();
    };
    let good = vec![200; 10];
    let put = |text: &str| own.replace(MESH, "tls.crt", text).unwrap();
    assert_eq!(step("both are believed", &|| put(&both)), good);
    // One after the other: each half has met the other's old one and its new one.
    let renewed = step("all are renewed", &|| {
        give("payments", pair(&others, "payments"));
        give("shop", pair(&others, "shop"));
    });
    assert_eq!(renewed, good);
    assert_eq!(step("the old is out", &|| put(&authority(&others))), good);
    // It is out.
    let before = updates(&shop);
    give("shop", old);
    until("the old one is shown", || updates(&shop) > before);
    assert_eq!(ask(), 503);
}
