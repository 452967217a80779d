//! JSON with a bound, which is kept while it is read: what takes a few bytes written takes many
//! times as much in memory, and a body may be half as large as all memory that a plugin has.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Deserializer, Error, SeqAccess, Visitor},
};

/// Longest JSON of a member that is built in memory, other than the lists that have their own bound:
/// of empty strings or of small numbers this comes to some megabytes.
pub const LARGEST: u64 = 1 << 20;

/// A list of at most `MOST` elements; more are an error that says so.
#[derive(Debug)]
pub struct AtMost<T, const MOST: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(Elements::<T, MOST>(PhantomData))
            .map(Self)
    }
}

struct Elements<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = list.next_element()? {
            if all.len() == MOST {
                let message = format!("more than {MOST} elements");
                return Err(A::Error::custom(message));
            }
            all.push(element);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_bound_and_no_element_more() {
        let read = |json: &str| serde_json::from_str::<AtMost<u8, 3>>(json);
        assert_eq!(read("[1,2,3]").unwrap().0, [1, 2, 3]);
        assert!(read("[]").unwrap().0.is_empty());
        let error = read("[1,2,3,4]").unwrap_err().to_string();
        assert!(error.starts_with("more than 3 elements"), "{error}");
        assert!(read("{}").is_err() && read("[1,").is_err());
    }
}
