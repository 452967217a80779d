//! A token taken apart: JWS compact serialisation (RFC 7515, section 7.1), strictly.
//!
//! Refused is what general libraries let through: headers that bring or name a key of the sender's
//! choice (`jwk`, `jku`, `x5c`, `x5u`), extensions that have to be understood (`crit`, and with it
//! `b64`), names that stand twice (RFC 7515, section 4; RFC 7519, section 4), base64 with padding or
//! with bits to spare, algorithms that are not among those known here, `none` with the others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::keys::Algorithm;

/// Header parameters that no token may have.
const FOREIGN: [&str; 7] = ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"];
/// Types that a token may say to be of, in lower case and without `application/` (RFC 7519, section
/// 5.1; RFC 9068, section 2.1). One that says nothing is a JWT.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// A token, of which nothing is known to be true.
pub(super) struct Token<'t> {
    signed: &'t [u8],
    signature: Option<Vec<u8>>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'t> Token<'t> {
    /// Takes it apart. None: it is no JWT, but perhaps a token of another kind.
    pub(super) fn read(token: &'t [u8]) -> Option<Self> {
        let mut parts = token.split(|&byte| byte == b'.');
        let (header, claims) = (parts.next()?, parts.next()?);
        let signature = parts.next()?;
        if parts.next().is_some() {
            return None;
        }
        let signed = &token[..header.len() + 1 + claims.len()];
        Some(Self {
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok(),
            header: object(header)?,
            claims: object(claims)?,
        })
    }

    /// Whether its header is one that can be gone by.
    pub(super) fn is_sound(&self) -> bool {
        let typed = match self.header.get("typ") {
            None => true,
            Some(Value::String(typ)) => {
                let typ = typ.to_ascii_lowercase();
                let typ = typ.strip_prefix("application/").unwrap_or(&typ);
                TYPES.contains(&typ)
            }
            Some(_) => false,
        };
        let kid = self.header.get("kid").is_none_or(Value::is_string);
        let foreign = FOREIGN.iter().any(|name| self.header.contains_key(*name));
        let signed = self.signature.as_ref().is_some_and(|it| !it.is_empty());
        typed && kid && !foreign && signed && self.named().is_some()
    }

    fn named(&self) -> Option<Algorithm> {
        Algorithm::named(self.header.get("alg")?.as_str()?)
    }

    /// What it says that it is signed by. None: nothing known here.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.named()
    }

    /// The name of the key that it says to be signed with.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    /// What is signed.
    pub(super) fn signed(&self) -> &[u8] {
        self.signed
    }

    /// The signature; empty where it is none.
    pub(super) fn signature(&self) -> &[u8] {
        self.signature.as_deref().unwrap_or_default()
    }

    /// What it claims.
    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// When a token says that it expires, believed because somebody else has said that it is good.
pub(crate) fn expiry(token: &[u8]) -> Option<u64> {
    let token = Token::read(token)?;
    super::claims::date(token.claims().get("exp")?)
}

fn object(part: &[u8]) -> Option<Map<String, Value>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    let members: Members = serde_json::from_slice(&json).ok()?;
    Some(members.0)
}

/// A JSON object in which, at any depth, no name stands twice: who reads the first of two and who
/// reads the last would read different claims. Its depth has `serde_json`'s bound.
struct Members(Map<String, Value>);

/// A JSON value of the same kind.
struct Single(Value);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, Single(value))) = map.next_entry::<String, Single>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

impl<'de> Deserialize<'de> for Single {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Single;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E: Error>(self) -> Result<Single, E> {
                Ok(Single(Value::Null))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Single, E> {
                Ok(Single(value.into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Single, E> {
                Ok(Single(value.into()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Single, E> {
                Ok(Single(value.into()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Single, E> {
                Ok(Single(value.into()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Single, E> {
                Ok(Single(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Single, A::Error> {
                let mut list = Vec::new();
                while let Some(Single(value)) = seq.next_element()? {
                    list.push(value);
                }
                Ok(Single(list.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Single, A::Error> {
                let members = serde::de::value::MapAccessDeserializer::new(map);
                Members::deserialize(members).map(|members| Single(members.0.into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str, signature: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{signature}", encode(header), encode(claims))
    }

    fn sound(header: &str) -> bool {
        let token = token(header, "{}", "AAAA");
        Token::read(token.as_bytes()).is_some_and(|token| token.is_sound())
    }

    #[test]
    fn what_is_no_jwt_is_another_way_s() {
        let good = token(r#"{"alg":"RS256"}"#, "{}", "AAAA");
        assert!(Token::read(good.as_bytes()).is_some());
        for other in [
            String::new(),
            "secret".to_owned(),
            "a.b.c".to_owned(),
            format!("{good}.AAAA.AAAA"),
            good[..good.rfind('.').unwrap()].to_owned(),
            token("[]", "{}", ""),
            token(r#"{"alg":"RS256","alg":"ES256"}"#, "{}", ""),
            token("{}", r#"{"iss":"a","iss":"b"}"#, ""),
            token("{}", r#"{"access":{"models":[1],"models":[2]}}"#, ""),
            token("{}", r#"{"list":[1,{"a":{"b":1,"\u0062":2}}]}"#, ""),
            token(r#"{"alg":"RS256","x":{"y":1,"y":1}}"#, "{}", ""),
            token(
                "{}",
                &format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200)),
                "",
            ),
            good.replacen('.', "=.", 1),
        ] {
            assert!(Token::read(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn claims_are_read_as_they_stand() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"é\n",{"a":{"a":[]}}],"b":{}}"#;
        let token = token("{}", text, "");
        let wanted: Map<String, Value> = serde_json::from_str(text).unwrap();
        let token = Token::read(token.as_bytes()).unwrap();
        assert_eq!(token.claims(), &wanted);
    }

    #[test]
    fn headers_that_name_a_key_or_want_more_are_refused() {
        assert!(sound(r#"{"alg":"ES256","kid":"a","typ":"JWT","x":1}"#));
        assert!(sound(r#"{"alg":"EdDSA","typ":"application/at+jwt"}"#));
        for header in [
            "{}",
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"rs256"}"#,
            r#"{"alg":"PS256"}"#,
            r#"{"alg":1}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","typ":"secevent+jwt"}"#,
            r#"{"alg":"ES256","typ":1}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","crit":null}"#,
            r#"{"alg":"ES256","jwk":{}}"#,
            r#"{"alg":"ES256","jku":"https://example.com"}"#,
            r#"{"alg":"ES256","x5u":"https://example.com"}"#,
            r#"{"alg":"ES256","x5c":[]}"#,
            r#"{"alg":"ES256","b64":false}"#,
        ] {
            assert!(!sound(header), "{header}");
        }
    }

    #[test]
    fn a_signature_is_canonical_base64_and_there() {
        for bad in ["", "A", "AB", "AA==", "A A", "AA+A"] {
            let token = token(r#"{"alg":"ES256"}"#, "{}", bad);
            assert!(!Token::read(token.as_bytes()).unwrap().is_sound(), "{bad}");
        }
    }

    #[test]
    fn an_expiry_is_read_where_there_is_one() {
        let expiring = |claims: &str| expiry(token("{}", claims, "").as_bytes());
        assert_eq!(expiring(r#"{"exp":12.5}"#), Some(12));
        assert_eq!(expiring(r#"{"exp":"12"}"#), None);
        assert_eq!(expiry(b"opaque"), None);
    }
}
