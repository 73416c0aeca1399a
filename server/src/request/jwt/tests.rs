//! Tests of tokens, signed by ring.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::{
    hmac,
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

/// Issuer with a key of each kind.
struct Issuer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    random: SystemRandom,
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sextets = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let count = chunk.len() + 1;
        (0..count)
            .map(|index| char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]))
            .collect::<String>()
    };
    bytes.chunks(3).map(sextets).collect()
}

/// JWKS with a secret.
pub(crate) fn jwks_of_secret() -> String {
    json!({"keys": [{"kty": "oct", "k": base64(SECRET)}]}).to_string()
}

/// Token that the secret has signed, with these claims, and an expiry some seconds from now.
pub(crate) fn signed_by_secret(mut claims: Value, expires_in: i64) -> String {
    claims["exp"] = (now() as i64 + expires_in).into();
    sign_by_secret(&json!({"alg": "HS256"}), &claims)
}

fn sign_by_secret(header: &Value, claims: &Value) -> String {
    let encoded = |value: &Value| base64(value.to_string().as_bytes());
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64(signature.as_ref()))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn options(algorithms: &[Algorithm]) -> JwtOptions {
    JwtOptions {
        algorithms: algorithms.to_vec(),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::from_secs(10),
        cookie: None,
    }
}

impl Issuer {
    fn new() -> Issuer {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Issuer {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(kind, ec.as_ref(), &random).unwrap(),
            random,
        }
    }

    fn keys(&self) -> Vec<Value> {
        let point = self.ec.public_key().as_ref();
        vec![
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": base64(self.ed.public_key().as_ref())}),
            json!({"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "x": base64(&point[1..33]), "y": base64(&point[33..])}),
            json!({"kty": "oct", "kid": "secret", "k": base64(SECRET)}),
        ]
    }

    fn jwks(&self) -> String {
        json!({ "keys": self.keys() }).to_string()
    }

    fn verifier(&self, algorithms: &[Algorithm]) -> Jwt {
        Jwt::new(&self.jwks(), options(algorithms)).unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| base64(value.to_string().as_bytes());
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let bytes = message.as_bytes();
        let signature = match header["alg"].as_str().unwrap() {
            "EdDSA" => self.ed.sign(bytes).as_ref().to_vec(),
            "ES256" => self.ec.sign(&self.random, bytes).unwrap().as_ref().to_vec(),
            "HS256" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), bytes)
                .as_ref()
                .to_vec(),
            _ => Vec::new(),
        };
        format!("{message}.{}", base64(&signature))
    }

    fn token(&self, algorithm: &str) -> String {
        self.sign(
            &json!({"alg": algorithm}),
            &json!({"sub": "alice", "exp": now() + 60}),
        )
    }
}

fn sub(jwt: &Jwt, token: &str) -> Option<String> {
    jwt.verify(token).ok()?.text("sub")
}

const ALL: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::HS256];

#[test]
fn valid_tokens_have_claims() {
    let issuer = Issuer::new();
    let jwt = issuer.verifier(&ALL);
    for algorithm in ["EdDSA", "ES256", "HS256"] {
        assert_eq!(
            sub(&jwt, &issuer.token(algorithm)).as_deref(),
            Some("alice"),
            "{algorithm}"
        );
    }
    let claims = json!({"exp": now() + 60, "id": 7, "vip": true, "of": [1], "none": null, "empty": "", "long": "x".repeat(1025)});
    let claims = jwt
        .verify(&issuer.sign(&json!({"alg": "EdDSA"}), &claims))
        .unwrap();
    assert_eq!(claims.text("id").as_deref(), Some("7"));
    assert_eq!(claims.text("vip").as_deref(), Some("true"));
    for name in ["of", "none", "empty", "long", "missing"] {
        assert_eq!(claims.text(name), None, "{name}");
    }
}

#[test]
fn only_listed_algorithms_count() {
    let issuer = Issuer::new();
    let jwt = issuer.verifier(&[Algorithm::EdDSA]);
    assert!(sub(&jwt, &issuer.token("EdDSA")).is_some());
    for algorithm in ["ES256", "HS256", "none"] {
        assert_eq!(sub(&jwt, &issuer.token(algorithm)), None, "{algorithm}");
    }
    // The public key as the secret of an HMAC.
    let jwt = issuer.verifier(&[Algorithm::EdDSA, Algorithm::HS256]);
    let message = issuer.token("HS256");
    let (message, _) = message.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.ed.public_key().as_ref());
    let forged = base64(hmac::sign(&key, message.as_bytes()).as_ref());
    assert_eq!(sub(&jwt, &format!("{message}.{forged}")), None);
}

#[test]
fn changed_tokens_are_invalid() {
    let issuer = Issuer::new();
    let jwt = issuer.verifier(&ALL);
    let token = issuer.token("EdDSA");
    for index in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character has unused bits.
        if index + 1 < token.len() {
            assert_eq!(sub(&jwt, &changed), None, "{index}");
        }
    }
    let another = Issuer::new().token("EdDSA");
    for token in [
        "",
        ".",
        "..",
        "a.b.c",
        &token[..token.len() - 10],
        &format!("{token}.a"),
        &another,
    ] {
        assert_eq!(sub(&jwt, token), None, "{token}");
    }
    let long = json!({"sub": "x".repeat(Jwt::MAX_LENGTH), "exp": now() + 60});
    assert!(
        jwt.verify(&issuer.sign(&json!({"alg": "EdDSA"}), &long))
            .is_err()
    );
}

#[test]
fn times_are_checked() {
    let issuer = Issuer::new();
    let jwt = issuer.verifier(&ALL);
    let is_valid =
        |claims: Value| sub(&jwt, &issuer.sign(&json!({"alg": "EdDSA"}), &claims)).is_some();
    let with = |exp: u64, nbf: u64| json!({"sub": "a", "exp": exp, "nbf": nbf});
    assert!(is_valid(with(now() + 60, now() - 60)));
    assert!(is_valid(with(now() - 3, now() + 3)), "within the leeway");
    assert!(!is_valid(with(now() - 30, now() - 60)), "expired");
    assert!(!is_valid(with(now() + 60, now() + 30)), "not yet");
    assert!(!is_valid(json!({"sub": "a"})), "no exp");
    assert!(!is_valid(json!({"sub": "a", "exp": "never"})));
    assert!(!is_valid(
        json!({"sub": "a", "exp": now() + 60, "nbf": "soon"})
    ));
}

#[test]
fn issuer_and_audience_are_required_when_they_are_configured() {
    let issuer = Issuer::new();
    let jwt = Jwt::new(
        &issuer.jwks(),
        JwtOptions {
            issuers: vec!["https://id.example".to_owned()],
            audiences: vec!["api".to_owned(), "web".to_owned()],
            ..options(&ALL)
        },
    );
    let jwt = jwt.unwrap();
    let is_valid = |mut claims: Value| {
        claims["sub"] = "a".into();
        claims["exp"] = (now() + 60).into();
        sub(&jwt, &issuer.sign(&json!({"alg": "EdDSA"}), &claims)).is_some()
    };
    assert!(is_valid(json!({"iss": "https://id.example", "aud": "api"})));
    assert!(is_valid(
        json!({"iss": "https://id.example", "aud": ["other", "web"]})
    ));
    assert!(!is_valid(
        json!({"iss": "https://evil.example", "aud": "api"})
    ));
    assert!(!is_valid(
        json!({"iss": "https://id.example", "aud": "other"})
    ));
    assert!(!is_valid(json!({"aud": "api"})));
    assert!(!is_valid(json!({"iss": "https://id.example"})));
    // Without them, any audience.
    let any = issuer.verifier(&ALL);
    let claims = json!({"sub": "a", "exp": now() + 60, "aud": "other"});
    assert!(sub(&any, &issuer.sign(&json!({"alg": "EdDSA"}), &claims)).is_some());
}

#[test]
fn the_key_id_chooses_the_key() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let rotated = |issuers: &[(&str, &Issuer)]| {
        let keys = issuers.iter().map(|(id, issuer)| {
            let mut key = issuer.keys().swap_remove(0);
            key["kid"] = (*id).into();
            key
        });
        let keys: Vec<_> = keys.collect();
        Jwt::new(&json!({ "keys": keys }).to_string(), options(&ALL)).unwrap()
    };
    let claims = json!({"sub": "a", "exp": now() + 60});
    let signed =
        |issuer: &Issuer, id: &str| issuer.sign(&json!({"alg": "EdDSA", "kid": id}), &claims);
    let both = rotated(&[("1", &old), ("2", &new)]);
    assert!(sub(&both, &signed(&old, "1")).is_some());
    assert!(sub(&both, &signed(&new, "2")).is_some());
    assert_eq!(sub(&both, &signed(&new, "1")), None);
    assert_eq!(sub(&both, &signed(&new, "3")), None);
    assert!(
        sub(&both, &new.token("EdDSA")).is_some(),
        "without an id, all keys"
    );
    let later = rotated(&[("2", &new)]);
    assert_eq!(sub(&later, &signed(&old, "1")), None);
}

#[test]
fn critical_extensions_are_refused() {
    let issuer = Issuer::new();
    let claims = json!({"sub": "a", "exp": now() + 60});
    let token = issuer.sign(
        &json!({"alg": "EdDSA", "crit": ["b64"], "b64": false}),
        &claims,
    );
    assert_eq!(sub(&issuer.verifier(&ALL), &token), None);
}

#[test]
fn errors_of_keys_do_not_show_secrets() {
    let error = |keys: Value| Jwt::new(&keys.to_string(), options(&ALL)).unwrap_err();
    let secret = base64(SECRET);
    for keys in [
        json!({"keys": secret}),
        json!({"keys": [secret]}),
        json!({"keys": [{"kty": secret}]}),
        json!({"keys": [{"kty": "oct", "k": [secret]}]}),
        json!({"keys": [{"kty": "oct", "k": secret, "key_ops": secret}]}),
        json!({"keys": [{"kty": "oct", "k": secret, "x5c": secret}]}),
        json!({"keys": [{"kty": "EC", "crv": secret, "x": "", "y": ""}]}),
    ] {
        let line = error(keys.clone());
        assert!(!line.contains(&secret), "{keys}: {line}");
    }
    let empty = error(json!({}));
    assert!(empty.contains("missing field `keys`"), "{empty}");
}

#[test]
fn unusable_keys_are_refused() {
    let issuer = Issuer::new();
    let error =
        |keys: &str, algorithms: &[Algorithm]| Jwt::new(keys, options(algorithms)).unwrap_err();
    assert_eq!(
        error(&issuer.jwks(), &[Algorithm::RS256]),
        "expected a key for [RS256], got none"
    );
    assert_eq!(
        error("", &ALL),
        "expected a JWKS or public keys in PEM, got neither"
    );
    assert!(error("{", &ALL).starts_with("expected a JWKS, got "));
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        error(private, &ALL),
        "expected public keys, got a private one at number 1"
    );
    let broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert!(error(broken, &ALL).ends_with("got another at number 1"));
    let short = json!({"keys": [{"kty": "oct", "kid": "s", "k": base64(b"secret")}]});
    assert_eq!(
        error(&short.to_string(), &ALL),
        "key \"s\": expected a secret of at least 32 bytes"
    );
    let encryption_only =
        json!({"keys": [{"kty": "RSA", "use": "enc", "n": base64(&[1; 64]), "e": "AQAB"}]});
    assert_eq!(
        error(&encryption_only.to_string(), &[Algorithm::RS256]),
        "expected a key for [RS256], got none"
    );
    let broken_id = json!({"keys": [{"kty": "oct", "kid": "a\nb", "k": ""}]});
    assert!(error(&broken_id.to_string(), &ALL).starts_with(r#"key "a\nb": "#));
    let mut encryption = issuer.keys();
    encryption.truncate(1);
    encryption[0]["use"] = "enc".into();
    let encryption = json!({ "keys": encryption }).to_string();
    assert_eq!(
        error(&encryption, &[Algorithm::EdDSA]),
        "expected a key for [EdDSA], got none"
    );
    // A key for another algorithm, and one of an unknown kind, do no harm.
    let mut keys = issuer.keys();
    keys[1]["alg"] = "RSA-OAEP".into();
    keys.push(json!({"kty": "new", "kid": "x"}));
    let jwt = Jwt::new(&json!({ "keys": keys }).to_string(), options(&ALL)).unwrap();
    assert_eq!(sub(&jwt, &issuer.token("ES256")), None);
    assert!(sub(&jwt, &issuer.token("EdDSA")).is_some());
}

#[test]
fn rsa_keys_of_other_lengths_are_refused() {
    let keys = |text: &str| Jwt::new(text, options(&[Algorithm::RS256])).map(drop);
    let jwks = |id: Value, modulus: &[u8]| {
        let key = json!({"kty": "RSA", "kid": id, "n": base64(modulus), "e": "AQAB"});
        keys(&json!({ "keys": [key] }).to_string())
    };
    let error = |bits: usize| {
        Err(format!(
            "key \"a\": expected an RSA key of 2048 to 8192 bits, got {bits}"
        ))
    };
    assert_eq!(jwks("a".into(), &[0xaa; 128]), error(1024));
    assert_eq!(jwks("a".into(), &[0x0a; 255]), error(2036));
    assert_eq!(jwks("a".into(), &[0xaa; 1025]), error(8200));
    // Zeros at the beginning do not count.
    let padded = [vec![0; 200], vec![0x55; 100]].concat();
    assert_eq!(jwks("a".into(), &padded), error(799));
    assert_eq!(jwks("a".into(), &[0; 256]), error(0));
    for length in [256, 512, 1024] {
        assert_eq!(jwks("a".into(), &vec![0xaa; length]), Ok(()), "{length}");
    }
    // PKCS #1, whose numbers have a sign. The alphabets of base64 differ in no character of it.
    let pem = |modulus: usize| {
        let length = |bytes: usize| [&[0x82], &(bytes as u16).to_be_bytes()[..]].concat();
        let number = [&[2], &length(modulus + 1)[..], &[0], &vec![0xaa; modulus]].concat();
        let exponent = [2, 3, 1, 0, 1];
        let content = [number, exponent.into()].concat();
        let der = [&[0x30], &length(content.len())[..], &content].concat();
        let text = base64(&der);
        let padding = "=".repeat(text.len().next_multiple_of(4) - text.len());
        assert!(!text.contains(['-', '_']), "{text}");
        format!("-----BEGIN RSA PUBLIC KEY-----\n{text}{padding}\n-----END RSA PUBLIC KEY-----\n")
    };
    assert_eq!(
        keys(&(pem(256) + &pem(128))),
        Err("key number 2: expected an RSA key of 2048 to 8192 bits, got 1024".to_owned())
    );
    assert_eq!(keys(&(pem(256) + &pem(1024))), Ok(()));
}
