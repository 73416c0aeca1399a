//! Address of the admin listener: an IP address and a port, or a Unix socket.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::parse::Value;

/// Address of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl AdminAddress {
    /// Returns true if only this machine can connect to the address.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            AdminAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            AdminAddress::Unix(_) => true,
        }
    }
}

impl Value for AdminAddress {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an IP address and a port, such as 127.0.0.1:9000, or a socket, such as unix:/run/tollgate.sock",
        )
    }

    fn from_text(text: &str) -> Option<AdminAddress> {
        match socket_path(text) {
            Some(path) => Some(AdminAddress::Unix(path.to_owned())),
            None => text.parse().ok().map(AdminAddress::Tcp),
        }
    }
}

/// Returns the path in `unix:/path` or `unix:///path`. A path that is not absolute would depend on
/// the working directory.
pub(crate) fn socket_path(text: &str) -> Option<&Path> {
    let path = text.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (path.starts_with('/') && !path.ends_with('/') && !path.contains('\0')).then(|| Path::new(path))
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Tcp(address) => write!(f, "http://{address}"),
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_addresses_and_paths() {
        for (text, shown, is_local) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000", true),
            ("[::1]:0", "http://[::1]:0", true),
            ("[::ffff:127.0.0.1]:1", "http://[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:9000", "http://0.0.0.0:9000", false),
            ("unix:/run/a.sock", "unix:/run/a.sock", true),
            ("unix:///run/a.sock", "unix:/run/a.sock", true),
        ] {
            let address = AdminAddress::from_text(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (&*address.to_string(), address.is_local()),
                (shown, is_local)
            );
        }
        for text in [
            "",
            "unix:",
            "unix:a",
            "unix://a",
            "unix:/",
            "unix:/a/",
            "/run/a.sock",
            "9000",
            "localhost:9000",
            "127.0.0.1",
        ] {
            assert_eq!(AdminAddress::from_text(text), None, "{text}");
        }
    }
}
