//! A page of another origin in a real browser, which sends API keys through a gateway.

use test_support::{Launch, Server, Upstream, browser::Page};

fn gateway(upstream: &Upstream, cors: &str) -> Server {
    let text = format!(
        "upstream = '{}'\nclient = 'header:X-API-Key'\nquota = '1/hour'\n{cors}",
        upstream.url()
    );
    Launch::new().config("cors.toml", &text).start()
}

#[test]
fn a_page_reads_when_to_try_again() {
    let (page, upstream) = (Page::start(), Upstream::with_body("hello"));
    let cors = format!("[cors]\norigins = ['{}']\n", page.origin());
    let server = gateway(&upstream, &cors);
    let notes = page.send_to(&server.url());
    let (first, second) = notes.split_once("; ").unwrap();
    assert_eq!(first, "200 wait null left 0");
    let wait = second.strip_prefix("429 wait ").unwrap();
    let wait = wait.strip_suffix(" left 0").unwrap();
    let wait: u64 = wait.parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{notes}");
    assert_eq!(upstream.requests().len(), 1, "no preflight");
}

#[test]
fn a_page_of_another_origin_is_blocked() {
    let (page, upstream) = (Page::start(), Upstream::with_body("hello"));
    let server = gateway(&upstream, "[cors]\norigins = ['https://app.example']\n");
    assert_eq!(page.send_to(&server.url()), "blocked; blocked");
    assert_eq!(upstream.requests().len(), 0);
}
