//! Keys of verified tokens, signed by OpenSSL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;
use test_support::{Client, reload::Reloaded};

fn openssl(directory: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output()
        .expect("openssl is missing: apt-get install openssl");
    assert!(output.status.success(), "openssl {arguments}");
    output.stdout
}

/// Issuer with an RSA key.
struct Issuer(TempDir);

impl Issuer {
    fn new() -> Issuer {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        openssl(
            path,
            "genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem",
        );
        openssl(path, "pkey -in key.pem -pubout -out public.pem");
        Issuer(directory)
    }

    fn public_key(&self) -> String {
        fs::read_to_string(self.0.path().join("public.pem")).unwrap()
    }

    fn base64url(&self, bytes: &[u8]) -> String {
        fs::write(self.0.path().join("bytes"), bytes).unwrap();
        let text = openssl(self.0.path(), "base64 -A -in bytes");
        let text = String::from_utf8(text).unwrap();
        let text = text.trim_end().trim_end_matches('=');
        text.replace('+', "-").replace('/', "_")
    }

    fn token(&self, subject: &str, seconds: i64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let claims = format!(r#"{{"sub":"{subject}","exp":{}}}"#, now + seconds);
        let header = self.base64url(br#"{"alg":"RS256","typ":"JWT"}"#);
        let message = format!("{header}.{}", self.base64url(claims.as_bytes()));
        fs::write(self.0.path().join("message"), &message).unwrap();
        let signature = openssl(self.0.path(), "dgst -sha256 -sign key.pem message");
        format!("{message}.{}", self.base64url(&signature))
    }
}

fn config(keys: &Path, limit: &str) -> String {
    format!(
        "[jwt]\nkeys = {keys:?}\nalgorithms = [\"RS256\"]\n[[limits]]\nname = \"user\"\nquota = \"2/year\"\n{limit}"
    )
}

fn status(client: &mut Client, token: &str) -> u16 {
    let value = format!("Bearer {token}");
    client.get_with("/", &[("Authorization", &value)]).status
}

#[test]
fn users_are_limited_by_verified_tokens_and_keys_rotate() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let keys: PathBuf = old.0.path().join("public.pem");
    let text = config(&keys, "key = \"jwt:sub\"");
    let reloaded = Reloaded::start(&text, &[]);
    let mut client = reloaded.server.client();
    let alice = old.token("alice", 600);
    assert_eq!(
        [0, 1, 2].map(|_| status(&mut client, &alice)),
        [200, 200, 429]
    );
    // Another token of the same user.
    assert_eq!(status(&mut client, &old.token("alice", 900)), 429);
    assert_eq!(status(&mut client, &old.token("bob", 600)), 200);
    for token in [&new.token("alice", 600), &old.token("carol", -600), "x"] {
        assert_eq!(status(&mut client, token), 401);
    }
    assert_eq!(client.get("/").status, 401);

    let both = old.public_key() + &new.public_key();
    fs::write(&keys, both).unwrap();
    assert!(reloaded.reload(&text).contains("configuration reloaded"));
    assert_eq!(
        status(&mut client, &new.token("alice", 600)),
        429,
        "the bucket stays"
    );
    assert_eq!(status(&mut client, &new.token("dave", 600)), 200);
    assert_eq!(status(&mut client, &old.token("bob", 600)), 200);

    fs::write(&keys, "nothing").unwrap();
    let outcome = reloaded.reload(&text);
    assert!(
        outcome.contains("not reloaded") && outcome.contains("jwt.keys: "),
        "{outcome}"
    );
    assert_eq!(status(&mut client, &new.token("dave", 600)), 200);
}

#[test]
fn an_invalid_token_is_no_identity() {
    let issuer = Issuer::new();
    let keys = issuer.0.path().join("public.pem");
    let reloaded = Reloaded::start(&config(&keys, "key = \"jwt:sub | ip\""), &[]);
    let mut client = reloaded.server.client();
    // Invented tokens share the bucket of the address.
    assert_eq!(status(&mut client, "a.b.c"), 200);
    assert_eq!(status(&mut client, "d.e.f"), 200);
    assert_eq!(status(&mut client, "g.h.i"), 429);
    assert_eq!(status(&mut client, &issuer.token("alice", 600)), 200);
}
