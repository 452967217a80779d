//! What goes on as it came, or not at all: how responses that are kept are found again.
//!
//! A response is kept by the one server that made it, and so every request about it has to get
//! there. It is given an id that begins with a key; requests with equal keys go to one worker,
//! and what continues a conversation takes its key along. A request about it has the id and no
//! model, so the id ends with a mark of the model that was named: which of the models that its
//! asker may see has that mark, the host's catalogue says. Nothing has to be remembered, here or
//! in another proxy.

use tollgate_sdk_protocol::{Bytes, types::Failure};

use super::fields::Fields;

const PREFIX: &str = "resp_";
/// Digits of a key, and of what tells responses of one key apart.
const DIGITS: usize = 16;
/// Digits of a model's mark.
const MARK: usize = 8;

/// Where a response is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Requests of one key belong on one worker.
    pub key: String,
    /// The id that the response is to have, where the client has chosen none.
    pub id: Option<String>,
}

/// The digits of an id that was made here.
fn own(id: &str) -> Option<&str> {
    id.strip_prefix(PREFIX).filter(|digits| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let long = [2 * DIGITS, 2 * DIGITS + MARK].contains(&digits.len());
        long && digits.bytes().all(hex)
    })
}

/// The key in a response's id; of an id that was not made here, the whole of it.
pub fn key_of(id: &str) -> String {
    own(id).map_or(id, |digits| &digits[..DIGITS]).to_owned()
}

/// The mark of the model that made a response; none: its request named none, or another server
/// made the id.
pub fn mark_in(id: &str) -> Option<&str> {
    own(id)?.get(2 * DIGITS..).filter(|mark| !mark.is_empty())
}

/// The mark of a model: of its name, as clients write it (FNV-1a, 32 bits). Two models of one mark
/// are as likely as two names are to have one.
pub fn mark_of(model: &str) -> String {
    let hash = model.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:08x}")
}

/// Whether it can be an id, and be nothing but that in a path, however often it is decoded there.
pub fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=256).contains(&id.len()) && id.bytes().all(plain) && !matches!(id, "." | "..")
}

/// Where the response to a request will be kept; none: nowhere.
///
/// # Errors
/// When a member that tells it is of another type.
pub fn sticky(
    bytes: &dyn Bytes,
    fields: &Fields,
    model: Option<&str>,
    seed: u64,
) -> Result<Option<Sticky>, Failure> {
    let text = |name| fields.value::<String>(bytes, name, "a valid string");
    let stored = fields.boolean(bytes, "store")? != Some(false);
    let (previous, chosen) = (text("previous_response_id")?, text("request_id")?);
    let key = match (&previous, &chosen) {
        (Some(previous), _) => key_of(previous),
        (None, _) if !stored => return Ok(None),
        (None, Some(chosen)) => key_of(chosen),
        (None, None) => format!("{:016x}", spread(seed)),
    };
    // An id of another server's making tells nothing that could go into a new one.
    let own = key.len() == DIGITS;
    let mark = model.map(mark_of).unwrap_or_default();
    let id = (stored && chosen.is_none() && own).then(|| format!("{PREFIX}{key}{seed:016x}{mark}"));
    Ok(Some(Sticky { key, id }))
}

/// Another number for each number (the finalizer of splitmix64).
fn spread(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_sdk_protocol::testing::Memory;

    fn of(body: &str, seed: u64) -> Option<Sticky> {
        let memory = Memory::default().with(0, body);
        let fields = Fields::find(&memory, 0, body.len() as u64).unwrap();
        sticky(&memory, &fields, Some("m"), seed).unwrap()
    }

    #[test]
    fn a_conversation_keeps_its_key_and_each_response_has_its_own_id() {
        let first = of(r#"{"input":"a"}"#, 1).unwrap();
        let id = first.id.unwrap();
        assert_eq!(key_of(&id), first.key);
        let next = of(&format!(r#"{{"previous_response_id":"{id}"}}"#), 2).unwrap();
        assert_eq!(next.key, first.key);
        assert_ne!(next.id.as_ref(), Some(&id));
        assert_eq!(key_of(&next.id.unwrap()), first.key);
        assert_ne!(of("{}", 2).unwrap().key, first.key);
    }

    #[test]
    fn an_id_tells_the_model_that_was_named() {
        let id = of(r#"{"input":"a"}"#, 1).unwrap().id.unwrap();
        assert_eq!(mark_in(&id), Some(mark_of("m").as_str()));
        assert_ne!(mark_of("m"), mark_of("n"));
        assert_eq!(mark_in(&id[..id.len() - MARK]), None, "without a model");
        assert_eq!(key_of(&id[..id.len() - MARK]), key_of(&id));
        assert_eq!(mark_in("resp_abc"), None);
        assert_eq!(mark_in(&id[..id.len() - 1]), None);
    }

    #[test]
    fn ids_that_others_made_are_keys_as_a_whole() {
        assert_eq!(key_of("resp_abc"), "resp_abc");
        let next = of(r#"{"previous_response_id":"resp_abc"}"#, 1).unwrap();
        assert_eq!((next.key.as_str(), next.id), ("resp_abc", None));
        let own = of(r#"{"request_id":"mine"}"#, 1).unwrap();
        assert_eq!((own.key.as_str(), own.id), ("mine", None));
    }

    #[test]
    fn an_id_stays_within_its_segment() {
        for good in ["resp_00ff", "a", "A-b.c_9", "..."] {
            assert!(is_id(good), "{good}");
        }
        let long = "a".repeat(257);
        for bad in [
            "",
            ".",
            "..",
            "../metrics",
            "a/b",
            "%2e%2e",
            "a b",
            "é",
            "a\\b",
            &long,
        ] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_not_kept_goes_anywhere_unless_it_continues_something() {
        assert_eq!(of(r#"{"store":false}"#, 1), None);
        let next = of(r#"{"store":false,"previous_response_id":"resp_abc"}"#, 1).unwrap();
        assert_eq!((next.key.as_str(), next.id), ("resp_abc", None));
    }
}
