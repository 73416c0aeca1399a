//! A page of another origin in a real browser, which sends API keys through a gateway.

use test_support::{Launch, Server, Upstream, browser::Page};

/// The default limit by API key.
const DEFAULT: &str = "client = 'header:X-API-Key'\nquota = '1/hour'\n";

/// Limits without a default one, of which the key's refuses.
const LIMITS: &str = "[[limits]]\nname = 'key'\nkey = 'header:X-API-Key'\nquota = '1/hour'\n\
    [[limits]]\nname = 'ip'\nkey = 'ip'\nquota = '9/s'\n";

fn gateway(upstream: &Upstream, cors: &str, limits: &str) -> Server {
    let text = format!("upstream = '{}'\n{limits}{cors}", upstream.url());
    Launch::new().config("cors.toml", &text).start()
}

fn assert_page_reads_when_to_try_again(limits: &str) {
    let (page, upstream) = (Page::start(), Upstream::with_body("hello"));
    let cors = format!("[cors]\norigins = ['{}']\n", page.origin());
    let server = gateway(&upstream, &cors, limits);
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
fn a_page_reads_when_to_try_again() {
    assert_page_reads_when_to_try_again(DEFAULT);
}

/// *Caught:* a preflight, which has no key, refused by the limit of keys.
#[test]
fn a_page_reads_when_to_try_again_under_several_limits() {
    assert_page_reads_when_to_try_again(LIMITS);
}

#[test]
fn a_page_of_another_origin_is_blocked() {
    let (page, upstream) = (Page::start(), Upstream::with_body("hello"));
    let server = gateway(
        &upstream,
        "[cors]\norigins = ['https://app.example']\n",
        DEFAULT,
    );
    assert_eq!(page.send_to(&server.url()), "blocked; blocked");
    assert_eq!(upstream.requests().len(), 0);
}
