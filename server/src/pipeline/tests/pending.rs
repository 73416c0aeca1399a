//! Tests of pending charges: a request head is processed once, also when the decision is awaited.

use hyper::{Request, StatusCode};

use super::{TestServer, block_on};
use crate::pipeline::{self, HeadResult};

/// A path with several readings is charged to two buckets, so its decision is pending.
const SETTINGS: &str = "refill_rate = 0.001\nclient = { header = 'X-API-Key' }\n\
     [[routes]]\npath = '/slow/*'\ncapacity = 3\nrefill_rate = 0.001\n\
     [[routes]]\npath = '/fast/*'\ncapacity = 100\nrefill_rate = 0.001";

#[test]
fn resolving_a_charge_does_not_process_the_head_again() {
    let server = TestServer::new(SETTINGS);
    let caller = server.app.caller(server.peer);
    let charge = {
        let request = Request::get("/fast/../slow/x").header("x-api-key", "alice");
        let request = request.body(String::new()).unwrap();
        match pipeline::process(&server.app, &request, &caller) {
            HeadResult::Pending(charge) => charge,
            HeadResult::Done(_) => panic!("decided without waiting"),
        }
    };
    // This head has neither the client nor the price of the first one. Processing it would respond
    // with 401, or charge another bucket.
    let other = Request::get("/").body(String::new()).unwrap();
    let outcome = block_on(pipeline::resolve(&server.app, &other, &caller, charge));
    let headers = outcome.response.headers();
    assert_eq!(outcome.response.status(), StatusCode::NOT_FOUND);
    assert_eq!(headers["x-ratelimit-limit"], "100");
    assert_eq!(headers["x-ratelimit-remaining"], "99");
    let remaining = |path: &str, key: &str| {
        let request = Request::get(path).header("x-api-key", key);
        server.send(request, "").remaining()
    };
    assert_eq!(remaining("/slow/y", "alice"), 1);
    assert_eq!(remaining("/fast/y", "alice"), 98);
    assert_eq!(remaining("/slow/y", "bob"), 2);
}
