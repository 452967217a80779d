//! Public keys as issuers publish them: a JSON Web Key Set (RFC 7517), of which those are taken that
//! can be used here.
//!
//! A key is for one algorithm: that which it names, and which has to go with its kind. RSA is for
//! RS256, P-256 for ES256 (RFC 7518), Ed25519 for EdDSA (RFC 8037). A token cannot have it used for
//! another: a public RSA key is never taken for the secret of an HMAC. Keys of other kinds, for
//! encryption, or damaged are left out (RFC 7517, section 5), and symmetric ones with them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

/// Algorithms of signatures that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, of 2048 bits or more.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// By its registered name; Ed25519 has two (RFC 8037; RFC 9864).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    /// As many as the constructor allows.
    keys: Vec<Key>,
    /// Those that were there and cannot be used.
    left_out: usize,
}

/// A text that is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It is not JSON, or not of that form.
    #[error("this is no set of keys: {0}")]
    Form(#[from] serde_json::Error),
    /// There are more than one is willing to look at.
    #[error("there are {found} keys, and {most} are the most")]
    Many {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
}

/// One key.
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

/// A key as it is published; members of kinds that are of no use here are not looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Of a private or symmetric key: what has been published with it is known to everybody.
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
}

// === impl KeySet ===

impl KeySet {
    /// Reads a set of at most so many keys, for these algorithms.
    ///
    /// # Errors
    /// When it is none, or has more.
    pub fn parse(text: &[u8], most: usize, allowed: &[Algorithm]) -> Result<Self, KeysError> {
        let published: Published = serde_json::from_slice(text)?;
        let found = published.keys.len();
        if found > most {
            return Err(KeysError::Many { found, most });
        }
        let keys: Vec<Key> = published
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(|key| Key::new(&key))
            .filter(|key| allowed.contains(&key.algorithm))
            .collect();
        Ok(Self {
            left_out: found - keys.len(),
            keys,
        })
    }

    /// How many can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// None can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many were there and cannot be used.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Keys that a token may be signed with: those of its name and algorithm. Of a token that names
    /// none, the only one for its algorithm.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Option<Algorithm>,
    ) -> impl Iterator<Item = &Key> {
        let fits = move |key: &&Key| Some(key.algorithm) == algorithm;
        let only = kid.is_some() || self.keys.iter().filter(fits).count() == 1;
        let named = move |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        self.keys
            .iter()
            .filter(move |key| only && fits(key) && named(key))
    }
}

// === impl Key ===

impl Key {
    fn new(jwk: &Jwk) -> Option<Self> {
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let operations = jwk.key_ops.as_ref();
        let verifies = operations.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies || jwk.d.is_some() || jwk.k.is_some() {
            return None;
        }
        let (algorithm, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", None) => {
                let (n, e) = (number(jwk.n.as_deref()?)?, number(jwk.e.as_deref()?)?);
                // Of less than 2048 bits it would be refused with each token; here once.
                (n.len() >= 256).then_some((Algorithm::Rs256, Material::Rsa { n, e }))?
            }
            ("EC", Some("P-256")) => {
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&fixed::<32>(jwk.x.as_deref()?)?);
                point[33..].copy_from_slice(&fixed::<32>(jwk.y.as_deref()?)?);
                (Algorithm::Es256, Material::P256(point))
            }
            ("OKP", Some("Ed25519")) => {
                let key = fixed::<32>(jwk.x.as_deref()?)?;
                (Algorithm::EdDsa, Material::Ed25519(key))
            }
            _ => return None,
        };
        if let Some(named) = &jwk.alg
            && Algorithm::named(named) != Some(algorithm)
        {
            return None;
        }
        Some(Self {
            kid: jwk.kid.clone(),
            algorithm,
            material,
        })
    }

    /// Whether a signature of a message is by this key.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked = match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
        };
        checked.is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A positive number, without zeros before it.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let number = bytes[zeros..].to_vec();
    (!number.is_empty()).then_some(number)
}

fn fixed<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    fn long(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xAB; bytes])
    }

    fn set(keys: Value) -> KeySet {
        let text = json!({"keys": keys}).to_string();
        KeySet::parse(text.as_bytes(), 100, &ALL).unwrap()
    }

    #[test]
    fn keys_of_known_kinds_are_taken_and_others_left_out() {
        let taken = set(json!([
            {"kty": "RSA", "kid": "r", "n": long(256), "e": "AQAB", "alg": "RS256", "use": "sig"},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": long(32), "y": long(32)},
            {"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": long(32), "key_ops": ["verify"]},
        ]));
        assert_eq!((taken.len(), taken.left_out()), (3, 0));
        for out in [
            json!({"kty": "oct", "k": long(32), "alg": "HS256"}),
            json!({"kty": "RSA", "n": long(256), "e": "AQAB", "alg": "HS256"}),
            json!({"kty": "RSA", "n": long(256), "e": "AQAB", "alg": "RS512"}),
            json!({"kty": "RSA", "n": long(256), "e": "AQAB", "use": "enc"}),
            json!({"kty": "RSA", "n": long(256), "e": "AQAB", "d": "AQAB"}),
            json!({"kty": "RSA", "n": long(256), "e": "AQAB", "key_ops": ["encrypt"]}),
            json!({"kty": "RSA", "n": long(128), "e": "AQAB"}),
            json!({"kty": "RSA", "n": long(256)}),
            json!({"kty": "EC", "crv": "P-384", "x": long(48), "y": long(48)}),
            json!({"kty": "EC", "crv": "P-256", "x": long(31), "y": long(32)}),
            json!({"kty": "EC", "crv": "P-256", "x": long(32), "y": long(32), "alg": "EdDSA"}),
            json!({"kty": "OKP", "crv": "X25519", "x": long(32)}),
            json!({"kid": "nothing"}),
            json!("key"),
        ] {
            let set = set(json!([out.clone()]));
            assert_eq!((set.len(), set.left_out()), (0, 1), "{out}");
        }
    }

    #[test]
    fn only_allowed_algorithms_have_keys() {
        let text = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": long(32)}]}).to_string();
        let set = KeySet::parse(text.as_bytes(), 1, &[Algorithm::Es256]).unwrap();
        assert!(set.is_empty());
    }

    #[test]
    fn a_set_is_bounded_and_has_its_form() {
        let keys: Vec<Value> = (0..5).map(|_| json!({})).collect();
        let text = json!({"keys": keys}).to_string();
        assert!(KeySet::parse(text.as_bytes(), 5, &ALL).is_ok());
        let many = KeySet::parse(text.as_bytes(), 4, &ALL).unwrap_err();
        assert!(matches!(many, KeysError::Many { found: 5, most: 4 }));
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, "<html>"] {
            assert!(KeySet::parse(text.as_bytes(), 5, &ALL).is_err(), "{text}");
        }
    }

    /// The examples that the specifications print: nobody of this house has signed them.
    #[test]
    fn examples_of_the_rfcs_are_verified() {
        const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS\
                           9pc19yb290Ijp0cnVlfQ";
        for (which, key, signed, signature) in [
            (
                "RFC 7515, A.2",
                json!({"kty": "RSA", "e": "AQAB", "n":
                    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ\
                     PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0\
                     LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD\
                     Zlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2\
                     PAcDTW9gb54h4FRWyuXpoQ"}),
                format!("eyJhbGciOiJSUzI1NiJ9.{JOE}"),
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
                 _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArL\
                 IARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no\
                 OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
                 Ge77Rw",
            ),
            (
                "RFC 7515, A.3",
                json!({"kty": "EC", "crv": "P-256",
                    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
                format!("eyJhbGciOiJFUzI1NiJ9.{JOE}"),
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU\
                 1Q",
            ),
            (
                "RFC 8037, A.4",
                json!({"kty": "OKP", "crv": "Ed25519",
                    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0K\
                 Ag",
            ),
        ] {
            let set = set(json!([key]));
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let [key] = &set.keys[..] else {
                panic!("{which}: the key is not taken");
            };
            assert!(key.has_signed(signed.as_bytes(), &signature), "{which}");
            let changed = format!("{signed}x");
            assert!(!key.has_signed(changed.as_bytes(), &signature), "{which}");
        }
    }

    #[test]
    fn a_token_finds_keys_of_its_name_and_algorithm() {
        let keys = set(json!([
            {"kty": "EC", "kid": "a", "crv": "P-256", "x": long(32), "y": long(32)},
            {"kty": "OKP", "kid": "a", "crv": "Ed25519", "x": long(32)},
            {"kty": "OKP", "kid": "b", "crv": "Ed25519", "x": long(32)},
        ]));
        let found = |kid, algorithm| keys.candidates(kid, Some(algorithm)).count();
        assert_eq!(found(Some("a"), Algorithm::Es256), 1);
        assert_eq!(found(Some("a"), Algorithm::EdDsa), 1);
        assert_eq!(found(Some("a"), Algorithm::Rs256), 0);
        assert_eq!(found(Some("c"), Algorithm::EdDsa), 0);
        assert_eq!(found(None, Algorithm::Es256), 1, "the only one");
        assert_eq!(found(None, Algorithm::EdDsa), 0, "which of the two?");
        assert_eq!(keys.candidates(Some("a"), None).count(), 0);
    }
}
