//! Access to the admin endpoints: `/config`, `/admin/`, `/metrics` and `/check`.

use std::{fmt, net::SocketAddr};

use super::file::File;
use crate::{
    cli::Serve,
    placement::Placement,
    values::{AdminAddress, Check, Secret},
};

/// Minimum length of a token, unless only this machine can connect and there is no upstream. A
/// shorter one can be guessed.
const MIN_TOKEN_LENGTH: usize = 16;

/// Settings of the admin endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// Listener of the admin endpoints; `None`: the public port serves them.
    pub(crate) listen: Option<AdminAddress>,
    pub(crate) token: Option<Secret>,
    pub(crate) check: Check,
    pub(crate) check_token: Option<Secret>,
}

/// Requests without a token that have access to a guarded endpoint for which no token is
/// configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tokenless {
    /// Direct requests of loopback peers.
    Loopback,
    /// Direct requests on a Unix socket. The permissions of its file are the access control.
    Socket,
    /// None: a local proxy may pass requests of strangers on, and they look like local ones.
    Refused,
}

impl Admin {
    pub(super) fn merge(flags: &Serve, file: &File) -> Result<Admin, String> {
        let admin = Admin {
            listen: flags
                .admin_listen
                .as_ref()
                .or(file.admin_listen.as_ref())
                .cloned(),
            token: flags
                .admin_token
                .as_ref()
                .or(file.admin_token.as_ref())
                .cloned(),
            check: flags.check.or(file.check).unwrap_or_default(),
            check_token: flags
                .check_token
                .as_ref()
                .or(file.check_token.as_ref())
                .cloned(),
        };
        if admin.check == Check::Open && admin.check_token.is_some() {
            return Err(
                "check_token: expected check = \"guarded\" beside it, got \"open\"".to_owned(),
            );
        }
        Ok(admin)
    }

    /// Returns the ports and paths of this server's own endpoints. `gateway_prefix` is the prefix
    /// of their paths in a gateway.
    pub(super) fn placement(&self, gateway_prefix: Option<&str>) -> Placement {
        Placement {
            gateway_prefix: gateway_prefix.map(str::to_owned),
            has_admin_port: self.listen.is_some(),
            is_check_open: self.check == Check::Open,
        }
    }

    /// Returns the requests without a token that have access. `is_plain_demo`: the public port
    /// serves this machine only, without an upstream and without trusted proxies.
    pub(super) fn tokenless(&self, is_plain_demo: bool) -> Tokenless {
        match &self.listen {
            Some(AdminAddress::Unix(_)) => Tokenless::Socket,
            Some(AdminAddress::Tcp(_)) => Tokenless::Loopback,
            None if is_plain_demo => Tokenless::Loopback,
            None => Tokenless::Refused,
        }
    }

    /// Returns whether the addresses and tokens are safe on a server that listens on `public`.
    pub(super) fn validate(&self, public: SocketAddr, is_gateway: bool) -> Result<(), String> {
        if let Some(listen) = &self.listen {
            if self.token.is_none() && !listen.is_local() {
                return Err(format!(
                    "admin_listen: expected a loopback address, a Unix socket, or admin_token beside it, got {listen}"
                ));
            }
            if public.port() != 0 && *listen == AdminAddress::Tcp(public) {
                return Err(format!(
                    "admin_listen: expected another address than that of listen, got {listen}"
                ));
            }
        }
        if self.serves_this_machine(public, is_gateway) {
            return Ok(());
        }
        self.short_tokens().next().map_or(Ok(()), |(key, length)| {
            Err(format!(
                "{key}: expected at least {MIN_TOKEN_LENGTH} characters, got {length} (fewer only on loopback addresses without an upstream)"
            ))
        })
    }

    /// Logs the tokens that can be guessed.
    pub(super) fn warn_about_short_tokens(&self) {
        for (key, length) in self.short_tokens() {
            tracing::warn!(
                key,
                length,
                "token has fewer than {MIN_TOKEN_LENGTH} characters"
            );
        }
    }

    fn serves_this_machine(&self, public: SocketAddr, is_gateway: bool) -> bool {
        AdminAddress::Tcp(public).is_local()
            && self.listen.as_ref().is_none_or(AdminAddress::is_local)
            && !is_gateway
    }

    /// Returns the keys of short tokens, with the lengths of the tokens.
    fn short_tokens(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("admin_token", &self.token),
            ("check_token", &self.check_token),
        ]
        .into_iter()
        .filter_map(|(key, token)| Some((key, token.as_ref()?.as_str().len())))
        .filter(|(_, length)| *length < MIN_TOKEN_LENGTH)
    }
}

/// Text of the start line: the admin endpoints and the requests that have access to them.
pub(crate) struct OpenEndpoints<'a> {
    pub(super) admin: &'a Admin,
    pub(super) tokenless: Tokenless,
    /// Address of the admin listener, with the port that the system picked.
    pub(super) address: Option<AdminAddress>,
}

impl fmt::Display for OpenEndpoints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Admin {
            token,
            check,
            check_token,
            ..
        } = self.admin;
        f.write_str("admin API: ")?;
        match (&self.address, token, self.tokenless) {
            (Some(address), Some(_), _) => write!(f, "{address}, token")?,
            (Some(address), None, _) => write!(f, "{address}, no token")?,
            (None, Some(_), _) => f.write_str("token")?,
            (None, None, Tokenless::Refused) => {
                f.write_str("closed, needs --admin-token or --admin-listen")?;
            }
            (None, None, _) => f.write_str("this machine, no token")?,
        }
        match (check, check_token) {
            (Check::Open, _) => f.write_str("; /check: open"),
            (Check::Guarded, Some(_)) if token.is_none() => f.write_str("; /check: token"),
            _ => Ok(()),
        }
    }
}
