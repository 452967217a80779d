//! W3C Baggage: what a client says to everybody on its request's way, passed on to workers and
//! looked at by nobody here.
//!
//! What is passed on is well formed and bounded, whatever came: 64 members and 8192 bytes, which is
//! what everybody on the way has to be able to pass on (section 3.3.1.2, "Limits").

use http::{HeaderMap, HeaderValue};

const BAGGAGE: &str = "baggage";
const MEMBERS: usize = 64;
const BYTES: usize = 8192;

/// The members of all `baggage` lines in order, without those that are malformed or past the
/// bounds; none: there are none.
#[must_use]
pub fn baggage(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(BAGGAGE);
    let mut lines = lines.iter().filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    let members = std::iter::once(first).chain(lines);
    let members = members
        .flat_map(|line| line.split(','))
        .map(|member| member.trim_matches([' ', '\t']));
    let mut passed = String::new();
    for member in members.filter(|member| is_member(member)).take(MEMBERS) {
        let comma = usize::from(!passed.is_empty());
        if passed.len() + comma + member.len() > BYTES {
            break;
        }
        if comma > 0 {
            passed.push(',');
        }
        passed.push_str(member);
    }
    match passed.is_empty() {
        true => None,
        false => HeaderValue::try_from(passed).ok(),
    }
}

/// `key=value`, and properties behind semicolons (section 3.3).
fn is_member(member: &str) -> bool {
    let mut parts = member.split(';').map(|part| part.trim_matches([' ', '\t']));
    let pair = parts.next().and_then(|pair| pair.split_once('='));
    let pair = pair.is_some_and(|(key, value)| is_key(key) && is_value(value));
    pair && parts.all(|property| match property.split_once('=') {
        Some((key, value)) => is_key(key) && is_value(value),
        None => is_key(property),
    })
}

/// A token (RFC 9110, section 5.6.2), perhaps with space behind it.
fn is_key(key: &str) -> bool {
    let key = key.trim_matches([' ', '\t']);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !key.is_empty() && key.bytes().all(token)
}

/// Visible ASCII without what divides members, with percent signs for the rest.
fn is_value(value: &str) -> bool {
    let value = value.trim_matches([' ', '\t']);
    let octet = |byte: u8| (0x21..=0x7e).contains(&byte) && !b"\",;\\".contains(&byte);
    value.bytes().all(octet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(BAGGAGE, line.parse().unwrap());
        }
        let value = baggage(&headers)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn members_are_passed_on_as_they_are() {
        assert_eq!(passed(&[]), None);
        assert_eq!(passed(&["a=1"]).as_deref(), Some("a=1"));
        let all = "userId=alice,serverNode=DF%2028,flag=on;secret;ttl=5";
        assert_eq!(passed(&[all]).as_deref(), Some(all));
        assert_eq!(passed(&["a=1", " b = 2 "]).as_deref(), Some("a=1,b = 2"));
    }

    #[test]
    fn what_is_malformed_is_left_out() {
        let line = "a,=1,b=\"x\",c=d e,k(=v,ok=yes;;,good=";
        let mut headers = HeaderMap::new();
        headers.append(BAGGAGE, line.parse().unwrap());
        headers.append(BAGGAGE, HeaderValue::from_bytes(b"x=\xff").unwrap());
        assert_eq!(baggage(&headers).unwrap(), "good=");
        assert_eq!(passed(&["", ",,"]), None);
    }

    proptest! {
        #[test]
        fn what_leaves_is_bounded_and_passes_through_the_next_unchanged(
            lines in prop::collection::vec("[ -~]{0,60}|([a-z]{1,3}=[a-z%0-9]{0,9}[;,]?){0,30}", 0..9),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            if let Some(first) = passed(&lines) {
                prop_assert!(first.len() <= BYTES && first.split(',').count() <= MEMBERS);
                prop_assert_eq!(passed(&[&first]), Some(first));
            }
        }
    }

    #[test]
    fn what_is_too_much_is_left_out() {
        let many: Vec<String> = (0..100).map(|n| format!("k{n}=1")).collect();
        let passed_on = passed(&[&many.join(",")]).unwrap();
        assert_eq!(passed_on.split(',').count(), MEMBERS);
        let long = format!("a=1,b={},c=2", "x".repeat(BYTES));
        assert_eq!(passed(&[&long]).as_deref(), Some("a=1"));
    }
}
