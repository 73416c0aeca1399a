//! Conversion of AspNetCoreRateLimit's settings.
use super::policy::Policy;
pub(crate) fn convert(_text: &str) -> Result<Policy, String> {
    Err("not supported yet".to_owned())
}
