//! JSON web tokens: only those that a key has signed count, and texts of keys are parsed or refused.
//!
//! The first byte selects the kind of the input: a value of `Authorization`, a token to sign, the
//! subject of a valid token, or a text of keys.
#![no_main]

use std::sync::LazyLock;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ring::{hmac, rand::SystemRandom};
use serde_json::{Value, json};
use tollgate_server::fuzz::Tokens;

/// Secret of the key `hs` in [`KEYS`].
const SECRET: &[u8] = b"fuzzed secret of thirty-two byte";
/// The same as a JWKS spells it.
const SPELLED_SECRET: &str = "ZnV6emVkIHNlY3JldCBvZiB0aGlydHktdHdvIGJ5dGU";

const SEED_OF_KEYS: &str = include_str!("../seeds/tokens/jwks");
/// Tokens whose private keys are in no file.
const SIGNED: [&str; 3] = [
    include_str!("../seeds/tokens/rs256"),
    include_str!("../seeds/tokens/es256"),
    include_str!("../seeds/tokens/eddsa"),
];
const ALGORITHMS: [&[&str]; 4] = [
    &["HS256", "RS256", "ES256", "EdDSA"],
    &["HS256", "HS384", "HS512"],
    &["HS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
    &["HS256", "ES256", "ES384"],
];

/// Time at which the valid tokens expire: the year 2100.
const EXPIRES: u64 = 4_102_444_800;
/// A moment before the release of the tests: a token that expired earlier is never valid.
const PAST: f64 = 1_767_225_600.0;

static KEYS: LazyLock<Tokens> =
    LazyLock::new(|| Tokens::new(&SEED_OF_KEYS[2..], ALGORITHMS[0]).expect("the keys are valid"));

/// Secret that no input contains.
static UNKNOWN: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let random = ring::rand::generate(&SystemRandom::new());
    random.expect("the system has random bytes").expose()
});

fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn signature(message: &str, secret: &[u8]) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, message.as_bytes())
}

fn sign(header: &[u8], claims: &[u8], secret: &[u8]) -> String {
    let message = format!("{}.{}", base64(header), base64(claims));
    let signature = base64(signature(&message, secret).as_ref());
    format!("{message}.{signature}")
}

fn claims(subject: &str) -> Vec<u8> {
    json!({"sub": subject, "exp": EXPIRES}).to_string().into()
}

/// Returns the subject of a request with this value of `Authorization`.
fn subject(tokens: &Tokens, authorization: &[u8]) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(authorization).ok()?);
    tokens.subject(&headers)
}

fn subject_of(tokens: &Tokens, token: &str) -> Option<String> {
    subject(tokens, format!("Bearer {token}").as_bytes())
}

/// A token that counts is one of the seeds, or has the signature of the secret.
fn check_value(value: &[u8]) {
    let Some(found) = subject(&KEYS, value) else {
        return;
    };
    let value = str::from_utf8(value).expect("a token is text");
    let (message, signed) = value.rsplit_once('.').expect("a token has parts");
    let message = message.split_once(' ').map_or(message, |(_, token)| token);
    let has_message = |seed: &&str| seed["tBearer ".len()..].starts_with(&format!("{message}."));
    if SIGNED.iter().any(|seed| has_message(&seed)) {
        return assert_eq!(found, "alice", "{value}");
    }
    let expected = signature(message, SECRET);
    assert_eq!(signed, base64(expected.as_ref()), "{value}");
}

/// A signed token counts only with valid claims, and no changed one counts.
fn check_signed(position: u8, header: &[u8], claims: &[u8]) {
    let token = sign(header, claims, SECRET);
    if let Some(subject) = subject_of(&KEYS, &token) {
        let header: Value = serde_json::from_slice(header).expect("the header is JSON");
        assert_eq!(header["alg"], "HS256");
        assert!(header.get("crit").is_none_or(Value::is_null), "{header}");
        assert!(header["kid"].is_null() || header["kid"] == "hs", "{header}");
        let claims: Value = serde_json::from_slice(claims).expect("the claims are JSON");
        assert!(claims["exp"].as_f64().expect("a number") > PAST, "{claims}");
        assert!((1..=1024).contains(&subject.len()), "{subject}");
    }
    let mut changed = token.into_bytes();
    let index = changed.len() * usize::from(position) / 256;
    // The last character of the signature has unused bits.
    if index + 1 < changed.len() {
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("a token is ASCII");
        assert_eq!(subject_of(&KEYS, &changed), None, "{changed}");
    }
}

/// A valid token with a subject that is not too long counts.
fn check_subject(subject: &str) {
    let token = sign(br#"{"alg":"HS256"}"#, &claims(subject), SECRET);
    let is_valid = (1..=1024).contains(&subject.len());
    let expected = is_valid.then_some(subject);
    assert_eq!(subject_of(&KEYS, &token).as_deref(), expected);
}

/// An error is one line without the secret. No key verifies a token of another one, nor one whose secret
/// is public.
fn check_keys(algorithms: &[&str], text: &str) {
    let document = serde_json::from_str::<Value>(text).unwrap_or_default();
    let keys = || document["keys"].as_array().into_iter().flatten();
    let tokens = match Tokens::new(text, algorithms) {
        Ok(tokens) => tokens,
        Err(line) => {
            assert!(!line.is_empty() && !line.contains(['\n', '\r']), "{line}");
            // An error names the id of its key.
            let is_id = |id: &Value| id.as_str().is_some_and(|id| id.contains(SPELLED_SECRET));
            let is_named = keys().any(|key| is_id(&key["kid"]));
            assert!(is_named || !line.contains(SPELLED_SECRET), "{line}");
            return;
        }
    };
    let mut secrets = vec![Vec::new(), UNKNOWN.to_vec(), text.as_bytes().to_vec()];
    let public = |key: &&Value| key["kty"] != "oct";
    for value in keys().filter(public).filter_map(Value::as_object).flatten() {
        let Some(text) = value.1.as_str() else {
            continue;
        };
        secrets.push(text.as_bytes().to_vec());
        secrets.extend(BASE64_URL_SAFE_NO_PAD.decode(text));
    }
    for block in text.split("-----") {
        let text: String = block.split_ascii_whitespace().collect();
        secrets.extend(
            BASE64_STANDARD
                .decode(text)
                .ok()
                .filter(|der| !der.is_empty()),
        );
    }
    for secret in secrets {
        let token = sign(br#"{"alg":"HS256"}"#, &claims("alice"), &secret);
        // The secret may be that of a secret key as well.
        let is_secret = |key: &Value| {
            let spelled = key["k"].as_str().unwrap_or_default();
            key["kty"] == "oct" && BASE64_URL_SAFE_NO_PAD.decode(spelled) == Ok(secret.clone())
        };
        let found = subject_of(&tokens, &token);
        assert!(found.is_none() || keys().any(is_secret), "{token}");
        let (message, _) = token.rsplit_once('.').expect("a token has parts");
        assert_eq!(subject_of(&tokens, &format!("{message}.")), None, "{token}");
    }
    let none = sign(br#"{"alg":"none"}"#, &claims("alice"), &[]);
    assert_eq!(subject_of(&tokens, &none), None, "{none}");
}

fuzz_target!(|data: &[u8]| match data {
    [b't', value @ ..] => check_value(value),
    [b's', position, text @ ..] => {
        let mut parts = text.splitn(2, |byte| *byte == b'\n');
        if let (Some(header), Some(claims)) = (parts.next(), parts.next()) {
            check_signed(*position, header, claims);
        }
    }
    [b'n', subject @ ..] => {
        if let Ok(subject) = str::from_utf8(subject) {
            check_subject(subject);
        }
    }
    [b'k', algorithms, text @ ..] => {
        if let Ok(text) = str::from_utf8(text) {
            check_keys(ALGORITHMS[usize::from(algorithms & 3)], text);
        }
    }
    _ => {}
});
