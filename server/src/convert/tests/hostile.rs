//! Hostile input: an error of one line, or a configuration that the server accepts.

use proptest::prelude::*;

use super::*;

const NGINX: &str = r#"
geo $limited { default 1; 10.0.0.0/8 0; }
map $limited $limited_key { 0 ""; 1 $binary_remote_addr; }
limit_req_zone $limited_key zone=req:20m rate=5r/s;
limit_conn_zone $http_x_a$cookie_b zone=conn:1m;
http { server { limit_req zone=req burst=10 nodelay; limit_conn conn 5;
  location ~ ^/(a|b)/\d+$ { limit_req zone=req burst=4; limit_req_dry_run on; location /a/b { } }
  location ~ \.php$ { limit_req_status 429; } location ^~ /c {} } }
"#;

const TRAEFIK: &str = "
http:
  routers:
    a: { rule: '(Host(`a`) || !PathPrefix(`/b`)) && Method(`GET`, `PUT`)', middlewares: [l, c], priority: 5 }
    b: { rule: 'Path(`/{id}/x`) && Header(`A`, `b`)', middlewares: [c@file] }
  middlewares:
    l: &x { rateLimit: { average: 5, period: 1m30s, burst: 9, sourceCriterion: { ipStrategy: { depth: 2 } } } }
    c: { chain: { middlewares: [l, d] } }
    d: *x
    e: { inFlightReq: { amount: 5, sourceCriterion: { requestHeaderName: X-A } } }
";

const ASPNETCORE: &str = r#"{ "IpRateLimiting": { "EnableEndpointRateLimiting": true, "HttpStatusCode": 430,
  "QuotaExceededResponse": { "Content": "{{ {0} }}", "ContentType": "application/json" },
  "IpWhitelist": [ "10.0.0.0-10.0.3.255", "::1/10" ], "EndpointWhitelist": [ "get:/a/*" ], // b
  "GeneralRules": [ { "Endpoint": "*:/b/c*", "Period": "15m", "Limit": 5 }, { "Endpoint": "*", "Period": "1s", "Limit": 2, }, ] } }"#;

const SAMPLES: [(Product, &str, &str); 3] = [
    (Product::Nginx, "a.conf", NGINX),
    (Product::Traefik, "a.yaml", TRAEFIK),
    (Product::Aspnetcore, "a.json", ASPNETCORE),
];

fn check(product: Product, file: &str, text: &str) {
    match convert(product, Path::new(file), text) {
        Ok(converted) => {
            settings(&converted.text);
        }
        Err(error) => assert!(!error.is_empty() && !error.contains('\n'), "{error:?}"),
    }
}

#[test]
fn every_beginning_of_a_file() {
    for (product, file, text) in SAMPLES {
        assert!(convert(product, Path::new(file), text).is_ok(), "{file}");
        for end in 0..text.len() {
            check(product, file, &text[..end]);
        }
    }
}

#[test]
fn files_of_other_products() {
    for (product, file, _) in SAMPLES {
        for (_, _, text) in SAMPLES {
            check(product, file, text);
        }
    }
}

#[test]
fn other_bytes_than_utf8_are_refused() {
    assert_eq!(
        decode(b"a;\n\xff".to_vec()).unwrap_err(),
        "line 2: expected UTF-8, got other bytes"
    );
    assert_eq!(decode("\u{feff}a".into()).unwrap(), "a");
}

#[test]
fn texts_cannot_leave_their_comment_or_string() {
    let text = "
limit_req_zone \"$a\n[[limits]]\" \"zone=b\n\" rate=1r/s;
limit_req_zone x 'zone=c\"\u{1}' rate=1r/s;
server {
  server_name \"\r\n[jwt]\";
  limit_req 'zone=c\"\u{1}';
  limit_req \"zone=b\n\";
  location \"~\n[a]\" { limit_rate 5; }
}
server { }";
    let converted = convert(Product::Nginx, Path::new("a\nb = 1"), text).unwrap();
    let own = keys(&converted.text);
    assert_eq!(own.matches("[[limits]]").count(), 1, "{own}");
    assert!(!own.contains("[jwt]") && !own.contains("b = 1"), "{own}");
}

#[test]
fn many_places_take_little_time() {
    let mut text = String::from("http {\n");
    for number in 0..150 {
        text += &format!("limit_req_zone $uri zone=z{number}:1m rate=5r/s;\n");
    }
    text += "server {\n";
    for number in 0..500 {
        let zone = number % 150;
        text += &format!("location /p{number}/ {{ limit_req zone=z{zone} burst=5; }}\n");
    }
    text += "} }";
    check(Product::Nginx, "a.conf", &text);
}

/// A change of a text: position, number of characters that are removed, and a text that is added.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let pieces = prop::sample::select(vec![
        "",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ";",
        "\"",
        "'",
        "`",
        "\\",
        "/",
        "*",
        "~",
        "^",
        "$",
        "$a",
        "0",
        "99999999999999999999",
        "-1",
        "\n",
        "#",
        ":",
        "&&",
        "||",
        "!",
        "limit_req zone=req",
        "é",
        "\u{0}",
    ]);
    prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0_usize..6,
            pieces.prop_map(str::to_owned),
        ),
        1..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files(sample in 0_usize..3, changes in changes()) {
        let (product, file, text) = SAMPLES[sample];
        let mut chars: Vec<char> = text.chars().collect();
        for (at, removed, added) in changes {
            let start = at.index(chars.len() + 1);
            let end = (start + removed).min(chars.len());
            chars.splice(start..end, added.chars());
        }
        check(product, file, &String::from_iter(chars));
    }

    #[test]
    fn any_text(text in "\\PC*") {
        for (product, file, _) in SAMPLES {
            check(product, file, &text);
        }
    }
}
