//! A stand-in for an issuer of tokens: it signs them (RFC 7515), well or in every bad way, and
//! publishes its keys (RFC 7517) where it is asked for them.

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::fake::http1;

/// An algorithm of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RS256, always with the same key: to make one takes a while.
    Rs256,
    /// ES256.
    Es256,
    /// EdDSA, by Ed25519.
    EdDsa,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key of an issuer.
pub struct Key {
    /// Its name.
    pub kid: String,
    /// What it signs by.
    pub kind: Kind,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    /// A key of that name.
    ///
    /// # Panics
    /// When the machine has no randomness.
    #[must_use]
    pub fn new(kind: Kind, kid: &str) -> Self {
        let random = SystemRandom::new();
        let pair = match kind {
            Kind::Rs256 => {
                let key = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("issuer.pem"));
                let key = key.expect("it is PEM");
                let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).expect("it is a key");
                Pair::Rsa(Box::new(pair))
            }
            Kind::Es256 => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("randomness");
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random);
                Pair::Ecdsa(pair.expect("it is a key"))
            }
            Kind::EdDsa => {
                let key = Ed25519KeyPair::generate_pkcs8(&random).expect("randomness");
                let pair = Ed25519KeyPair::from_pkcs8(key.as_ref());
                Pair::Ed25519(pair.expect("it is a key"))
            }
        };
        Self {
            kid: kid.to_owned(),
            kind,
            pair,
        }
    }

    /// Its public half, as issuers publish it.
    #[must_use]
    pub fn public(&self) -> Value {
        let mut told = match &self.pair {
            Pair::Rsa(pair) => {
                let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encoded(parts.n), "e": encoded(parts.e)})
            }
            Pair::Ecdsa(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key())})
            }
        };
        told["kid"] = self.kid.as_str().into();
        told["alg"] = self.kind.name().into();
        told["use"] = "sig".into();
        told
    }

    /// The bytes by which somebody who confuses keys makes a secret of the public half.
    #[must_use]
    pub fn confusable(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public().as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("it has room");
                signature
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, message).expect("randomness");
                signature.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The header of its tokens.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({"alg": self.kind.name(), "kid": self.kid, "typ": "JWT"})
    }

    /// A good token.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    /// A token with a header of one's choice, signed all the same.
    #[must_use]
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = signed(header, claims);
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }
}

/// What is signed of a token.
#[must_use]
pub fn signed(header: &Value, claims: &Value) -> String {
    let (header, claims) = (header.to_string(), claims.to_string());
    format!("{}.{}", encoded(header), encoded(claims))
}

/// A token that is signed by a secret (HS256).
#[must_use]
pub fn by_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = signed(header, claims);
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        signed.as_bytes(),
    );
    format!("{signed}.{}", encoded(tag))
}

/// A set of keys, as issuers publish it.
#[must_use]
pub fn set(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    json!({"keys": keys}).to_string()
}

/// Where an issuer publishes its keys.
pub struct Published {
    /// Who answers; its journal says how often.
    pub server: http1::Worker,
    /// Status and text of the answer.
    told: Arc<Mutex<(u16, String)>>,
}

impl Published {
    /// Publishes these.
    pub async fn start(keys: &[&Key]) -> Self {
        let told = Arc::new(Mutex::new((200, set(keys))));
        let now = told.clone();
        let server = http1::Worker::start(move |_| {
            let (status, text) = now.lock().expect("nobody panics with it").clone();
            vec![http1::answer(status, "application/jwk-set+json", &text)]
        })
        .await;
        Self { server, told }
    }

    /// From now on it publishes these.
    ///
    /// # Panics
    /// When a test has panicked with it.
    pub fn publish(&self, keys: &[&Key]) {
        self.answer(200, &set(keys));
    }

    /// From now on it answers this.
    ///
    /// # Panics
    /// When a test has panicked with it.
    pub fn answer(&self, status: u16, text: &str) {
        *self.told.lock().expect("nobody panics with it") = (status, text.to_owned());
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.server.journal.requests()
    }
}
