use super::*;
use crate::configuration;
use crate::diff;
use std::io::Write;

const OLD: &str = "pools: { web: { targets: [{ cluster: blue }] }, api: { targets: [{ cluster: api }] } }\n\
    routes: [{ name: a, match: { path: { prefix: /a }, hosts: [shop.test] }, pool: web }, \
             { name: rest, pool: web }]";

fn count_of(text: &str, host: Option<&str>) -> (Diff, LogCounts) {
    let new = OLD.replace(
        "hosts: [shop.test] }, pool: web",
        "hosts: [shop.test] }, pool: api",
    );
    let trees = [OLD, &new].map(|text| configuration::parse(text).unwrap());
    let configs = trees
        .each_ref()
        .map(|tree| environment::load_anywhere(tree).unwrap());
    let pairs = [(&configs[0], &trees[0]), (&configs[1], &trees[1])];
    let tables = Tables::new(pairs[0], pairs[1]);
    let (diff, keys) = tables.compare(diff::settings(pairs[0], pairs[1]));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let trees = [&trees[0], &trees[1]];
    let counts = count(file.path(), host, trees, &diff, &keys).unwrap();
    (diff, counts)
}

#[test]
fn every_format_counts_the_same_requests() {
    let json = r#"{"time":"x","client":"10.0.0.1","method":"GET","host":"shop.test","path":"/a/1?q=\"","status":200,"pointsman":{"route":"a"},"x":[1]}
{"method":"GET","host":"shop.test","path":"/b","status":"200"}
{"method":"GET","host":"other.test","path":"/a","status":null}
{"method":null,"path":"-"}
"#;
    let envoy = r#"[2026-11-26T10:00:00.000Z] "GET /a/1 HTTP/1.1" 200 - 0 1 2 1 "10.0.0.1" "curl/8" "id" "shop.test" "10.0.0.9:80"
[2026-11-26T10:00:00.000Z] "GET /b HTTP/1.1" 200 - 0 1 2 1 "-" "curl/8" "id" "shop.test" "10.0.0.9:80"
[2026-11-26T10:00:00.000Z] "GET /a HTTP/2" 200 - 0 1 2 1 "-" "curl/8" "id" "other.test" "-"
[2026-11-26T10:00:00.000Z] "- - HTTP/1.1" 400 DPE 0 1 2 - "-" "-" "-" "-" "-"
"#;
    let vhost = r#"shop.test:80 10.0.0.1 - - [26/Nov/2026:10:00:00 +0000] "GET /a/1 HTTP/1.1" 200 1 "-" "curl"
shop.test:80 10.0.0.1 - - [26/Nov/2026:10:00:00 +0000] "GET /b HTTP/1.1" 200 1 "-" "curl"
other.test 10.0.0.1 - - [26/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 1 "-" "curl"
nonsense
"#;
    let har = r#"{ "log": { "version": "1.2", "entries": [
        { "request": { "method": "GET", "url": "http://shop.test/a/1", "headers": [{ "name": "X-A", "value": "1" }] }, "response": { "status": 200 } },
        { "request": { "method": "GET", "url": "http://shop.test/b", "headers": [] } },
        { "request": { "method": "GET", "url": "http://other.test/a" } },
        { "request": { "method": "GET", "url": "data:text/plain,x" } } ], "pages": [] } }"#;
    for (format, text) in [
        ("json", json),
        ("envoy", envoy),
        ("vhost", vhost),
        ("har", har),
    ] {
        let (diff, counts) = count_of(text, None);
        assert_eq!(diff.differences.len(), 1, "{format}");
        assert_eq!(
            (counts.requests, counts.unreadable),
            (3, 1),
            "{format}: {counts:?}"
        );
        assert_eq!(counts.differences, [1], "{format}: {counts:?}");
    }
}

#[test]
fn a_common_log_names_no_host_and_can_be_given_one() {
    let text = "10.0.0.1 - bob [26/Nov/2026:10:00:00 +0000] \"GET /a HTTP/1.0\" 200 2326\n";
    let (_, counts) = count_of(text, None);
    assert_eq!(
        (counts.without_host, &counts.differences[..]),
        (1, &[0][..])
    );
    let (_, counts) = count_of(text, Some("shop.test"));
    assert_eq!(
        (counts.without_host, &counts.differences[..]),
        (0, &[1][..])
    );
}

#[test]
fn lines_are_whole_wherever_chunks_end() {
    let line = r#"{"method":"GET","host":"shop.test","path":"/a/NUMBER"}"#;
    let count = 60_000;
    let lines = (0..count).map(|at| line.replace("NUMBER", &at.to_string()));
    let text: Vec<_> = lines.collect();
    let text = text.join("\n");
    assert!(text.len() > 3 * CHUNK);
    let (_, counts) = count_of(&text, None);
    assert_eq!((counts.requests, counts.unreadable), (count, 0));
    assert_eq!(counts.differences, [count]);
}
