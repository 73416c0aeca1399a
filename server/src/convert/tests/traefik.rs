//! Files of Traefik.

use super::*;

fn convert_yaml(text: &str) -> String {
    converted(Product::Traefik, "dynamic.yaml", text)
}

#[test]
fn average_period_and_burst_of_a_router() {
    let expected = r#"[[limits]]
name = "api"
match = "POST /api/*"
key = "ip"
quota = "6/minute, capacity 4"
"#;
    let yaml = convert_yaml(
        "
http:
  routers:
    shop:
      rule: Host(`shop.example`) && PathPrefix(`/api/`) && Method(`POST`)
      middlewares: [api@file, compress]
      service: shop
  middlewares:
    compress: { compress: {} }
    api:
      rateLimit:
        average: 6
        period: 1m
        burst: 4
",
    );
    assert_eq!(keys(&yaml), expected);
    let toml = converted(
        Product::Traefik,
        "dynamic.toml",
        "
[http.routers.shop]
rule = 'Host(`shop.example`) && PathPrefix(`/api/`) && Method(`POST`)'
middlewares = ['api']
[http.middlewares.api.rateLimit]
average = 6
period = '1m'
burst = 4
",
    );
    assert_eq!(keys(&toml), expected);
    for text in [&yaml, &toml] {
        assert_eq!(gaps(text).len(), 1);
        assert!(
            gaps(text)[0].starts_with(
                "http.routers.shop.rule: limits do not look at the host (shop.example)"
            )
        );
    }
    // Without an extension, the content decides.
    let from_input = converted(
        Product::Traefik,
        "-",
        "[http.middlewares.a.ratelimit]\naverage = 5\n",
    );
    assert!(
        from_input.contains("quota = \"5/second, capacity 1\""),
        "{from_input}"
    );
}

#[test]
fn criteria_are_keys() {
    let key = |criterion: &str| {
        let text = convert_yaml(&format!(
            "
http:
  routers: {{ all: {{ rule: 'PathPrefix(`/`)', middlewares: [limit] }} }}
  middlewares: {{ limit: {{ rateLimit: {{ average: '100', burst: 50, sourceCriterion: {criterion} }} }} }}
"
        ));
        let own = keys(&text);
        let mut own = own
            .lines()
            .filter(|line| line.starts_with("key") || line.starts_with("trust"));
        let mut lines: Vec<String> = own.by_ref().map(str::to_owned).collect();
        lines.push(gaps(&text).len().to_string());
        lines.join("; ")
    };
    for (criterion, expected) in [
        (
            "{ requestHeaderName: X-Api-Key }",
            r#"key = "header:X-Api-Key | global"; 0"#,
        ),
        ("{ requestHost: true }", r#"key = "global"; 1"#),
        ("{ ipStrategy: { depth: 1 } }", r#"key = "ip"; 1"#),
        (
            "{ ipStrategy: { depth: 1, excludedIPs: [10.0.0.1/8] } }",
            r#"key = "ip"; 2"#,
        ),
        (
            "{ ipStrategy: { depth: 0, excludedIPs: [10.0.0.1/8] } }",
            r#"trust_proxy = ["10.0.0.0/8"]; key = "ip"; 1"#,
        ),
        (
            "{ ipStrategy: { depth: -1, excludedIPs: [10.0.0.1/8], ipv6Subnet: 48 } }",
            r#"trust_proxy = ["10.0.0.0/8"]; key = "ip"; 2"#,
        ),
        (
            "{ ipStrategy: { depth: 2, ipv6Subnet: 48 } }",
            r#"key = "ip/32,48"; 1"#,
        ),
        (
            "{ ipStrategy: { ipv6Subnet: 48 } }",
            r#"key = "ip/32,48"; 0"#,
        ),
        (
            "{ ipStrategy: { excludedIPs: [10.0.0.1/8, 192.0.2.7] } }",
            r#"trust_proxy = ["10.0.0.0/8", "192.0.2.7/32"]; key = "ip"; 1"#,
        ),
        ("{}", r#"key = "ip"; 0"#),
    ] {
        assert_eq!(key(criterion), expected, "{criterion}");
    }
}

#[test]
fn a_router_with_a_longer_rule_comes_first() {
    let text = convert_yaml(
        "
http:
  routers:
    all: { rule: PathPrefix(`/`), middlewares: [slow] }
    login: { rule: Path(`/login`) && Method(`POST`), middlewares: [chained] }
    static: { rule: 'PathPrefix(`/static/`) || PathPrefix(`/assets/`)' }
    admin: { rule: PathPrefix(`/admin/`) && !PathPrefix(`/admin/health`), middlewares: [slow, flight] }
  middlewares:
    slow: { rateLimit: { average: 5, burst: 10 } }
    strict: { rateLimit: { average: 1, period: 10s } }
    chained: { chain: { middlewares: [strict, chained] } }
    flight: { inFlightReq: { amount: 4, sourceCriterion: { ipStrategy: {} } } }
",
    );
    assert_eq!(
        keys(&text),
        r#"upstream = "http://127.0.0.1:9000"
[[limits]]
name = "flight"
match = "/admin/*"
key = "ip"
concurrency = 4
cost = { "/admin/health*/*" = 0 }
[[limits]]
name = "slow-admin"
match = "/admin/*"
key = "ip"
quota = "5/second, capacity 10"
cost = { "/admin/health*/*" = 0 }
[[limits]]
name = "slow-all"
key = "ip"
quota = "5/second, capacity 10"
cost = { "POST /login" = 0, "/static/*" = 0, "/assets/*" = 0 }
[[limits]]
name = "strict"
match = "POST /login"
key = "ip"
quota = "1/10s"
"#
    );
    assert_eq!(gaps(&text), [""; 0], "{text}");
}

#[test]
fn other_conditions_are_named() {
    let text = convert_yaml(
        "
http:
  routers:
    a: { rule: 'PathPrefix(`/a`) && Header(`X-Client`, `mobile`)', middlewares: [l] }
    b: { rule: '(Path(`/users/{id:[0-9]+}`) || PathRegexp(`^/(x|y)$`)) && ClientIP(`10.0.0.0/8`)', middlewares: [l] }
  middlewares:
    l: { rateLimit: { average: 5, redis: { endpoints: ['127.0.0.1:6379'] } } }
    none: { rateLimit: { average: 0 } }
    unused: { inFlightReq: { amount: 3 } }
tcp:
  middlewares: { c: { inFlightConn: { amount: 10 } } }
entryPoints:
  web: { forwardedHeaders: { trustedIPs: [127.0.0.1/32] } }
",
    );
    assert!(
        text.contains("match = \"/a*/*\"\nheader = \"X-Client: mobile\""),
        "{text}"
    );
    assert!(
        text.contains("match = [\"/users/{id}\", \"/x\", \"/y\"]\n"),
        "{text}"
    );
    assert!(text.contains("trust_proxy = [\"127.0.0.1/32\"]"), "{text}");
    for place in [
        "http.routers.b.rule: ClientIP(`10.0.0.0/8`): no counterpart",
        "http.middlewares.l.rateLimit.redis: ",
        "http.middlewares.none.rateLimit.average: ",
        "http.middlewares.unused.inFlightReq: no router of this file has it",
        "http.middlewares.unused.inFlightReq: the key is the host",
        "tcp.middlewares.c.inFlightConn: ",
    ] {
        assert!(
            gaps(&text).iter().any(|gap| gap.starts_with(place)),
            "{place}: {text}"
        );
    }
}

#[test]
fn resources_of_kubernetes() {
    let text = convert_yaml(
        "
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: limit }
spec:
  rateLimit: { average: 100, burst: 50 }
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: { name: web }
spec:
  entryPoints: [web]
  routes:
    - { match: PathPrefix(`/api/`), kind: Rule, middlewares: [{ name: limit }] }
    - { match: PathPrefix(`/`), kind: Rule }
",
    );
    assert!(text.contains("name = \"limit\"\nmatch = \"/api/*\"\nkey = \"ip\"\nquota = \"100/second, capacity 50\""), "{text}");
}

#[test]
fn invalid_files_are_refused() {
    let limit =
        |text: &str| format!("http: {{ middlewares: {{ a: {{ rateLimit: {{ {text} }} }} }} }}");
    let rule = |text: &str| {
        format!("http: {{ routers: {{ r: {{ rule: '{text}', middlewares: [a] }} }} }}")
    };
    for (text, error) in [
        (
            limit("average: -1"),
            "http.middlewares.a.rateLimit.average: expected a whole number from 0, got -1",
        ),
        (
            limit("average: many"),
            "http.middlewares.a.rateLimit.average: expected a whole number from 0, got \"many\"",
        ),
        (
            limit("average: 1, period: soon"),
            "http.middlewares.a.rateLimit.period: expected a duration such as 1m or 1m30s, got \"soon\"",
        ),
        (
            limit("average: 1, sourceCriterion: { requestHeaderName: 'a b' }"),
            "http.middlewares.a.rateLimit.sourceCriterion.requestHeaderName: expected the name of a header, got \"a b\"",
        ),
        (
            limit("average: 1, sourceCriterion: { requestHeaderName: a, ipStrategy: {} }"),
            "http.middlewares.a.rateLimit.sourceCriterion: expected one of ipStrategy, requestHeaderName and requestHost, got a table",
        ),
        (
            "http: { middlewares: [a] }".to_owned(),
            "http.middlewares: expected a table, got a list",
        ),
        (
            rule("Host(a)"),
            "http.routers.r.rule: expected an argument in backticks or quotation marks",
        ),
        (
            rule("Path(`/a`) Path(`/b`)"),
            "http.routers.r.rule: expected && or ||, got P",
        ),
        (
            rule("(Path(`/a`)"),
            "http.routers.r.rule: expected ) at its end",
        ),
        (
            rule(&"(".repeat(1000)),
            "http.routers.r.rule: expected at most 32 levels, got more",
        ),
        (
            rule("Path(`/a`) &&"),
            "http.routers.r.rule: expected a matcher such as Host(`a.example`), got \"\"",
        ),
        (
            "http: {}".to_owned(),
            "expected rate limits, got a file without them",
        ),
        (
            String::new(),
            "expected rate limits, got a file without them",
        ),
    ] {
        let result = convert(Product::Traefik, Path::new("a.yaml"), &text);
        assert_eq!(result.unwrap_err(), error, "{text}");
    }
    let yaml = convert(Product::Traefik, Path::new("a.yml"), "http:\n  a: [\n").unwrap_err();
    assert!(yaml.starts_with("line 3: not YAML: "), "{yaml}");
    let toml = convert(Product::Traefik, Path::new("a.toml"), "a = 1\nb = \n").unwrap_err();
    assert!(toml.starts_with("line 2: not TOML: "), "{toml}");
}

#[test]
fn absurd_numbers_are_left_out() {
    let text = convert_yaml(
        "http: { middlewares: { a: { rateLimit: { average: 18446744073709551615, burst: 99999999999, period: 100000h } }, b: { inFlightReq: { amount: 99999999999 } } } }",
    );
    assert!(!keys(&text).contains("[[limits]]"), "{text}");
    assert!(
        gaps(&text)
            .iter()
            .any(|gap| gap.starts_with("http.middlewares.a.rateLimit: the limit is left out")),
        "{text}"
    );
}
