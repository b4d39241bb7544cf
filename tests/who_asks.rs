//! `envoy-config/who-asks.md`, followed to the letter on a real Envoy: routes by country behind
//! Envoy's geoip filter, by user and tenant behind its JWT filter.

use host_sim::client::{Client, header};
use host_sim::envoy::Deployment;
use host_sim::module;
use host_sim::testkit::Site;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// The blocks below a heading of the page: what goes into Envoy, and Pointsman's configuration.
fn recipe(heading: &str) -> [Value; 2] {
    let page = module::repository()
        .unwrap()
        .join("envoy-config/who-asks.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut blocks = section.split("```yaml\n").skip(1).map(|rest| {
        let path = directory.path().join("block.yaml");
        fs::write(&path, rest.split("```").next().unwrap()).unwrap();
        Deployment::read(&path).unwrap().bootstrap_mut().take()
    });
    [blocks.next().unwrap(), blocks.next().unwrap()]
}

/// The shipped edge behind one proxy, with a recipe in it.
fn site([envoy, pointsman]: &[Value; 2]) -> Site {
    let adjust = |deployment: &mut Deployment| {
        let manager = deployment.connection_manager_mut();
        manager["xff_num_trusted_hops"] = json!(1);
        let early = &mut manager["early_header_mutation_extensions"][0]["typed_config"];
        let mutations = early["mutations"].as_array_mut().unwrap();
        mutations.extend(envoy["mutations"].as_array().unwrap().iter().cloned());
        let filters = manager["http_filters"].as_array_mut().unwrap();
        filters.insert(0, envoy["http_filters"][0].clone());
    };
    Site::start_with(pointsman, |_, mut deployment| {
        adjust(&mut deployment);
        Ok(deployment)
    })
    .unwrap()
}

/// The status, and which backend answered.
fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = client.get_with("shop.example.com", path, headers).unwrap();
    let backend = header(&answer, "x-backend").to_owned();
    (answer.status().as_u16(), backend)
}

#[test]
fn a_country_is_the_file_s_and_nobody_outside_says_it() {
    let mut recipe = recipe("Country");
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("country.mmdb");
    let make = module::repository()
        .unwrap()
        .join("tests/geo/make-database");
    let made = Command::new("python3").arg(make).arg(&database).output();
    let made = made.expect("python3 with pip: apt-get install python3-pip");
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{told}");
    let provider = &mut recipe[0]["http_filters"][0]["typed_config"]["provider"];
    provider["typed_config"]["country_db_path"] = json!(database);
    let site = site(&recipe);
    let mut client = site.client().unwrap();
    for (address, said, backend, law) in [
        ("192.0.2.1", None, "shop-seoul", 451),
        ("198.51.100.1", None, "shop-frankfurt", 200),
        ("198.51.100.1", Some("KR"), "shop-frankfurt", 200),
        // Not in the file.
        ("203.0.113.1", None, "shop-frankfurt", 200),
        ("203.0.113.1", Some("KR"), "shop-frankfurt", 200),
    ] {
        let mut headers = vec![("x-forwarded-for", address)];
        headers.extend(said.map(|said| ("x-geo-country", said)));
        let shown = format!("{address} {said:?}");
        assert_eq!(
            get(&mut client, "/", &headers),
            (200, backend.to_owned()),
            "{shown}"
        );
        assert_eq!(get(&mut client, "/law/1", &headers).0, law, "{shown}");
    }
}

/// Signed by HS256 with the key below: `{"iss":"https://id.example.com","sub":"anna","tenant":"acme"}`,
/// and `bert` without a tenant.
const ANNA: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYW5uYSIsInRlbmFudCI6ImFjbWUifQ.\
    kiGP3Y0yXWE3htaB_wnk8S2sM-dScHhOSt_BIMdoRqk";
const BERT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYmVydCJ9.\
    99mfDVh--R1Y7prEd39oC5MGHmxnwnMqPU_yQWT5gIE";
const KEYS: &str =
    r#"{"keys":[{"kty":"oct","alg":"HS256","k":"ZG9jdW1lbnRhdGlvbi1rZXktZG9jdW1lbnRhdGlvbi0"}]}"#;

#[test]
fn users_are_the_token_s_and_strangers_have_a_limit_of_their_own() {
    let mut recipe = recipe("User and tenant");
    let provider = &mut recipe[0]["http_filters"][0]["typed_config"]["providers"]["id"];
    provider["local_jwks"] = json!({ "inline_string": KEYS });
    let site = site(&recipe);
    let mut client = site.client().unwrap();
    let bearer = |token: &str| format!("Bearer {token}");
    let (anna, bert, broken) = (bearer(ANNA), bearer(BERT), bearer("a.b.c"));
    let shop = || "shop".to_owned();
    for _ in 0..4 {
        let of = |token| [("authorization", token), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(get(&mut client, "/", &of(&anna)), (200, "acme".to_owned()));
        assert_eq!(get(&mut client, "/", &of(&bert)), (200, shop()));
        assert_eq!(get(&mut client, "/", &of(&broken)).0, 401);
    }
    // Whatever a stranger says of itself.
    let said = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-user", "anna"),
        ("x-tenant", "acme"),
    ];
    assert_eq!(get(&mut client, "/", &said), (200, shop()));
    assert_eq!(get(&mut client, "/", &said[..1]), (200, shop()));
    assert_eq!(get(&mut client, "/", &said).0, 429);
    // Each address has its own bucket.
    let other = [("x-forwarded-for", "192.0.2.2")];
    assert_eq!(get(&mut client, "/", &other), (200, shop()));
}
