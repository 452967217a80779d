//! Signatures as bytes.
//!
//! ```text
//! signatures: version 0x01, content type 0x01, hash function 0x01, count, (length, set)*
//! set:        count, hash*, count, (length, signature)*
//! signature:  length and key identifier, algorithm 0x01, length and signature
//! ```
//!
//! A set has the running hash at each delimiter of the binary and at its end. Only the last, which
//! is over everything, counts here: a binary that is signed in part is not signed.

use crate::{
    binary::Binary,
    key::{KeyId, PublicKey, SecretKey},
    leb,
};

const VERSION: u8 = 0x01;
const CONTENT: u8 = 0x01;
const SHA256: u8 = 0x01;
const ED25519: u8 = 0x01;
const DOMAIN: &[u8] = b"wasmsig";
/// What a reader takes at most, as wasmsign2 does.
const MOST_SETS: u32 = 64;
const MOST_HASHES: u32 = 64;
const MOST_SIGNATURES: u32 = 256;

/// These bytes are no signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end in the middle.
    #[error("it is cut off or damaged: it ends in its {0}")]
    Cut(&'static str),
    /// There is more behind their end.
    #[error("{0} bytes stand behind its end")]
    Behind(usize),
    /// Another version, content, hash function or algorithm, or too many of something.
    #[error("its {what} is {value}, which is not known here")]
    Unknown {
        /// What is unknown.
        what: &'static str,
        /// The value that it has.
        value: u32,
    },
}

/// Signatures over a binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    sets: Vec<Set>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    hashes: Vec<[u8; 32]>,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    key: Vec<u8>,
    bytes: Vec<u8>,
}

impl Signatures {
    /// Adds a signature over a binary. Those over the same bytes stay beside it, by other keys;
    /// those over others go.
    pub fn sign(&mut self, binary: &Binary<'_>, key: &SecretKey) {
        let digest = binary.digest();
        let signature = Signature {
            key: key.public().id().0,
            bytes: key.sign(&message(&[digest])),
        };
        self.sets.retain(|set| set.signs(&digest));
        let whole = self.sets.iter_mut().find(|set| set.hashes == [digest]);
        match whole {
            Some(set) => {
                set.signatures.retain(|it| it.key != signature.key);
                set.signatures.push(signature);
            }
            None => self.sets.push(Set {
                hashes: vec![digest],
                signatures: vec![signature],
            }),
        }
    }

    /// Reads the payload of a section, or the file beside a binary.
    ///
    /// # Errors
    /// When it is damaged, or of a kind that is not known here.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        for (what, known) in [
            ("version", VERSION),
            ("content type", CONTENT),
            ("hash function", SHA256),
        ] {
            let (&value, behind) = rest.split_first().ok_or(Malformed::Cut(what))?;
            if value != known {
                let value = value.into();
                return Err(Malformed::Unknown { what, value });
            }
            rest = behind;
        }
        let count = count(&mut rest, "number of sets", MOST_SETS)?;
        let sets = (0..count)
            .map(|_| Set::parse(leb::take_slice(&mut rest).ok_or(Malformed::Cut("sets"))?))
            .collect::<Result<_, _>>()?;
        if !rest.is_empty() {
            return Err(Malformed::Behind(rest.len()));
        }
        Ok(Self { sets })
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, CONTENT, SHA256];
        leb::put(&mut out, self.sets.len());
        for set in &self.sets {
            leb::put_slice(&mut out, &set.to_bytes());
        }
        out
    }

    /// Digests that are signed as whole binaries.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.sets.iter().filter_map(|set| set.hashes.last())
    }

    /// What those who signed a digest are called; an empty name: they did not say.
    pub(crate) fn signers<'s>(&'s self, digest: &'s [u8; 32]) -> impl Iterator<Item = KeyId> + 's {
        let sets = self.sets.iter().filter(move |set| set.signs(digest));
        sets.flat_map(|set| &set.signatures)
            .map(|signature| KeyId(signature.key.clone()))
    }

    /// Whether a key has signed a digest.
    pub(crate) fn signed_by(&self, key: &PublicKey, digest: &[u8; 32]) -> bool {
        let sets = self.sets.iter().filter(|set| set.signs(digest));
        sets.into_iter().any(|set| {
            let message = message(&set.hashes);
            let mut signatures = set.signatures.iter();
            signatures.any(|signature| key.verifies(&message, &signature.bytes))
        })
    }
}

impl Set {
    /// Whether it is over all of a binary.
    fn signs(&self, digest: &[u8; 32]) -> bool {
        self.hashes.last() == Some(digest)
    }

    fn parse(mut rest: &[u8]) -> Result<Self, Malformed> {
        let hashes = (0..count(&mut rest, "number of hashes", MOST_HASHES)?)
            .map(|_| {
                let (hash, behind) = rest.split_first_chunk().ok_or(Malformed::Cut("hashes"))?;
                rest = behind;
                Ok(*hash)
            })
            .collect::<Result<_, _>>()?;
        let signatures = (0..count(&mut rest, "number of signatures", MOST_SIGNATURES)?)
            .map(|_| {
                let cut = Malformed::Cut("signatures");
                Signature::parse(leb::take_slice(&mut rest).ok_or(cut)?)
            })
            .collect::<Result<_, _>>()?;
        if !rest.is_empty() {
            return Err(Malformed::Behind(rest.len()));
        }
        Ok(Self { hashes, signatures })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        leb::put(&mut out, self.hashes.len());
        out.extend(self.hashes.iter().flatten());
        leb::put(&mut out, self.signatures.len());
        for signature in &self.signatures {
            leb::put_slice(&mut out, &signature.to_bytes());
        }
        out
    }
}

impl Signature {
    fn parse(mut rest: &[u8]) -> Result<Self, Malformed> {
        let cut = Malformed::Cut("signatures");
        let key = leb::take_slice(&mut rest).ok_or(cut)?;
        let (&algorithm, mut rest) = rest.split_first().ok_or(cut)?;
        if algorithm != ED25519 {
            return Err(Malformed::Unknown {
                what: "algorithm",
                value: algorithm.into(),
            });
        }
        let bytes = leb::take_slice(&mut rest).ok_or(cut)?;
        if !rest.is_empty() {
            return Err(Malformed::Behind(rest.len()));
        }
        Ok(Self {
            key: key.to_vec(),
            bytes: bytes.to_vec(),
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        leb::put_slice(&mut out, &self.key);
        out.push(ED25519);
        leb::put_slice(&mut out, &self.bytes);
        out
    }
}

fn count(rest: &mut &[u8], what: &'static str, most: u32) -> Result<u32, Malformed> {
    let value = leb::take(rest).ok_or(Malformed::Cut(what))?;
    if value > most {
        return Err(Malformed::Unknown { what, value });
    }
    Ok(value)
}

/// What is signed.
fn message(hashes: &[[u8; 32]]) -> Vec<u8> {
    let mut message = DOMAIN.to_vec();
    message.extend([VERSION, CONTENT, SHA256]);
    message.extend(hashes.iter().flatten());
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\x00\x04\x01xyz";

    fn key(seed: u8) -> SecretKey {
        SecretKey::parse(&[&[0x81][..], &[seed; 32], &[0; 32]].concat()).unwrap()
    }

    fn signed(binary: &Binary<'_>, seed: u8) -> Signatures {
        let kept = binary.signature().and_then(|it| Signatures::parse(it).ok());
        let mut signatures = kept.unwrap_or_default();
        signatures.sign(binary, &key(seed));
        signatures
    }

    #[test]
    fn signatures_come_back_from_their_bytes_and_from_no_part_of_them() {
        let binary = Binary::parse(COMPONENT).unwrap();
        let one = signed(&binary, 1);
        let bytes = one.to_bytes();
        assert_eq!(Signatures::parse(&bytes).unwrap(), one);
        for end in 0..bytes.len() {
            assert!(Signatures::parse(&bytes[..end]).is_err(), "{end} bytes");
        }
        let behind = [bytes.as_slice(), b"x"].concat();
        assert_eq!(Signatures::parse(&behind), Err(Malformed::Behind(1)));
    }

    #[test]
    fn several_sign_one_binary_and_nobody_twice() {
        let mut embedded = COMPONENT.to_vec();
        for seed in [1, 2, 1, 2] {
            let binary = Binary::parse(&embedded).unwrap();
            embedded = binary.embed(&signed(&binary, seed).to_bytes());
        }
        let binary = Binary::parse(&embedded).unwrap();
        let both = Signatures::parse(binary.signature().unwrap()).unwrap();
        let digest = binary.digest();
        assert_eq!(both.signers(&digest).count(), 2);
        for (seed, yes) in [(1, true), (2, true), (3, false)] {
            assert_eq!(both.signed_by(&key(seed).public(), &digest), yes);
        }
        // Those over other bytes go when it is signed anew.
        let mut changed = COMPONENT.to_vec();
        changed.extend_from_slice(b"\0\x02\x01x");
        let changed = Binary::parse(&changed).unwrap().embed(&both.to_bytes());
        let anew = signed(&Binary::parse(&changed).unwrap(), 1);
        assert_eq!(anew.digests().count(), 1);
        assert_eq!(anew.signers(anew.digests().next().unwrap()).count(), 1);
    }

    /// A set over the beginning of a binary says nothing of its end.
    #[test]
    fn a_beginning_of_what_was_signed_is_not_signed() {
        let (first, whole) = ([1; 32], [2; 32]);
        let hashes = vec![first, whole];
        let signatures = vec![Signature {
            key: Vec::new(),
            bytes: key(1).sign(&message(&hashes)),
        }];
        let partly = Signatures {
            sets: vec![Set { hashes, signatures }],
        };
        assert!(partly.signed_by(&key(1).public(), &whole));
        assert!(!partly.signed_by(&key(1).public(), &first));
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Signatures::parse(&bytes) {
                prop_assert_eq!(Signatures::parse(&read.to_bytes()).unwrap(), read);
            }
        }

        #[test]
        fn any_changed_byte_of_a_signature_shows(at in 0_usize..200, turn in 1_u8..) {
            let binary = Binary::parse(COMPONENT).unwrap();
            let mut bytes = signed(&binary, 1).to_bytes();
            let at = at % bytes.len();
            bytes[at] ^= turn;
            // What a key calls itself is a hint and is not signed.
            let named = Signatures::parse(&bytes).is_ok_and(|it| {
                it.signed_by(&key(1).public(), &binary.digest())
            });
            let name = bytes.len() - 64 - 2 - 12..bytes.len() - 64 - 2;
            prop_assert_eq!(named, name.contains(&at), "byte {}", at);
        }
    }
}
