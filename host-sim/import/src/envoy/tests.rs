use super::*;
use crate::InputFile;

fn imported(text: &str) -> Output {
    let file = InputFile {
        name: "envoy.yaml".into(),
        text: text.into(),
    };
    crate::import(crate::Kind::Envoy, &[file], &Options::default()).unwrap()
}

#[test]
fn a_small_table() {
    let output = imported(
        r#"
name: edge
virtual_hosts:
  - name: shop
    domains: [shop.test, "*.shop.test"]
    require_tls: ALL
    routes:
      - name: cart
        match: { path_separated_prefix: /cart }
        route: { cluster: cart, prefix_rewrite: /c, timeout: 3s }
      - match: { prefix: /old }
        redirect: { prefix_rewrite: /new, response_code: FOUND }
      - match: { prefix: / }
        route:
          weighted_clusters:
            clusters:
              - { name: blue, weight: 90 }
              - name: green
                weight: 10
                request_headers_to_add: [{ header: { key: x-canary, value: "1" } }]
  - name: rest
    domains: ["*"]
    routes:
      - match:
          prefix: /x
          dynamic_metadata: [{ filter: f, path: [{ key: k }], value: { present_match: true } }]
        direct_response: { status: 403, body: { inline_string: no } }
"#,
    );
    println!("{}", output.to_yaml());
}
