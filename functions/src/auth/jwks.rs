//! JSON Web Key Sets (RFC 7517): which of a set's keys may verify with the one algorithm in use.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// Shortest RSA modulus, in bits (RFC 7518, 3.3).
const RSA_BITS_MIN: usize = 2048;
/// Length of a coordinate on P-256 and of an Ed25519 key, in bytes.
const POINT_LEN: usize = 32;

/// A public key and its `kid`.
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    pub(super) key: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    /// Each is read by itself: a set may hold keys of unknown kinds (RFC 7517, 5).
    keys: Vec<Value>,
}

/// The keys of the set in `json` that fit `algorithm`, perhaps an empty list; `None` if it is no set.
pub(super) fn parse(json: &[u8], algorithm: Algorithm) -> Option<Vec<PublicKey>> {
    let set: Set = serde_json::from_slice(json).ok()?;
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
    Some(keys.filter_map(|key| fitting(key, algorithm)).collect())
}

fn fitting(jwk: Jwk, algorithm: Algorithm) -> Option<PublicKey> {
    let common = jwk.common;
    let verifies = match (&common.public_key_use, &common.key_operations) {
        (None | Some(PublicKeyUse::Signature), None) => true,
        (None | Some(PublicKeyUse::Signature), Some(can)) => can.contains(&KeyOperations::Verify),
        _ => false,
    };
    let alike = common.key_algorithm.is_none_or(|own| own == KeyAlgorithm::from(algorithm));
    if !verifies || !alike {
        return None;
    }
    let key = match (algorithm, jwk.algorithm) {
        (Algorithm::RS256, AlgorithmParameters::RSA(rsa)) => {
            let (modulus, exponent) = (bytes(&rsa.n)?, bytes(&rsa.e)?);
            let modulus = without_leading_zeros(&modulus);
            if bits(modulus) < RSA_BITS_MIN {
                return None;
            }
            DecodingKey::from_rsa_raw_components(modulus, without_leading_zeros(&exponent))
        }
        (Algorithm::ES256, AlgorithmParameters::EllipticCurve(ec))
            if ec.curve == EllipticCurve::P256 && is_point(&ec.x) && is_point(&ec.y) =>
        {
            DecodingKey::from_ec_components(&ec.x, &ec.y).ok()?
        }
        (Algorithm::EdDSA, AlgorithmParameters::OctetKeyPair(ed))
            if ed.curve == EllipticCurve::Ed25519 && is_point(&ed.x) =>
        {
            DecodingKey::from_ed_components(&ed.x).ok()?
        }
        // Among them `oct`: a published secret is not secret.
        _ => return None,
    };
    Some(PublicKey { kid: common.key_id, key })
}

fn bytes(base64: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(base64).ok()
}

fn is_point(base64: &str) -> bool {
    bytes(base64).is_some_and(|bytes| bytes.len() == POINT_LEN)
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    number.len() * 8 - unused as usize
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

    fn base64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn rsa(modulus: &[u8]) -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": base64(modulus), "e": "AQAB" })
    }

    fn ec() -> Value {
        let point = base64(&[7; 32]);
        json!({ "kty": "EC", "kid": "e", "crv": "P-256", "x": point, "y": point })
    }

    fn ed() -> Value {
        json!({ "kty": "OKP", "kid": "d", "crv": "Ed25519", "x": base64(&[7; 32]) })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn kids(keys: &[Value], algorithm: Algorithm) -> Vec<String> {
        let set = json!({ "keys": keys }).to_string();
        let keys = parse(set.as_bytes(), algorithm).expect("a set");
        keys.into_iter().map(|key| key.kid.unwrap_or_default()).collect()
    }

    #[test]
    fn each_algorithm_has_its_kind_of_key() {
        let all = [rsa(&[0xff; 256]), ec(), ed(), json!({ "kty": "oct", "kid": "o", "k": "AAAA" })];
        for (algorithm, kid) in ALGORITHMS.into_iter().zip(["r", "e", "d"]) {
            assert_eq!(kids(&all, algorithm), [kid]);
        }
        // Pinned to a secret, there is no key in any set.
        assert_eq!(kids(&all, Algorithm::HS256), [""; 0]);
    }

    #[test]
    fn short_moduli_are_refused_however_they_are_written() {
        let mut just_short = [0xff; 256];
        just_short[0] = 0x7f;
        let mut padded = [0xff; 257];
        padded[0] = 0;
        let long_zeros = [[0; 128], [0xff; 128]].concat();
        for weak in [&[0xff; 128][..], &just_short, &long_zeros, &[], &[0; 300]] {
            assert_eq!(kids(&[rsa(weak)], Algorithm::RS256), [""; 0], "{}", weak.len());
        }
        assert_eq!(kids(&[rsa(&padded)], Algorithm::RS256), ["r"]);
        assert_eq!(kids(&[rsa(&[0x80; 256])], Algorithm::RS256), ["r"]);
    }

    #[test]
    fn a_key_for_something_else_is_not_used() {
        let strong = || rsa(&[0xff; 256]);
        for (name, value, used) in [
            ("use", json!("sig"), true),
            ("use", json!("enc"), false),
            ("use", json!("SIG"), false),
            ("key_ops", json!(["verify"]), true),
            ("key_ops", json!(["sign"]), false),
            ("key_ops", json!([]), false),
            ("alg", json!("RS256"), true),
            ("alg", json!("RS512"), false),
            ("alg", json!("PS256"), false),
            ("alg", json!("HS256"), false),
            ("alg", json!("none"), false),
            ("kty", json!("EC"), false),
            ("kty", json!("rsa"), false),
            ("n", json!(7), false),
            ("n", json!("not base64!"), false),
        ] {
            let found = kids(&[with(strong(), name, value.clone())], Algorithm::RS256);
            assert_eq!(found.len(), usize::from(used), "{name}: {value}");
        }
        for (name, value) in [
            ("crv", json!("P-384")),
            ("crv", json!("secp256k1")),
            ("x", json!("AAAA")),
            ("y", json!(base64(&[7; 33]))),
        ] {
            assert_eq!(kids(&[with(ec(), name, value)], Algorithm::ES256), [""; 0], "{name}");
        }
        for (name, value) in [("crv", json!("X25519")), ("x", json!(base64(&[7; 31])))] {
            assert_eq!(kids(&[with(ed(), name, value)], Algorithm::EdDSA), [""; 0], "{name}");
        }
    }

    #[test]
    fn unknown_keys_in_a_set_are_ignored() {
        let strange = [json!(null), json!([]), json!({ "kty": "AKP", "alg": "ML-DSA-44" }), ed()];
        assert_eq!(kids(&strange, Algorithm::EdDSA), ["d"]);
        for garbage in ["", "null", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
            assert!(parse(garbage.as_bytes(), Algorithm::EdDSA).is_none(), "{garbage}");
        }
    }
}
