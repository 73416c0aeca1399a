//! Requests: validation, client identity, access control, and bodies.

pub(crate) mod access;
pub(crate) mod address_lists;
pub(crate) mod body;
pub(crate) mod client_id;
pub(crate) mod client_identifier;
pub(crate) mod header_rules;
pub(crate) mod headers;
pub(crate) mod json;
pub(crate) mod jwt;
pub(crate) mod key_value;
pub(crate) mod limit_request;
pub(crate) mod method_override;
pub(crate) mod original;
pub(crate) mod path;
pub(crate) mod path_pattern;
pub(crate) mod request_pattern;
pub(crate) mod validation;
