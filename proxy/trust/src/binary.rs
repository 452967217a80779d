//! What of a WebAssembly binary is signed, and where the signature is.

use sha2::{Digest, Sha256};

use crate::leb;

/// `\0asm`, version and layer: 8 bytes.
const HEADER: usize = 8;
const MAGIC: &[u8] = b"\0asm";
const CUSTOM: u8 = 0;
/// Name of the section that holds signatures.
const SECTION: &[u8] = b"signature";

/// It does not begin as a WebAssembly binary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no WebAssembly binary")]
pub struct NotWasm;

/// A WebAssembly binary, taken apart as far as signatures go.
#[derive(Clone, Copy, Debug)]
pub struct Binary<'b> {
    header: &'b [u8],
    signature: Option<&'b [u8]>,
    signed: &'b [u8],
}

impl<'b> Binary<'b> {
    /// Takes a binary apart. What comes behind the first section is not looked at.
    ///
    /// # Errors
    /// When it does not begin as a WebAssembly binary does.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, NotWasm> {
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(NotWasm)?;
        if !header.starts_with(MAGIC) {
            return Err(NotWasm);
        }
        let embedded = embedded(rest);
        Ok(Self {
            header,
            signature: embedded.map(|(payload, _)| payload),
            signed: embedded.map_or(rest, |(_, behind)| behind),
        })
    }

    /// The payload of its section of signatures.
    #[must_use]
    pub fn signature(&self) -> Option<&'b [u8]> {
        self.signature
    }

    /// SHA-256 of what a signature covers: everything behind the header, without the section of
    /// signatures.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.signed).into()
    }

    /// The same binary with these signatures in it, in the place of those that it may have.
    #[must_use]
    pub fn embed(&self, signatures: &[u8]) -> Vec<u8> {
        let mut section = Vec::with_capacity(signatures.len() + SECTION.len() + 1);
        leb::put_slice(&mut section, SECTION);
        section.extend_from_slice(signatures);
        let mut out = Vec::with_capacity(HEADER + section.len() + 6 + self.signed.len());
        out.extend_from_slice(self.header);
        out.push(CUSTOM);
        leb::put_slice(&mut out, &section);
        out.extend_from_slice(self.signed);
        out
    }

    /// The same binary without signatures in it.
    #[must_use]
    pub fn bare(&self) -> Vec<u8> {
        [self.header, self.signed].concat()
    }
}

/// The payload of a first section of signatures, and what comes behind it.
fn embedded(sections: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&id, mut rest) = sections.split_first()?;
    if id != CUSTOM {
        return None;
    }
    let mut section = leb::take_slice(&mut rest)?;
    (leb::take_slice(&mut section)? == SECTION).then_some((section, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with one custom section `x`.
    const PLAIN: &[u8] = b"\0asm\x0d\0\x01\0\x00\x04\x01xyz";

    #[test]
    fn a_signature_goes_in_and_out_and_changes_nothing() {
        let plain = Binary::parse(PLAIN).unwrap();
        assert!(plain.signature().is_none());
        let embedded = plain.embed(b"one");
        let signed = Binary::parse(&embedded).unwrap();
        assert_eq!(signed.signature(), Some(&b"one"[..]));
        assert_eq!(signed.digest(), plain.digest());
        assert_eq!(signed.bare(), PLAIN);
        let again = signed.embed(&[7; 300]);
        let again = Binary::parse(&again).unwrap();
        assert_eq!(again.signature(), Some(&[7; 300][..]));
        assert_eq!(again.digest(), plain.digest());
    }

    #[test]
    fn only_the_first_section_is_the_signature() {
        let mut late = PLAIN.to_vec();
        late.extend_from_slice(b"\x00\x0d\x09signatureone");
        let late = Binary::parse(&late).unwrap();
        assert!(late.signature().is_none());
        assert_ne!(late.digest(), Binary::parse(PLAIN).unwrap().digest());
        let cut = b"\0asm\x0d\0\x01\0\x00\x0d\x09sign";
        assert!(Binary::parse(cut).unwrap().signature().is_none());
    }

    #[test]
    fn what_is_no_binary_is_told() {
        for bytes in [&b""[..], b"\0asm\x0d\0\x01", b"(component)"] {
            assert_eq!(Binary::parse(bytes).unwrap_err(), NotWasm);
        }
    }
}
