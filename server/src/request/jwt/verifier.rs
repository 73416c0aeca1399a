//! Signatures of tokens, verified by ring.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::{
    hmac,
    signature::{
        self as keys, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};

/// Verifies, and never signs.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| {
        let verifier = RingVerifier::new(*algorithm, key).ok_or_else(unsupported)?;
        Ok(Box::new(verifier))
    },
    // Only needed to derive JWKs from other keys.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the process verify with ring.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error means that there is a provider already, and only this module installs one.
        let _ = PROVIDER.install_default();
    });
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

/// Key with the algorithm of a token.
struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
    method: Method,
}

#[derive(Clone, Copy)]
enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static RsaParameters),
    Other(&'static dyn VerificationAlgorithm),
}

impl RingVerifier {
    /// Returns `None` when the key is of another family.
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Option<RingVerifier> {
        let (family, method) = match algorithm {
            Algorithm::HS256 => (AlgorithmFamily::Hmac, Method::Hmac(hmac::HMAC_SHA256)),
            Algorithm::HS384 => (AlgorithmFamily::Hmac, Method::Hmac(hmac::HMAC_SHA384)),
            Algorithm::HS512 => (AlgorithmFamily::Hmac, Method::Hmac(hmac::HMAC_SHA512)),
            Algorithm::RS256 => (
                AlgorithmFamily::Rsa,
                Method::Rsa(&keys::RSA_PKCS1_2048_8192_SHA256),
            ),
            Algorithm::RS384 => (
                AlgorithmFamily::Rsa,
                Method::Rsa(&keys::RSA_PKCS1_2048_8192_SHA384),
            ),
            Algorithm::RS512 => (
                AlgorithmFamily::Rsa,
                Method::Rsa(&keys::RSA_PKCS1_2048_8192_SHA512),
            ),
            Algorithm::PS256 => (
                AlgorithmFamily::Rsa,
                Method::Rsa(&keys::RSA_PSS_2048_8192_SHA256),
            ),
            Algorithm::PS384 => (
                AlgorithmFamily::Rsa,
                Method::Rsa(&keys::RSA_PSS_2048_8192_SHA384),
            ),
            Algorithm::PS512 => (
                AlgorithmFamily::Rsa,
                Method::Rsa(&keys::RSA_PSS_2048_8192_SHA512),
            ),
            Algorithm::ES256 => (
                AlgorithmFamily::Ec,
                Method::Other(&keys::ECDSA_P256_SHA256_FIXED),
            ),
            Algorithm::ES384 => (
                AlgorithmFamily::Ec,
                Method::Other(&keys::ECDSA_P384_SHA384_FIXED),
            ),
            Algorithm::EdDSA => (AlgorithmFamily::Ed, Method::Other(&keys::ED25519)),
            _ => return None,
        };
        (key.family() == family).then(|| RingVerifier {
            algorithm,
            key: key.clone(),
            method,
        })
    }

    fn is_valid(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self.method, self.key.kind()) {
            (Method::Hmac(algorithm), DecodingKeyKind::SecretOrDer(secret)) => {
                let key = hmac::Key::new(algorithm, secret);
                hmac::verify(&key, message, signature).is_ok()
            }
            (Method::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }
            (Method::Rsa(parameters), DecodingKeyKind::SecretOrDer(der)) => {
                let key = UnparsedPublicKey::new(parameters, der);
                key.verify(message, signature).is_ok()
            }
            (Method::Other(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                let key = UnparsedPublicKey::new(algorithm, point);
                key.verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        if self.is_valid(message, signature) {
            Ok(())
        } else {
            Err(signature::Error::new())
        }
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
