//! The kinds of values there are, each with its bounds.

mod parse;
mod redis;
mod upstream;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use hyper::{Method, header::HeaderName};
use ipnet::IpNet;
use tollgate::{Quota, tower::HeaderStyle};

use self::parse::Value;
pub(crate) use self::{
    parse::{Table, Typed, present, typed},
    redis::{OnRedisError, RedisMode, RedisPrefix, RedisUrl},
    upstream::{Scheme, UpstreamUrl},
};

/// No quota has a longer period.
const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

/// A whole number between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Value for Whole<MIN, MAX> {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn whole(number: u64) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Whole(number))
    }
}

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// How many clients a table tells apart.
pub(crate) type MaxClients = Whole<1, 1_000_000_000>;

/// How many tokens: of a bucket, or of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tokens(pub(crate) u32);

impl Value for Tokens {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 1 to {}", u32::MAX)
    }

    fn whole(number: u64) -> Option<Tokens> {
        u32::try_from(number)
            .ok()
            .filter(|&tokens| tokens > 0)
            .map(Tokens)
    }
}

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(pub(crate) f64);

impl Value for Rate {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens per second, a number from 3.17e-10 (one a century) to 1000000000")
    }

    fn decimal(number: f64) -> Option<Rate> {
        Quota::from_rate(1, number).is_ok().then_some(Rate(number))
    }
}

/// The time in which tokens come back: a number of seconds, or a text such as `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl Value for Period {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a time such as \"1h\" or a number of seconds, from 1 µs to a century (36525 days)",
        )
    }

    fn decimal(seconds: f64) -> Option<Period> {
        let period = Duration::try_from_secs_f64(seconds).ok()?;
        (period >= Duration::from_micros(1) && period <= CENTURY).then_some(Period(period))
    }

    fn text(text: &str) -> Option<Period> {
        let period = humantime::parse_duration(text).ok()?;
        (period >= Duration::from_micros(1) && period <= CENTURY).then_some(Period(period))
    }
}

/// The same, in seconds alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Value for Seconds {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, from 0.000001 to 3155760000 (a century)")
    }

    fn decimal(seconds: f64) -> Option<Seconds> {
        Period::decimal(seconds).map(|Period(period)| Seconds(period))
    }
}

const DAY_MS: u64 = 86_400_000;

/// How long something may take, from `MIN_MS` milliseconds to `MAX_MS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout<const MIN_MS: u64, const MAX_MS: u64 = DAY_MS>(pub(crate) Duration);

/// For what every request may wait: who forgets the unit means no 50 seconds.
pub(crate) type RedisTimeout = Timeout<1, 10_000>;

impl<const MIN_MS: u64, const MAX_MS: u64> Timeout<MIN_MS, MAX_MS> {
    fn checked(time: Duration) -> Option<Self> {
        (Duration::from_millis(MIN_MS)..=Duration::from_millis(MAX_MS))
            .contains(&time)
            .then_some(Timeout(time))
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Value for Timeout<MIN_MS, MAX_MS> {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a time such as \"50ms\" or a number of seconds, from {MIN_MS} ms to "
        )?;
        match MAX_MS {
            DAY_MS => f.write_str("a day"),
            most => write!(f, "{} s", most / 1000),
        }
    }

    fn decimal(seconds: f64) -> Option<Self> {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(Self::checked)
    }

    fn text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().and_then(Self::checked)
    }
}

impl Value for SocketAddr {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address and a port, such as 127.0.0.1:8000 or [::1]:8000")
    }

    fn text(text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }
}

impl Value for IpNet {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network such as 10.0.0.0/8 or 2001:db8::/32, or an IP address")
    }

    fn text(text: &str) -> Option<IpNet> {
        text.parse()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }
}

impl Value for HeaderName {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a header, such as X-API-Key")
    }

    fn text(text: &str) -> Option<HeaderName> {
        HeaderName::from_str(text).ok()
    }
}

impl Value for Method {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP method, such as GET")
    }

    fn text(text: &str) -> Option<Method> {
        Method::from_str(text)
            .ok()
            .filter(|_| text.chars().all(|c| c.is_ascii_uppercase() || c == '-'))
    }
}

/// The path of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) String);

impl Value for Path {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path that begins with / and has no query, such as /api/data")
    }

    fn text(text: &str) -> Option<Path> {
        let good = text.starts_with('/')
            && !text.contains(['?', '#'])
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        good.then(|| Path(text.to_owned()))
    }
}

/// A part of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fraction(pub(crate) f64);

impl Value for Fraction {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number above 0 and up to 1")
    }

    fn decimal(number: f64) -> Option<Fraction> {
        (number > 0.0 && number <= 1.0).then_some(Fraction(number))
    }
}

/// What a client sends in a header: an API key, or the admin's token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl Value for Secret {
    const SECRET: bool = true;

    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1 to 1024 visible ASCII characters, with spaces only between them")
    }

    fn text(text: &str) -> Option<Secret> {
        let visible = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        ((1..=1024).contains(&text.len()) && visible && text.trim() == text)
            .then(|| Secret(text.to_owned()))
    }
}

/// Whether `POST /check` is for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Check {
    /// For who has a token; without any, for this machine.
    #[default]
    Guarded,
    Open,
}

impl Value for Check {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("guarded or open")
    }

    fn text(text: &str) -> Option<Check> {
        match text {
            "guarded" => Some(Check::Guarded),
            "open" => Some(Check::Open),
            _ => None,
        }
    }
}

impl Value for HeaderStyle {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x, draft or both")
    }

    fn text(text: &str) -> Option<HeaderStyle> {
        match text {
            "x" => Some(HeaderStyle::XRateLimit),
            "draft" => Some(HeaderStyle::Draft11),
            "both" => Some(HeaderStyle::Both),
            _ => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
