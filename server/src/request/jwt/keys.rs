//! Keys of a file: a JWKS, or public keys in PEM.

use std::ops::RangeInclusive;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

/// Maximum number of keys. A token without a key id may have to be tried with each of them.
const MAX_KEYS: usize = 32;

/// Fewest bytes of a shared secret: as many as a hash of SHA-256 (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;

/// Lengths in bits of the RSA keys with which ring verifies.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Key of an issuer.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Id of the key, which tokens name.
    pub(super) id: Option<String>,
    /// Accepted algorithms.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Parses the keys that verify with one of these algorithms.
///
/// # Errors
/// The text has no such key, or one that cannot be read.
pub(super) fn parse(text: &str, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    let keys = if text.trim_start().starts_with('{') {
        let set: JwkSet = serde_json::from_str(text)
            .map_err(|error| format!("expected a JWKS, got {}", shown(&error)))?;
        let keys = set.keys.iter().map(|jwk| of_jwk(jwk, algorithms));
        keys.filter_map(Result::transpose)
            .collect::<Result<Vec<_>, _>>()?
    } else {
        pems(text)?
            .into_iter()
            .map(|key| Key {
                id: None,
                algorithms: of_family(key.family(), algorithms).collect(),
                key,
            })
            .collect()
    };
    let numbered = keys.into_iter().enumerate();
    let usable = numbered.filter(|(_, key)| !key.algorithms.is_empty());
    let usable = usable.map(|(index, key)| match rsa_bits(&key.key) {
        Some(bits) if !RSA_BITS.contains(&bits.next_multiple_of(8)) => {
            let name = match &key.id {
                Some(id) => format!("key {id:?}"),
                None => format!("key number {}", index + 1),
            };
            let (min, max) = (RSA_BITS.start(), RSA_BITS.end());
            Err(format!(
                "{name}: expected an RSA key of {min} to {max} bits, got {bits}"
            ))
        }
        _ => Ok(key),
    });
    let usable: Vec<_> = usable.collect::<Result<_, _>>()?;
    match usable.len() {
        0 => Err(format!("expected a key for {algorithms:?}, got none")),
        1..=MAX_KEYS => Ok(usable),
        count => Err(format!("expected at most {MAX_KEYS} keys, got {count}")),
    }
}

/// Returns an error without the value, which may be a secret.
fn shown(error: &serde_json::Error) -> String {
    let message = error.to_string();
    if error.is_data() && !message.starts_with("missing field") {
        let (line, column) = (error.line(), error.column());
        format!("another value at line {line} column {column}")
    } else {
        message
    }
}

fn of_family(family: AlgorithmFamily, algorithms: &[Algorithm]) -> impl Iterator<Item = Algorithm> {
    let accepted = algorithms.iter().copied();
    accepted.filter(move |algorithm| algorithm.family() == family)
}

/// Returns `None` for a key that signs nothing, or of a kind that is not supported.
fn of_jwk(jwk: &Jwk, algorithms: &[Algorithm]) -> Result<Option<Key>, String> {
    let signs = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let curve = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => Some(&key.curve),
        AlgorithmParameters::OctetKeyPair(key) => Some(&key.curve),
        AlgorithmParameters::RSA(_) | AlgorithmParameters::OctetKey(_) => None,
        _ => return Ok(None),
    };
    if !signs {
        return Ok(None);
    }
    let invalid = |reason: &str| {
        let id = jwk.common.key_id.as_deref().unwrap_or("without kid");
        // Quoted, so that an id with line breaks is one line.
        format!("key {id:?}: {reason}")
    };
    let key = DecodingKey::from_jwk(jwk).map_err(|error| invalid(&error.to_string()))?;
    if key.family() == AlgorithmFamily::Hmac
        && key
            .try_get_as_bytes()
            .is_ok_and(|secret| secret.len() < MIN_SECRET)
    {
        return Err(invalid(&format!(
            "expected a secret of at least {MIN_SECRET} bytes"
        )));
    }
    let is_of_curve = |algorithm: &Algorithm| match (algorithm, curve) {
        (Algorithm::ES256, Some(curve)) => *curve == EllipticCurve::P256,
        (Algorithm::ES384, Some(curve)) => *curve == EllipticCurve::P384,
        (Algorithm::EdDSA, Some(curve)) => *curve == EllipticCurve::Ed25519,
        _ => true,
    };
    let named = jwk.common.key_algorithm;
    // A key that names another algorithm, such as one of encryption, verifies nothing.
    let is_named =
        |algorithm: &Algorithm| named.is_none_or(|named| named == KeyAlgorithm::from(*algorithm));
    let accepted = of_family(key.family(), algorithms);
    Ok(Some(Key {
        id: jwk.common.key_id.clone(),
        algorithms: accepted.filter(is_of_curve).filter(is_named).collect(),
        key,
    }))
}

/// Returns the length of the modulus of an RSA key in bits.
fn rsa_bits(key: &DecodingKey) -> Option<usize> {
    let modulus = match key.kind() {
        _ if key.family() != AlgorithmFamily::Rsa => return None,
        DecodingKeyKind::RsaModulusExponent { n, .. } => n,
        // A sequence of modulus and exponent (PKCS #1).
        DecodingKeyKind::SecretOrDer(der) => der_content(0x02, der_content(0x30, der)?)?,
    };
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = |first: &u8| 8 * (modulus.len() - zeros) - first.leading_zeros() as usize;
    Some(modulus.get(zeros).map_or(0, bits))
}

/// Returns the content of the element of this tag at the beginning of a text in DER.
fn der_content(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    // Long lengths follow in as many bytes as the lower bits say.
    let (length, rest) = match length {
        0..0x80 => (usize::from(length), rest),
        0x80.. => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let add =
                |length: usize, byte: &u8| length.checked_mul(256)?.checked_add((*byte).into());
            (bytes.iter().try_fold(0, add)?, rest)
        }
    };
    rest.get(..length)
}

fn pems(text: &str) -> Result<Vec<DecodingKey>, String> {
    const BEGIN: &str = "-----BEGIN ";
    let starts = text.match_indices(BEGIN).map(|(at, _)| at);
    let starts: Vec<_> = starts.chain([text.len()]).collect();
    let blocks = starts.windows(2).map(|range| &text[range[0]..range[1]]);
    let keys = blocks.enumerate().map(|(index, block)| {
        let number = index + 1;
        if block.contains("PRIVATE KEY") {
            return Err(format!("expected public keys, got a private one at number {number}"));
        }
        let block = block.as_bytes();
        DecodingKey::from_rsa_pem(block)
            .or_else(|_| DecodingKey::from_ec_pem(block))
            .or_else(|_| DecodingKey::from_ed_pem(block))
            .map_err(|_| format!("expected public keys of RSA, P-256, P-384 or Ed25519, got another at number {number}"))
    });
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err("expected a JWKS or public keys in PEM, got neither".to_owned());
    }
    Ok(keys)
}
