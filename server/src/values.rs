//! Types of settings' values: each parses itself and describes its bounds in errors.
//!
//! Flags, environment variables, the configuration file and JSON request bodies share them.

mod admin_address;
mod choice;
mod client;
mod directory;
mod http;
mod limit_key;
mod nat64;
mod number;
mod parse;
mod policy_name;
mod quota;
mod redis;
mod secret;
mod template;
mod time;
mod upstream;

pub(crate) use self::{
    admin_address::{AdminAddress, socket_path},
    choice::{Check, OnRedisError, Preflight, Product, RedisMode},
    client::Client,
    http::{Origin, Path, is_same_variable},
    limit_key::{KeySource, LimitKey, is_cookie_name},
    nat64::Nat64Prefix,
    number::{Fraction, MaxClients, Whole},
    parse::{
        Table, Value, one_or_list, optional, optional_list, optional_table, parse_argument,
        parse_list_item, present, required, tables,
    },
    policy_name::PolicyName,
    quota::{Period, Rate, Seconds, Tokens},
    redis::{RedisPrefix, RedisUrl},
    secret::Secret,
    template::{Facts, Syntax, Template},
    time::{ClockTolerance, MaxDelay, RedisTimeout, Timeout},
    upstream::{Scheme, UpstreamUrl},
};
