//! Page in a real browser, Chromium, which sends requests to another origin.

use std::process::{Command, Stdio};

use crate::Upstream;

/// Sends two requests with an API key to the service that the query names, and notes what the page may
/// read of the responses.
const PAGE: &str = r#"<!doctype html><pre id="out">unfinished</pre><script>
async function send() {
    try {
        const service = location.search.slice(1);
        const response = await fetch(service, { headers: { "X-API-Key": "alice" } });
        const wait = response.headers.get("retry-after");
        const left = response.headers.get("x-ratelimit-remaining");
        return `${response.status} wait ${wait} left ${left}`;
    } catch {
        return "blocked";
    }
}
async function run() {
    const first = await send();
    document.getElementById("out").textContent = first + "; " + await send();
}
run();
</script>"#;

/// Server of the page.
pub struct Page(Upstream);

impl Page {
    /// Starts the server of the page.
    pub fn start() -> Page {
        Page(Upstream::responding(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{PAGE}",
            PAGE.len()
        )))
    }

    /// Origin of the page.
    pub fn origin(&self) -> String {
        self.0.url()
    }

    /// Opens the page in a browser of its own. Returns its notes on two requests to the service at this
    /// URL, such as `200 wait null left 0; 429 wait 60 left 0`, or `blocked` for a response that the
    /// browser keeps from it.
    pub fn send_to(&self, service: &str) -> String {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--disable-dev-shm-usage", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Ends when the page has no more work, or after this virtual time.
            .args(["--virtual-time-budget=20000", "--dump-dom"])
            .arg(format!("{}/?{service}", self.origin()))
            .stderr(Stdio::null());
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("chromium: {error}: apt-get install chromium"));
        let dom = String::from_utf8_lossy(&output.stdout);
        let (_, notes) = dom
            .split_once("<pre id=\"out\">")
            .unwrap_or_else(|| panic!("{:?}: {dom}", output.status));
        notes.split_once("</pre>").unwrap().0.to_owned()
    }
}
