//! Examples of docs/policies.md, as they stand there: servers on a manual clock behind real sockets,
//! whose decisions are compared with those of an exact reference.

mod connections;
mod delay;
mod policies;
mod socket_server;

use std::{cell::RefCell, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner},
};
use test_support::{Client, Response};

use self::socket_server::SocketServer;
use super::reference::{Outcome, Part, Reference};

const GUIDE: &str = include_str!("../../../../docs/policies.md");

/// Returns the example below the heading that begins with this text.
fn example(heading: &str) -> &'static str {
    let (_, section) = GUIDE
        .split_once(&format!("### {heading}"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let (_, block) = section.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0
}

/// Example of the guide, the requests sent to it, and what it says of them.
struct Policy {
    heading: &'static str,
    /// Settings beside those of the example.
    settings: &'static str,
    /// Milliseconds before a request.
    pauses: &'static [u64],
    /// Largest number of requests of a step.
    burst: usize,
    /// Methods and paths.
    targets: &'static [(&'static str, &'static str)],
    headers: &'static [Headers],
    meaning: fn(&Sent) -> Meaning,
    /// Limits that refuse in the course of the test.
    refusing: &'static [&'static str],
}

type Headers = &'static [(&'static str, &'static str)];

/// A request.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Last byte of the address, 1 or 2.
    source: u8,
    method: &'static str,
    path: &'static str,
    headers: Headers,
}

impl Sent {
    fn ip(&self) -> String {
        format!("ip 127.0.0.{}", self.source)
    }

    /// Returns the only value of a header, unless it is empty.
    fn header(&self, name: &str) -> Option<&'static str> {
        let mut values = self.headers.iter().filter(|(known, _)| *known == name);
        let (_, value) = values.next()?;
        (!value.is_empty() && values.next().is_none()).then_some(value)
    }
}

enum Meaning {
    Unlimited,
    /// No bucket is touched.
    Status(u16),
    Limited(Vec<Part>),
}

/// Requests of one client after equal pauses.
#[derive(Clone, Debug)]
struct Step {
    /// Number of a pause, modulo the number of them, as are all but the source.
    pause: usize,
    times: usize,
    source: u8,
    target: usize,
    /// Headers of the first request; the next ones have the next headers.
    headers: usize,
    /// Whether the next client waits for as long as a refusal has said.
    waits: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let choice = || 0..720_usize;
    (
        choice(),
        choice(),
        1..=2_u8,
        choice(),
        choice(),
        any::<bool>(),
    )
        .prop_map(|(pause, times, source, target, headers, waits)| Step {
            pause,
            times,
            source,
            target,
            headers,
            waits,
        })
}

/// A server of the policy, and the reference of it.
struct Run<'a> {
    policy: &'a Policy,
    server: SocketServer,
    clients: [Client; 2],
    reference: Reference,
    /// Names of limits that have refused.
    refusing: Vec<String>,
    /// Decisions of shadow limits, by name.
    shadows: Vec<(String, bool)>,
}

impl<'a> Run<'a> {
    fn new(policy: &'a Policy) -> Run<'a> {
        let (more, example) = (policy.settings, example(policy.heading));
        let server = SocketServer::start(&format!("headers = 'both'\n{more}\n{example}"));
        Run {
            policy,
            clients: [1, 2].map(|source| server.client(source)),
            server,
            reference: Reference::default(),
            refusing: Vec::new(),
            shadows: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        let Policy {
            pauses,
            burst,
            targets,
            headers,
            ..
        } = self.policy;
        let pause = Duration::from_millis(pauses[step.pause % pauses.len()]);
        let (method, path) = targets[step.target % targets.len()];
        for number in 0..=step.times % burst {
            let sent = Sent {
                source: step.source,
                method,
                path,
                headers: headers[(step.headers + number) % headers.len()],
            };
            self.server.clock.advance(pause);
            let response = self.send(&sent)?;
            if response.status == 429 && step.waits {
                let wait = Duration::from_secs_f64(response.retry_after());
                // The body has microseconds, rounded up.
                let early = wait.saturating_sub(Duration::from_micros(2));
                self.server.clock.advance(early);
                prop_assert_eq!(self.send(&sent)?.status, 429, "{:?} early", sent);
                self.server.clock.advance(wait - early);
                prop_assert_ne!(self.send(&sent)?.status, 429, "{:?} in time", sent);
                break;
            }
        }
        Ok(())
    }

    /// Sends a request, and compares everything that its response says with the reference.
    fn send(&mut self, sent: &Sent) -> Result<Response, TestCaseError> {
        let client = &mut self.clients[usize::from(sent.source) - 1];
        let response = client.request(sent.method, sent.path, sent.headers, "");
        let status = response.status;
        match (self.policy.meaning)(sent) {
            Meaning::Unlimited => {
                prop_assert!(!matches!(status, 401 | 403 | 429), "{sent:?}: {response:?}");
                prop_assert!(response.header("ratelimit").is_none(), "{sent:?}");
            }
            Meaning::Status(expected) => prop_assert_eq!(status, expected, "{:?}", sent),
            Meaning::Limited(parts) => {
                let now = self.server.clock.now();
                let decided = self.reference.decide(&parts, now, status != 429);
                let is_right = match decided.outcome {
                    Outcome::Allowed => !matches!(status, 401 | 403 | 429),
                    Outcome::Refused => status == 429,
                    Outcome::Either => !matches!(status, 401 | 403),
                };
                prop_assert!(is_right, "{sent:?}: {decided:?}, {response:?}");
                let shown = shown(&response);
                let names: Vec<_> = shown.iter().map(|(name, _)| name.as_str()).collect();
                let left = decided.left.iter();
                let expected: Vec<_> = left.map(|(name, _)| name.as_str()).collect();
                prop_assert_eq!(names, expected, "{:?}", sent);
                let mut within = shown.iter().zip(&decided.left);
                let is_right = within.all(|((_, left), (_, expected))| expected.contains(left));
                prop_assert!(is_right, "{sent:?}: {decided:?}, {response:?}");
                if status == 429 {
                    let wait = (response.retry_after() * 1e9) as i128;
                    // In microseconds, rounded up.
                    let (least, most) = (decided.wait.start() - 1000, decided.wait.end() + 1000);
                    prop_assert!((least..=most).contains(&wait), "{decided:?}, {response:?}");
                    let seconds = |nanos: i128| (nanos + 999_999_999).div_euclid(1_000_000_000);
                    let whole = i128::from(response.number("retry-after"));
                    let expected = seconds(least).max(1)..=seconds(most).max(1);
                    prop_assert!(expected.contains(&whole), "{decided:?}, {response:?}");
                    let body = response.json();
                    let violated = body["violated-policies"].as_array().unwrap();
                    let names = violated
                        .iter()
                        .map(|name| name.as_str().unwrap().to_owned());
                    self.refusing.extend(names);
                } else {
                    assert_tells_of_the_tightest(&response, &parts, &shown);
                }
                self.shadows.extend(decided.shadows);
            }
        }
        Ok(response)
    }
}

/// Returns the limits of the header `RateLimit`, and the tokens that they have left.
fn shown(response: &Response) -> Vec<(String, i128)> {
    let header = response.header("ratelimit").unwrap_or_default();
    let items = header.split(", ").filter(|item| !item.is_empty());
    let item = |item: &str| {
        let (name, more) = item.split_once(";r=").unwrap();
        let left = more.split(';').next().unwrap();
        (name.trim_matches('"').to_owned(), left.parse().unwrap())
    };
    items.map(item).collect()
}

/// Asserts that `X-RateLimit-*` have the limit that allows the fewest further requests.
fn assert_tells_of_the_tightest(response: &Response, parts: &[Part], shown: &[(String, i128)]) {
    let enforced = parts.iter().filter(|part| !part.is_shadow);
    let further = enforced.zip(shown).map(|(part, (_, left))| {
        let (limit, cost) = (part.rate.capacity, i128::from(part.cost));
        (left / cost, limit, *left)
    });
    let further: Vec<_> = further.collect();
    let fewest = further.iter().map(|(requests, ..)| requests).min().unwrap();
    let announced = (response.limit().into(), response.remaining().into());
    let mut tightest = further.iter().filter(|(requests, ..)| requests == fewest);
    assert!(
        tightest.any(|(_, limit, left)| (*limit, *left) == announced),
        "{response:?}"
    );
}

/// Compares a policy with the reference, for the same random requests in each run.
fn check(policy: &Policy) {
    let mut refusing = Vec::new();
    let runs = RefCell::new(&mut refusing);
    for_schedules(policy.heading, step(), 100, |steps| {
        let mut run = Run::new(policy);
        steps.iter().try_for_each(|step| run.step(step))?;
        run.assert_shadows_are_counted();
        runs.borrow_mut().append(&mut run.refusing);
        Ok(())
    });
    refusing.sort();
    refusing.dedup();
    assert_eq!(refusing, policy.refusing, "{}", policy.heading);
}

/// Runs a test with random lists, which are the same in each run.
fn for_schedules<T: std::fmt::Debug>(
    name: &str,
    step: impl Strategy<Value = T>,
    most: usize,
    test: impl Fn(Vec<T>) -> TestCaseResult,
) {
    let config = ProptestConfig {
        cases: 4,
        // A failure may be the end of a timeout.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, rng).run(&vec(step, 1..most), test);
    result.unwrap_or_else(|error| panic!("{name}: {error}"));
}

impl Run<'_> {
    /// Asserts that the metrics count the decisions of shadow limits.
    fn assert_shadows_are_counted(&mut self) {
        let metrics = self.clients[0].get("/metrics").text();
        for (decision, reason) in [("allowed", "tokens"), ("refused", "no_tokens")] {
            let of = |(_, is_allowed): &&(String, bool)| *is_allowed == (decision == "allowed");
            let expected = self.shadows.iter().filter(of).count();
            let Some((name, _)) = self.shadows.first() else {
                return;
            };
            let series = format!(
                r#"tollgate_limit_decisions_total{{limit="{name}",mode="shadow",decision="{decision}",reason="{reason}"}} "#
            );
            let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
            let counted: usize = line.unwrap_or("0").parse().unwrap();
            assert_eq!(counted, expected, "{series}");
        }
    }
}
