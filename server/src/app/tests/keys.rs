//! Clients with API keys, and the six cases of the API-key system.

use hyper::{Request, StatusCode};

use super::{Bench, Seen};

const SYSTEM: &str =
    "tokens = 100\ntime = 3600\nclient = { header = 'X-API-Key' }\napi_keys = ['first', 'second']";
const KEYS: [&str; 2] = ["first", "second"];

fn with(bench: &Bench, key: &str) -> Seen {
    bench.ask(Request::get("/").header("x-api-key", key), "")
}

#[test]
fn the_six_cases() {
    let bench = Bench::new(SYSTEM);
    for key in KEYS {
        assert_eq!(with(&bench, key).remaining(), 99, "1: the first");
    }
    bench.advance(600.0);
    for key in KEYS {
        (0..98).for_each(|count| {
            assert_eq!(with(&bench, key).remaining(), 98 - count, "2: the next 98")
        });
        assert_eq!(with(&bench, key).remaining(), 0, "3: the 100th");
    }
    bench.advance(600.0);
    for key in KEYS {
        let refused = with(&bench, key);
        assert_eq!(
            (refused.status, refused.remaining()),
            (StatusCode::TOO_MANY_REQUESTS, 0),
            "4: one more"
        );
        assert!(
            (2400.0..2400.2).contains(&refused.retry_after()),
            "until the window ends: {}",
            refused.text()
        );
    }
    bench.advance(2399.999);
    for key in KEYS {
        assert_eq!(
            with(&bench, key).status,
            StatusCode::TOO_MANY_REQUESTS,
            "nothing before the window's end"
        );
    }
    bench.advance(0.001);
    for key in KEYS {
        assert_eq!(with(&bench, key).remaining(), 99, "5: after the window");
    }
    for key in KEYS {
        assert_eq!(with(&bench, key).remaining(), 98, "6: another");
    }
}

#[test]
fn without_a_key_or_with_a_wrong_one_it_is_401_and_costs_nothing() {
    let bench = Bench::new(SYSTEM);
    for _ in 0..200 {
        let none = bench.get("/");
        assert_eq!(
            (none.status, none.header("x-ratelimit-limit")),
            (StatusCode::UNAUTHORIZED, None)
        );
        assert_eq!(with(&bench, "third").status, StatusCode::UNAUTHORIZED);
        assert_eq!(bench.get("/nothing").status, StatusCode::UNAUTHORIZED);
        assert_eq!(bench.get("/health").status, StatusCode::OK);
    }
    assert_eq!(with(&bench, "first").remaining(), 99);
    assert!(
        with(&bench, "second").text().contains("127.0.0.1"),
        "the answer names the address, not the key"
    );
}

#[test]
fn a_rule_goes_by_the_key() {
    let bench = Bench::new(SYSTEM);
    with(&bench, "second");
    let rule = r#"{"client_id": "first", "capacity": 5, "refill_rate": 1}"#;
    assert_eq!(
        bench.post("/admin/update-rule", rule).status,
        StatusCode::OK
    );
    assert_eq!(
        (
            with(&bench, "first").remaining(),
            with(&bench, "second").remaining()
        ),
        (4, 98)
    );
}
