//! `envoy-config/who-asks.md`, followed to the letter on a real Envoy: routes by device and language,
//! by country behind Envoy's geoip filter, by user and tenant behind its JWT filter.

use host_sim::client::{Client, header, status_and_backend};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Envoy, Wanted, install};
use host_sim::module;
use host_sim::testkit::Site;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// What goes into Envoy, and Pointsman's configuration.
fn recipe(heading: &str) -> [Value; 2] {
    [block(heading, 0), block(heading, 1)]
}

/// A block below a heading of the page.
fn block(heading: &str, number: usize) -> Value {
    let page = module::repository()
        .unwrap()
        .join("envoy-config/who-asks.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let rest = section.split("```yaml\n").nth(number + 1).unwrap();
    let path = directory.path().join("block.yaml");
    fs::write(&path, rest.split("```").next().unwrap()).unwrap();
    Deployment::read(&path).unwrap().bootstrap_mut().take()
}

/// The first block below a heading, with a backend for each pool that it leaves to the reader.
fn pages(heading: &str) -> Site {
    let mut configuration = block(heading, 0);
    for route in configuration["routes"].as_array().unwrap().clone() {
        let pool = route["pool"].as_str().unwrap();
        configuration["pools"][pool] = json!({ "targets": [{ "cluster": pool }] });
    }
    Site::start(&configuration).unwrap()
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
    status_and_backend(&answer)
}

#[test]
fn a_page_is_chosen_by_the_device_and_caches_are_told() {
    const ANDROID: &str = "Mozilla/5.0 (Linux; Android 14; X) AppleWebKit/537.36 Chrome/126";
    let site = pages("Device");
    let mut client = site.client().unwrap();
    let phone = format!("{ANDROID} Mobile Safari/537.36");
    let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Safari/604.1";
    let bot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    for (agent, hint, backend) in [
        (bot, None, "rendered"),
        (bot, Some("?1"), "rendered"),
        (&*phone, None, "small"),
        (mac, Some("?1"), "small"),
        (ANDROID, None, "small"),
        (
            "Mozilla/5.0 (iPad; CPU OS 12_0 like Mac OS X) AppleWebKit",
            None,
            "small",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Tablet PC 2.0) Gecko",
            None,
            "web",
        ),
        // What an iPad says that is not asked for as a mobile one.
        (mac, None, "web"),
        (mac, Some("?0"), "web"),
        ("", None, "web"),
    ] {
        let mut headers = vec![("user-agent", agent)];
        headers.extend(hint.map(|hint| ("sec-ch-ua-mobile", hint)));
        let answer = client.get_with("shop.example.com", "/", &headers).unwrap();
        let seen = [header(&answer, "x-backend"), header(&answer, "vary")];
        assert_eq!(
            seen,
            [backend, "user-agent, sec-ch-ua-mobile"],
            "{headers:?}"
        );
    }
}

#[test]
fn a_page_is_chosen_by_the_language_and_caches_are_told() {
    let site = pages("Language");
    let mut client = site.client().unwrap();
    for (accepted, backend) in [
        ("de;q=0.5, ko;q=0.9, fr", "ko"),
        ("de, ko;q=0.9", "western"),
        ("ko-KR", "ko"),
        ("en-US, ko;q=0.9", "western"),
        ("fr", "western"),
        ("ko;q=0, *", "western"),
        ("ko;q=0, ko-KR", "western"),
        ("", "western"),
    ] {
        let headers = [("accept-language", accepted)];
        let answer = client.get_with("shop.example.com", "/", &headers).unwrap();
        let seen = [header(&answer, "x-backend"), header(&answer, "vary")];
        assert_eq!(seen, [backend, "accept-language"], "{accepted}");
    }
    // Where no route asks for it nothing is told.
    let answer = client.get("elsewhere.example.com", "/").unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "vary")),
        (404, "")
    );
}

/// "It takes Envoy 1.37 or later", and "a file that is missing keeps an Envoy from starting".
#[test]
fn an_older_envoy_and_one_without_the_database_do_not_start() {
    let [envoy, pointsman] = recipe("Country");
    for (wanted, told) in [
        (Wanted::Exactly(install::OLDEST_TESTED), "geo_field_keys"),
        (Wanted::Any, "Unable to open Maxmind database file"),
    ] {
        let fleet = Fleet::start(&pointsman).unwrap();
        let mut deployment = fleet.deployment(&module::build().unwrap()).unwrap();
        let manager = deployment.connection_manager_mut();
        let filters = manager["http_filters"].as_array_mut().unwrap();
        filters.insert(0, envoy["http_filters"][0].clone());
        let started = Envoy::start(&install::find(wanted).unwrap(), deployment);
        let refused = format!("{:#}", started.err().unwrap());
        assert!(refused.contains(told), "{wanted:?}: {refused}");
    }
}

/// "Databases that have a flat `country_code` are not in MaxMind's form, and find nothing."
#[test]
fn a_database_of_another_form_finds_nothing() {
    let site = country(&["--flat"], &recipe("Country"));
    let mut client = site.client().unwrap();
    let headers = [("x-forwarded-for", "192.0.2.1")];
    let seen = get(&mut client, "/law/1", &headers);
    assert_eq!(seen, (200, "shop-frankfurt".to_owned()));
}

/// The recipe with a database that these arguments make.
fn country(arguments: &[&str], recipe: &[Value; 2]) -> Site {
    let mut recipe = recipe.clone();
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("country.mmdb");
    let make = module::repository()
        .unwrap()
        .join("tests/geo/make-database");
    let made = Command::new("python3")
        .arg(make)
        .arg(&database)
        .args(arguments)
        .output();
    let made = made.expect("python3 with pip: apt-get install python3-pip");
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{told}");
    let provider = &mut recipe[0]["http_filters"][0]["typed_config"]["provider"];
    provider["typed_config"]["country_db_path"] = json!(database);
    site(&recipe)
}

#[test]
fn a_country_is_the_file_s_and_nobody_outside_says_it() {
    let mut recipe = recipe("Country");
    let site = country(&[], &recipe);
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
    // "without the early removal a client's own would stay for addresses that the file does not have"
    recipe[0]["mutations"] = json!([]);
    let careless = country(&[], &recipe);
    let headers = [("x-forwarded-for", "203.0.113.1"), ("x-geo-country", "KR")];
    let seen = get(&mut careless.client().unwrap(), "/", &headers);
    assert_eq!(seen, (200, "shop-seoul".to_owned()));
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
