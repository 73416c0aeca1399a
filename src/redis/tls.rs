//! TLS of Redis connections, with the feature `redis-tls`.

/// Whether this build can connect with TLS.
pub(super) const ENABLED: bool = cfg!(feature = "redis-tls");

/// Ensures that the redis crate finds a rustls crypto provider.
///
/// The crate builds its configuration with `ClientConfig::builder()`, takes no provider as a
/// parameter, and panics if the process has no default and the build enables two providers. So the
/// process-wide default is installed here, but only for a TLS URL, and only if the application has
/// not installed its own.
#[cfg(feature = "redis-tls")]
pub(super) fn ensure_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails if another thread was faster: its provider serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// Does nothing: without the feature, TLS URLs are rejected.
#[cfg(not(feature = "redis-tls"))]
pub(super) fn ensure_provider() {}
