//! Conversion of Traefik's dynamic configuration.
use super::policy::Policy;
pub(crate) fn convert(_text: &str, _is_toml: Option<bool>) -> Result<Policy, String> {
    Err("not supported yet".to_owned())
}
