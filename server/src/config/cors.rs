//! Cross-origin requests of browsers: which origins are allowed, and how preflights are handled.

use std::time::Duration;

use super::file;
use crate::values::{Origin, Preflight};

/// Settings of cross-origin requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cors {
    /// Allowed origins.
    pub(crate) origins: Vec<Origin>,
    pub(crate) preflight: Preflight,
    /// Pages may send cookies and other credentials.
    pub(crate) credentials: bool,
    /// Time for which a browser may cache the response to a preflight.
    pub(crate) max_age: Duration,
}

impl Cors {
    /// Validates the table `cors` of the file.
    pub(super) fn merge(given: file::Cors, is_gateway: bool) -> Result<Cors, String> {
        let origins = given.origins.unwrap_or_default();
        let cors = Cors {
            preflight: given.preflight.unwrap_or_default(),
            credentials: given.credentials,
            max_age: given
                .max_age
                .map_or(Duration::from_secs(600), |time| time.get()),
            origins,
        };
        let allows_any = cors.origins.contains(&Origin::Any);
        if cors.origins.is_empty() {
            Err("cors.origins: expected at least one origin, got none")
        } else if allows_any && cors.origins.len() > 1 {
            Err("cors.origins: expected \"*\" alone, got other origins beside it")
        } else if allows_any && cors.credentials {
            Err("cors.credentials: expected false with the origin \"*\", got true")
        } else if cors.preflight == Preflight::Pass && !is_gateway {
            Err("cors.preflight: expected \"answer\" without an upstream, got \"pass\"")
        } else {
            Ok(cors)
        }
        .map_err(str::to_owned)
    }
}
