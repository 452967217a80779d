//! Whom we trust, and what we make of a binary by that.

use std::fmt::Write as _;

use crate::{
    binary::{Binary, NotWasm},
    key::{KeyId, PublicKey},
    signature::{Malformed, Signatures},
};

/// What becomes of a binary that nobody signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// It is refused.
    Refuse,
    /// It is taken.
    Allow,
}

/// How a binary came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By the signature of this trusted key.
    Signed(String),
    /// Without a signature, as is allowed.
    Unsigned,
    /// No key is trusted, so no signature was looked at.
    Unchecked,
}

/// A binary is not trusted. The text goes on from the binary's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Nobody has signed it.
    #[error(
        "it is not signed, and only what a trusted key has signed is loaded ({trusted}): sign it \
         by `tollgate plugin sign`, or let unsigned ones in by `trust.unsigned: allow`"
    )]
    Unsigned {
        /// The trusted keys.
        trusted: String,
    },
    /// It was signed, and is something else now.
    #[error(
        "it was changed after it was signed: the signature is over contents of SHA-256 {signed}, \
         and these have {found}. The component or the manifest in it is not what its signer had: \
         take the file from its signer again, or sign it anew"
    )]
    Changed {
        /// What is signed.
        signed: String,
        /// What is there.
        found: String,
    },
    /// Somebody has signed it whom we do not know.
    #[error(
        "it is signed by {signers}, which is none of the trusted keys ({trusted}): add the \
         signer's public key to `trust.keys`, or have it signed by a trusted one"
    )]
    Stranger {
        /// Who signed, as far as the signature says.
        signers: String,
        /// The trusted keys.
        trusted: String,
    },
    /// A signature names a trusted key that has not made it.
    #[error(
        "its signature names the trusted key {key} and does not fit it: the signature was changed \
         or forged. Take file and signature from the signer again"
    )]
    Forged {
        /// The key's name in the configuration.
        key: String,
    },
    /// The signature cannot be read.
    #[error(
        "its signature ({place}) cannot be read: {problem}. Take it from the signer again, or \
         sign the component anew by `tollgate plugin sign`"
    )]
    Malformed {
        /// Where the signature is.
        place: &'static str,
        /// What is wrong.
        problem: Malformed,
    },
    /// It is no WebAssembly at all.
    #[error(transparent)]
    NotWasm(#[from] NotWasm),
}

/// Trusted keys, by their names in the configuration.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<(String, PublicKey)>,
    unsigned: Unsigned,
}

impl Keyring {
    /// Without keys everything is taken: there is nothing to check it by.
    #[must_use]
    pub fn new(keys: Vec<(String, PublicKey)>, unsigned: Unsigned) -> Self {
        Self { keys, unsigned }
    }

    /// Says who signed a binary. `detached` is the file beside it or what its registry keeps with
    /// it; that or the signature inside has to be good, and neither may be damaged.
    ///
    /// # Errors
    /// When it is not to be loaded; the text says what to do.
    pub fn judge(&self, binary: &[u8], detached: Option<&[u8]>) -> Result<Verdict, TrustError> {
        if self.keys.is_empty() {
            return Ok(Verdict::Unchecked);
        }
        let binary = Binary::parse(binary)?;
        let mut all = Vec::new();
        for (place, bytes) in [
            ("beside the component", detached),
            ("inside the component", binary.signature()),
        ] {
            if let Some(bytes) = bytes {
                let signatures = Signatures::parse(bytes)
                    .map_err(|problem| TrustError::Malformed { place, problem })?;
                all.push(signatures);
            }
        }
        if all.is_empty() {
            return match self.unsigned {
                Unsigned::Allow => Ok(Verdict::Unsigned),
                Unsigned::Refuse => Err(TrustError::Unsigned {
                    trusted: self.names(),
                }),
            };
        }
        let digest = binary.digest();
        for (name, key) in &self.keys {
            if all.iter().any(|it| it.signed_by(key, &digest)) {
                return Ok(Verdict::Signed(name.clone()));
            }
        }
        Err(self.refuse(&all, &digest))
    }

    fn refuse(&self, all: &[Signatures], digest: &[u8; 32]) -> TrustError {
        let signers: Vec<KeyId> = all.iter().flat_map(|it| it.signers(digest)).collect();
        if signers.is_empty() {
            let signed: Vec<_> = all
                .iter()
                .flat_map(Signatures::digests)
                .map(hex::encode)
                .collect();
            let signed = match signed.is_empty() {
                true => "none".to_owned(),
                false => signed.join(" or "),
            };
            return TrustError::Changed {
                signed,
                found: hex::encode(digest),
            };
        }
        let forged = self
            .keys
            .iter()
            .find(|(_, key)| signers.contains(&key.id()));
        if let Some((name, _)) = forged {
            return TrustError::Forged { key: name.clone() };
        }
        let named: Vec<_> = signers
            .iter()
            .map(|id| match id.0.is_empty() {
                true => "a key that it does not name".to_owned(),
                false => format!("key {id}"),
            })
            .collect();
        TrustError::Stranger {
            signers: named.join(", "),
            trusted: self.names(),
        }
    }

    fn names(&self) -> String {
        let mut names = String::new();
        for (name, key) in &self.keys {
            let comma = if names.is_empty() { "" } else { ", " };
            let _ = write!(names, "{comma}{name} = {}", key.id());
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\x00\x04\x01xyz";

    fn key(seed: u8) -> SecretKey {
        SecretKey::parse(&[&[0x81][..], &[seed; 32], &[0; 32]].concat()).unwrap()
    }

    fn ring(unsigned: Unsigned) -> Keyring {
        Keyring::new(
            vec![
                ("old".to_owned(), key(9).public()),
                ("release".to_owned(), key(1).public()),
            ],
            unsigned,
        )
    }

    fn sign(seed: u8) -> Vec<u8> {
        let mut signatures = Signatures::default();
        signatures.sign(&Binary::parse(COMPONENT).unwrap(), &key(seed));
        signatures.to_bytes()
    }

    fn judge(binary: &[u8], detached: Option<&[u8]>) -> Result<Verdict, TrustError> {
        ring(Unsigned::Refuse).judge(binary, detached)
    }

    #[test]
    fn what_a_trusted_key_signed_comes_through_wherever_the_signature_is() {
        let signed = Ok(Verdict::Signed("release".to_owned()));
        assert_eq!(judge(COMPONENT, Some(&sign(1))), signed);
        let embedded = Binary::parse(COMPONENT).unwrap().embed(&sign(1));
        assert_eq!(judge(&embedded, None), signed);
        // Either may be of one whom we do not know.
        assert_eq!(judge(&embedded, Some(&sign(2))), signed);
    }

    #[test]
    fn what_nobody_signed_is_refused_unless_it_is_allowed() {
        let said = judge(COMPONENT, None).unwrap_err().to_string();
        assert!(said.contains("release = ") && said.contains("trust.unsigned: allow"));
        let lax = ring(Unsigned::Allow);
        assert_eq!(lax.judge(COMPONENT, None), Ok(Verdict::Unsigned));
        assert!(lax.judge(COMPONENT, Some(&sign(2))).is_err());
        let nobody = Keyring::new(Vec::new(), Unsigned::Refuse);
        assert_eq!(nobody.judge(b"anything", None), Ok(Verdict::Unchecked));
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_own_words() {
        let mut changed = COMPONENT.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let said = judge(&changed, Some(&sign(1))).unwrap_err();
        assert!(matches!(said, TrustError::Changed { .. }), "{said}");
        assert!(said.to_string().contains("sign it anew"));

        let said = judge(COMPONENT, Some(&sign(2))).unwrap_err().to_string();
        let stranger = key(2).public().id().to_string();
        assert!(
            said.contains(&stranger) && said.contains("trust.keys"),
            "{said}"
        );

        let mut forged = sign(1);
        *forged.last_mut().unwrap() ^= 1;
        let said = judge(COMPONENT, Some(&forged)).unwrap_err();
        let release = "release".to_owned();
        assert_eq!(said, TrustError::Forged { key: release });

        let whole = sign(1);
        let said = judge(COMPONENT, Some(&whole[..whole.len() - 1])).unwrap_err();
        assert!(said.to_string().contains("cut off or damaged"), "{said}");
        assert_eq!(judge(b"MZ", Some(&whole)), Err(NotWasm.into()));
    }
}
