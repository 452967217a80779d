//! Ed25519 keys (RFC 8032), and the files that they come in.
//!
//! Written as PEM: a private key as PKCS #8 (RFC 8410 section 7, the form that OpenSSL writes), a
//! public one as SubjectPublicKeyInfo (section 4). Read are these, and the forms of the
//! WebAssembly tool conventions: `0x81` and 64 bytes, `0x01` and 32 bytes.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use sha2::Sha256;

const SEED: usize = 32;
/// DER of a PKCS #8 key in front of its seed.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// DER of a SubjectPublicKeyInfo in front of its point.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const RAW_PUBLIC: u8 = 0x01;
const RAW_PAIR: u8 = 0x81;

/// A file is no key of the kind that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A private key stands where a public one belongs.
    #[error(
        "this is a private key; name the public one (`tollgate plugin keygen` writes both), and \
         keep the private one where components are signed"
    )]
    Private,
    /// A public key stands where a private one belongs.
    #[error("this is a public key, and signing takes the private one")]
    Public,
    /// Another algorithm, or no key.
    #[error(
        "this is no Ed25519 key: PEM with `{wanted}` is wanted, as `tollgate plugin keygen` or \
         `openssl genpkey -algorithm ed25519` writes it"
    )]
    Unknown {
        /// What stands between the dashes of its first line.
        wanted: &'static str,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// What a signature calls its key: 12 bytes, derived from the key as wasmsign2 does.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyId(pub(crate) Vec<u8>);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A key that checks signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl PublicKey {
    /// Reads a file's content.
    ///
    /// # Errors
    /// When it is no public key of Ed25519.
    pub fn parse(file: &[u8]) -> Result<Self, KeyError> {
        let unknown = KeyError::Unknown {
            wanted: "BEGIN PUBLIC KEY",
        };
        if let [RAW_PUBLIC, key @ ..] = file
            && let Ok(key) = key.try_into()
        {
            return Ok(Self(key));
        }
        if let Ok(der) = SubjectPublicKeyInfoDer::from_pem_slice(file) {
            let key = der.as_ref().strip_prefix(&SPKI);
            return key
                .and_then(|key| key.try_into().ok())
                .map(Self)
                .ok_or(unknown);
        }
        match SecretKey::parse(file) {
            Ok(_) => Err(KeyError::Private),
            Err(_) => Err(unknown),
        }
    }

    /// As PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI[..], &self.0].concat())
    }

    /// What signatures call it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut mac =
            <Hmac<Sha256> as Mac>::new_from_slice(&self.0).expect("a key of any length will do");
        mac.update(b"key_id");
        KeyId(mac.finalize().into_bytes()[..12].to_vec())
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(message, signature).is_ok()
    }
}

/// A key that signs. Nothing prints it but [`SecretKey::to_pem`].
pub struct SecretKey {
    seed: [u8; SEED],
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {:?}", self.public())
    }
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; SEED];
        getrandom::fill(&mut seed).map_err(KeyError::Random)?;
        Ok(Self::of_seed(seed))
    }

    fn of_seed(seed: [u8; SEED]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        Self { seed, pair }
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// When it is no private key of Ed25519.
    pub fn parse(file: &[u8]) -> Result<Self, KeyError> {
        let unknown = KeyError::Unknown {
            wanted: "BEGIN PRIVATE KEY",
        };
        if let [RAW_PAIR, pair @ ..] = file
            && let Ok(pair) = <[u8; 64]>::try_from(pair)
        {
            let mut seed = [0; SEED];
            seed.copy_from_slice(&pair[..SEED]);
            return Ok(Self::of_seed(seed));
        }
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(file) else {
            return Err(match SubjectPublicKeyInfoDer::from_pem_slice(file) {
                Ok(_) => KeyError::Public,
                Err(_) => unknown,
            });
        };
        let der = der.secret_pkcs8_der();
        // The lengths and the version in front differ where a public key or attributes follow.
        let (head, rest) = der.split_at_checked(PKCS8.len()).ok_or(unknown)?;
        let whole = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).is_ok();
        if !whole || head[5..] != PKCS8[5..] {
            return Err(unknown);
        }
        let seed = rest.first_chunk::<SEED>().ok_or(unknown)?;
        Ok(Self::of_seed(*seed))
    }

    /// As PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &[&PKCS8[..], &self.seed].concat())
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(key)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    // A line holds 64 characters (RFC 7468 section 2), which is more than these keys have.
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3 and 10.1.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    /// The same with attributes and the public key behind it.
    const LONGER: &str = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn the_keys_of_the_standard_are_read_and_written() {
        let secret = SecretKey::parse(PRIVATE.as_bytes()).unwrap();
        let public = PublicKey::parse(PUBLIC.as_bytes()).unwrap();
        assert_eq!(secret.public(), public);
        assert_eq!(secret.to_pem(), PRIVATE);
        assert_eq!(public.to_pem(), PUBLIC);
        let longer = SecretKey::parse(LONGER.as_bytes()).unwrap();
        assert_eq!(longer.public(), public);
    }

    #[test]
    fn raw_keys_are_read() {
        let secret = SecretKey::parse(PRIVATE.as_bytes()).unwrap();
        let public = secret.public();
        let raw = [&[RAW_PUBLIC][..], &public.0].concat();
        assert_eq!(PublicKey::parse(&raw).unwrap(), public);
        let raw = [&[RAW_PAIR][..], &secret.seed, &public.0].concat();
        assert_eq!(SecretKey::parse(&raw).unwrap().public(), public);
    }

    #[test]
    fn keys_in_each_others_place_and_no_keys_are_told() {
        let error = |file: &str| PublicKey::parse(file.as_bytes()).unwrap_err();
        assert_eq!(error(PRIVATE), KeyError::Private);
        assert!(error("hello").to_string().contains("BEGIN PUBLIC KEY"));
        let cut = PUBLIC.replace("MCowBQYDK2VwAyEAGb9E", "MCow");
        assert!(matches!(error(&cut), KeyError::Unknown { .. }));
        let error = |file: &str| SecretKey::parse(file.as_bytes()).unwrap_err();
        assert_eq!(error(PUBLIC), KeyError::Public);
        assert!(error("").to_string().contains("BEGIN PRIVATE KEY"));
    }

    #[test]
    fn a_new_key_is_another_each_time() {
        let one = SecretKey::generate().unwrap();
        let two = SecretKey::generate().unwrap();
        assert_ne!(one.public(), two.public());
        assert_ne!(one.public().id(), two.public().id());
        let read = SecretKey::parse(one.to_pem().as_bytes()).unwrap();
        assert_eq!(read.public(), one.public());
        assert!(!format!("{one:?}").contains(&hex::encode(one.seed)));
    }
}
