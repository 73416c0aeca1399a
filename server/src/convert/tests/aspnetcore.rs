//! Settings of AspNetCoreRateLimit.

use super::*;

fn convert_settings(text: &str) -> String {
    converted(Product::Aspnetcore, "appsettings.json", text)
}

#[test]
fn four_windows_with_lists() {
    let text = convert_settings(
        r#"{
  // Limits of addresses.
  "Logging": { "LogLevel": { "Default": "Warning" } },
  "IpRateLimiting": {
    "EnableEndpointRateLimiting": false,
    "StackBlockedRequests": false,
    "HttpStatusCode": 429,
    "IpWhitelist": [ "127.0.0.1", "192.168.0.0/24", "203.0.113.4 - 203.0.113.7", "198.51.100.0/255.255.255.0" ],
    "EndpointWhitelist": [ "get:/api/license", "*:/api/status" ],
    "GeneralRules": [
      { "Endpoint": "*", "Period": "1s", "Limit": 2 },
      { "Endpoint": "*", "Period": "15m", "Limit": 100 },
      { "Endpoint": "*", "Period": "12h", "Limit": 1000 },
      { "Endpoint": "*", "Period": "7d", "Limit": 10000 },
    ]
  }
}"#,
    );
    assert_eq!(
        keys(&text),
        r#"allow = ["127.0.0.1/32", "192.168.0.0/24", "203.0.113.4/30", "198.51.100.0/24"]
[[limits]]
name = "general"
key = "ip"
quota = ["2/second", "100/15min", "1000/12h", "10000/7d"]
cost = { "GET /api/license" = 0, "/api/status" = 0 }
"#
    );
    assert_eq!(gaps(&text), [""; 0]);
}

#[test]
fn counts_of_each_endpoint() {
    let text = convert_settings(
        r#"{ "ClientRateLimiting": {
    "EnableEndpointRateLimiting": true,
    "ClientIdHeader": "X-Client",
    "HttpStatusCode": 503,
    "DisableRateLimitHeaders": true,
    "QuotaExceededResponse": {
      "Content": "{{ \"limit\": {0}, \"in\": {2} }}", "ContentType": "application/json", "StatusCode": 420 },
    "GeneralRules": [
      { "Endpoint": "*", "Period": "1s", "Limit": 5 },
      { "Endpoint": "post:/api/orders", "PeriodTimespan": "00:01:00", "Limit": 10.0 },
      { "Endpoint": "post:/api/orders", "Period": "1h", "Limit": 100 },
      { "Endpoint": "get:/api/*", "Period": "1s", "Limit": 1, "MonitorMode": true }
    ] } }"#,
    );
    assert_eq!(
        keys(&text),
        r#"headers = "none"
[refusal]
status = 420
json = "{ \"limit\": {capacity}, \"in\": {retry_after} }"
[[limits]]
name = "general"
key = ["header:X-Client | global", "path"]
quota = "5/second"
[[limits]]
name = "post-api-orders"
match = "POST /api/orders"
key = "header:X-Client | global"
quota = ["10/minute", "100/hour"]
[[limits]]
name = "get-api"
match = "GET /api/*"
key = ["header:X-Client | global", "path"]
quota = "1/second"
shadow = true
"#
    );
    assert_eq!(gaps(&text).len(), 1);
    assert!(
        gaps(&text)[0].starts_with("ClientRateLimiting.GeneralRules[0]: each method has a count")
    );
}

#[test]
fn parts_without_a_counterpart_are_named() {
    let text = convert_settings(
        r#"{ "IpRateLimiting": {
    "EnableEndpointRateLimiting": false, "StackBlockedRequests": true,
    "RealIpHeader": "X-Real-IP", "ClientIdHeader": "X-ClientId",
    "QuotaExceededMessage": "at most {0} in {1}",
    "IpWhitelist": [ "10.0.0.0/8" ], "ClientWhitelist": [ "a secret" ],
    "EndpointWhitelist": [ "((get)|(post)):/api" ],
    "GeneralRules": [
      { "Endpoint": "*", "Period": "1m", "Limit": 60 },
      { "Endpoint": "*", "Period": "1s", "Limit": 0 },
      { "Endpoint": "*", "Period": "99999999999d", "Limit": 5 },
      { "Endpoint": "get:/api/values", "Period": "1s", "Limit": 1 }
    ] },
  "ClientRateLimiting": { "GeneralRules": [ { "Endpoint": "*", "Period": "1m", "Limit": 9 } ] },
  "IpRateLimitPolicies": { "IpRules": [ { "Ip": "84.247.85.224", "Rules": [] } ] },
  "ClientRateLimitPolicies": { "ClientRules": [ { "ClientId": "a secret", "Rules": [] } ] } }"#,
    );
    assert_eq!(
        keys(&text),
        "[[limits]]\nname = \"general\"\nkey = \"ip\"\nquota = \"60/minute\"\n[[limits]]\nname = \"general.2\"\nkey = \"header:X-ClientId | global\"\nquota = \"9/minute\"\n"
    );
    for place in [
        "IpRateLimiting.StackBlockedRequests: ",
        "IpRateLimiting.RealIpHeader: ",
        "IpRateLimiting.QuotaExceededMessage: ",
        "IpRateLimiting.IpWhitelist: ",
        "IpRateLimiting.ClientWhitelist: ",
        "IpRateLimiting.EndpointWhitelist[0]: ",
        "IpRateLimiting.GeneralRules[1].Limit: ",
        "IpRateLimiting.GeneralRules[2]: ",
        "IpRateLimiting.GeneralRules[3]: ",
        "IpRateLimitPolicies.IpRules[0] (84.247.85.224): ",
        "ClientRateLimitPolicies.ClientRules[0]: ",
    ] {
        assert!(
            gaps(&text).iter().any(|gap| gap.starts_with(place)),
            "{place}: {text}"
        );
    }
    assert_eq!(gaps(&text).len(), 11, "{text}");
    assert!(!text.contains("a secret"));
}

#[test]
fn a_body_that_is_no_json_is_left_out() {
    let text = convert_settings(
        r#"{ "IpRateLimiting": {
    "QuotaExceededResponse": { "Content": "{{ {0} }}", "ContentType": "application/json" },
    "GeneralRules": [ { "Endpoint": "*", "Period": "1s", "Limit": 2 } ] } }"#,
    );
    assert!(!text.contains("[refusal]"), "{text}");
    assert!(
        gaps(&text)[0].starts_with("body of refusals: left out"),
        "{text}"
    );
}

#[test]
fn invalid_files_are_refused() {
    let rule = |rule: &str| format!(r#"{{"IpRateLimiting": {{"GeneralRules": [{rule}]}}}}"#);
    let at = |error: &str| format!("IpRateLimiting.GeneralRules[0]{error}");
    for (text, error) in [
        ("{".to_owned(), "not JSON: EOF while parsing an object at line 1 column 1".to_owned()),
        ("{}".to_owned(), "expected rate limits, got a file without them".to_owned()),
        ("[]".to_owned(), "expected rate limits, got a file without them".to_owned()),
        (rule("{}"), at(".Endpoint: expected a value, got none")),
        (rule(r#"{"Endpoint": 5}"#), at(".Endpoint: expected a text, got 5")),
        (rule(r#"{"Endpoint": "*", "Period": "1y"}"#), at(".Period: expected a period such as 1s, 15m, 12h or 7d, got \"1y\"")),
        (rule(r#"{"Endpoint": "*", "Period": ""}"#), at(".Period: expected a period such as 1s, 15m, 12h or 7d, got \"\"")),
        (rule(r#"{"Endpoint": "*", "Period": "1s", "Limit": -1}"#), at(".Limit: expected a whole number from 0, got -1")),
        (rule(r#"{"Endpoint": "*", "PeriodTimespan": "1:2"}"#), at(".PeriodTimespan: expected a time span such as 00:15:00, got \"1:2\"")),
        (
            r#"{"IpRateLimiting": {"IpWhitelist": ["10.0.0.9-10.0.0.1"]}}"#.to_owned(),
            "IpRateLimiting.IpWhitelist[0]: expected a network such as 10.0.0.0/8, or a range of addresses, got \"10.0.0.9-10.0.0.1\"".to_owned(),
        ),
        (
            r#"{"IpRateLimiting": {"HttpStatusCode": 200}}"#.to_owned(),
            "IpRateLimiting.HttpStatusCode: expected a status from 400 to 599, got 200".to_owned(),
        ),
    ] {
        let result = convert(Product::Aspnetcore, Path::new("appsettings.json"), &text);
        assert_eq!(result.unwrap_err(), error, "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(convert(Product::Aspnetcore, Path::new("a.json"), &deep).is_err());
}
