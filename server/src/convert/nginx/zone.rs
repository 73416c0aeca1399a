//! Zones, and the directives that use them.

use tollgate::Quota;

use super::syntax::Directive;

/// Bytes of a zone that nginx uses for a key on a 64-bit system.
const BYTES_OF_KEY: u64 = 128;

/// Zone of `limit_req_zone` or `limit_conn_zone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) name: String,
    pub(crate) place: String,
    /// Text with variables.
    pub(crate) key: String,
    /// Requests a second or a minute, as in `10/s`; `None` for connections.
    pub(crate) rate: Option<String>,
    /// Number of keys.
    pub(crate) keys: Option<u64>,
    pub(crate) is_synchronised: bool,
}

/// Use of a zone by `limit_req` or `limit_conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) zone: String,
    pub(crate) amount: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Requests {
        burst: u64,
        /// Number of requests of the burst that pass at once.
        at_once: u64,
    },
    Connections(u64),
}

/// Parses `limit_req_zone` or `limit_conn_zone`.
///
/// # Errors
/// The line, what was expected, and what was found.
pub(crate) fn zone(directive: &Directive) -> Result<Zone, String> {
    let error = |expected: &str, got: &str| {
        format!(
            "line {}: {}: expected {expected}, got {got}",
            directive.line, directive.name
        )
    };
    let is_rate = directive.name == "limit_req_zone";
    let mut zone = Zone {
        name: String::new(),
        place: format!("line {}", directive.line),
        key: directive.arg(0).to_owned(),
        rate: None,
        keys: None,
        is_synchronised: false,
    };
    for arg in directive.args.iter().skip(1) {
        match arg.split_once('=') {
            Some(("zone", given)) => {
                let (name, size) = given.split_once(':').unwrap_or((given, ""));
                zone.name = name.to_owned();
                zone.keys = size_in_bytes(size).map(|bytes| bytes / BYTES_OF_KEY);
            }
            Some(("rate", given)) if is_rate => {
                let rate = rate(given);
                zone.rate = Some(rate.ok_or_else(|| error("rate=Nr/s or rate=Nr/m", given))?);
            }
            None if arg == "sync" => zone.is_synchronised = true,
            _ => return Err(error("a key, zone=NAME:SIZE and rate=Nr/s", arg)),
        }
    }
    if zone.name.is_empty() {
        return Err(error("zone=NAME:SIZE", "none"));
    }
    if is_rate && zone.rate.is_none() {
        return Err(error("rate=Nr/s or rate=Nr/m", "none"));
    }
    Ok(zone)
}

fn rate(text: &str) -> Option<String> {
    let (number, unit) = match text.strip_suffix("r/s") {
        Some(number) => (number, "s"),
        None => (text.strip_suffix("r/m")?, "min"),
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    Some(format!("{number}/{unit}"))
}

fn size_in_bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(number) if lower.ends_with('k') => (number, 1 << 10),
        Some(number) if lower.ends_with('m') => (number, 1 << 20),
        Some(number) => (number, 1 << 30),
        None => (&*lower, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Parses `limit_req` or `limit_conn`.
///
/// # Errors
/// The line, what was expected, and what was found.
pub(crate) fn use_of_zone(directive: &Directive) -> Result<Use, String> {
    let error = |expected: &str, got: &str| {
        format!(
            "line {}: {}: expected {expected}, got {got}",
            directive.line, directive.name
        )
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| error("a whole number", text))
    };
    if directive.name == "limit_conn" {
        let [zone, connections] = &directive.args[..] else {
            return Err(error("a zone and a number", &directive.args.join(" ")));
        };
        return Ok(Use {
            zone: zone.clone(),
            amount: Amount::Connections(number(connections)?),
        });
    }
    let (mut zone, mut burst, mut at_once) = (None, 0, 0);
    for arg in &directive.args {
        match arg.split_once('=') {
            Some(("zone", name)) => zone = Some(name.to_owned()),
            Some(("burst", given)) => burst = number(given)?,
            Some(("delay", given)) => at_once = number(given)?,
            None if arg == "nodelay" => at_once = u64::MAX,
            _ => return Err(error("zone=NAME, burst=N, nodelay or delay=N", arg)),
        }
    }
    Ok(Use {
        zone: zone.ok_or_else(|| error("zone=NAME", "none"))?,
        amount: Amount::Requests {
            burst,
            at_once: at_once.min(burst),
        },
    })
}

/// Returns a quota with a capacity that lets one request more than the burst pass at once.
pub(crate) fn quota(rate: &str, burst: u64) -> Result<Quota, String> {
    let capacity = burst.saturating_add(1);
    format!("{rate} burst {capacity}")
        .parse()
        .map_err(|error| format!("rate {rate} with burst {burst}: {error}"))
}
