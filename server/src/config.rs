//! Configuration of the server.
//!
//! Flags take precedence over the environment, the environment over the file, and the file over
//! the defaults.

mod admin;
mod bounded_file;
mod connections;
mod cors;
mod delay;
mod file;
mod jwt;
mod limits;
mod lists;
mod quota;
mod redis;
mod refusal;
mod routes;
mod rules;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod upstream;

#[cfg(test)]
pub(crate) use self::settings::{settings, settings_error};
pub(crate) use self::{
    admin::Tokenless,
    connections::ConnectionLimits,
    cors::Cors,
    delay::Delay,
    limits::{Ban, Cost, HeaderCondition, Limit, Missing},
    lists::AddressLists,
    redis::Redis,
    refusal::Refusal,
    routes::{Route, RouteQuota},
    rules::MAX_RULES,
    settings::Settings,
    state::State,
    upstream::{Gateway, Upstream, UpstreamTimeouts},
};
