//! TLS to an upstream: the system must trust the certificate, and it must be valid for the host.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use test_support::{Launch, Server};

/// Creates a self-signed certificate for `localhost`, and its key.
fn create_certificate(directory: &Path) {
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ])
        .current_dir(directory)
        .output()
        .expect("these tests need openssl: apt-get install openssl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts a TLS upstream that responds with `secret` to every request.
fn upstream(directory: &Path) -> SocketAddr {
    let certificates =
        vec![CertificateDer::from_pem_file(directory.join("certificate.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(
        config
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                let mut request = [0; 4096];
                while let Ok(1..) = stream.read(&mut request) {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
                        .unwrap();
                }
            });
        }
    });
    address
}

fn gateway(url: &str, trusted: &Path) -> Server {
    Launch::new()
        .args(&["--upstream", url])
        .env("SSL_CERT_FILE", trusted.to_str().unwrap())
        .start()
}

#[test]
fn an_upstream_with_an_untrusted_certificate_is_502() {
    let directory = TempDir::new().unwrap();
    create_certificate(directory.path());
    let address = upstream(directory.path());
    let trusted = directory.path().join("certificate.pem");
    let server = gateway(&format!("https://localhost:{}", address.port()), &trusted);
    for _ in 0..3 {
        let response = server.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "secret"));
    }
    // The certificate is not valid for the IP address of the same upstream.
    assert_eq!(
        gateway(&format!("https://{address}"), &trusted)
            .get("/")
            .status,
        502
    );

    let other = TempDir::new().unwrap();
    create_certificate(other.path());
    let untrusted = gateway(
        &format!("https://localhost:{}", address.port()),
        &other.path().join("certificate.pem"),
    );
    assert_eq!(untrusted.get("/").status, 502, "signed by another issuer");
}

#[test]
fn a_start_without_trusted_roots_fails() {
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let launch = Launch::new()
        .args(&["--upstream", "https://localhost:1"])
        .env("SSL_CERT_FILE", empty.to_str().unwrap());
    let error = launch
        .env("SSL_CERT_DIR", directory.path().to_str().unwrap())
        .start_error()
        .unwrap();
    assert_eq!(error.code, Some(2), "{}", error.stderr);
    assert!(
        error.stderr.contains("upstream: https://localhost:1"),
        "{}",
        error.stderr
    );
}
