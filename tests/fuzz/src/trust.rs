//! Signatures over components, and where they are in one.

use tollgate_trust::{Binary, Keyring, PublicKey, Signatures, Unsigned};

/// The public key of RFC 8410, section 10.1. No seed is signed by it.
const KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

/// What is read is written the same again; a signature goes in and out of a binary and changes
/// nothing that is signed; and nobody but the key's holder makes a good one.
pub(crate) fn trust(bytes: &[u8]) {
    if let Ok(read) = Signatures::parse(bytes) {
        let again = Signatures::parse(&read.to_bytes()).expect("what was written is read");
        assert_eq!(again, read);
    }
    if let Ok(binary) = Binary::parse(bytes) {
        let embedded = binary.embed(b"a signature");
        let there = Binary::parse(&embedded).expect("it is a binary still");
        assert_eq!(there.signature(), Some(&b"a signature"[..]));
        assert_eq!(there.digest(), binary.digest());
        assert_eq!(there.bare(), binary.bare());
    }
    let key = PublicKey::parse(KEY).expect("it is one");
    let keyring = Keyring::new(vec![("nobody".to_owned(), key)], Unsigned::Refuse);
    for detached in [None, Some(bytes)] {
        assert!(keyring.judge(bytes, detached).is_err());
    }
    let component = b"\0asm\x0d\0\x01\0";
    assert!(keyring.judge(component, Some(bytes)).is_err());
}
