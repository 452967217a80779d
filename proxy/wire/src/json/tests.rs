use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn find<'a>(text: &'a str, keys: &[&str]) -> Vec<(usize, &'a str)> {
    members(text.as_bytes(), keys)
        .unwrap()
        .into_iter()
        .map(|member| {
            let from = member.offset as usize;
            (member.key, &text[from..from + member.len as usize])
        })
        .collect()
}

#[test]
fn members_are_found_with_duplicates_in_order() {
    let text = " { \"model\" : \"a\" ,\n\"x\":{\"model\":1},\"stream\":true,\"model\":[1, 2]} ";
    assert_eq!(
        find(text, &["stream", "model", "absent"]),
        [(1, "\"a\""), (0, "true"), (1, "[1, 2]")]
    );
    assert_eq!(find("{}", &["a"]), []);
    assert_eq!(find("{\"a\":1}", &[]), []);
    assert_eq!(find("{\"a\":1}", &["a", "a"]), [(0, "1"), (1, "1")]);
    assert_eq!(find("{\"\":-0.0e+1}", &[""]), [(0, "-0.0e+1")]);
}

#[test]
fn names_are_compared_after_unescaping() {
    let text =
        r#"{"\u006dodel":1,"mo\u0064el":2,"model\u0000":3,"\ud83d\ude00":4,"\ud83d":5,"a\/b":6}"#;
    assert_eq!(
        find(text, &["model", "\u{1f600}", "a/b"]),
        [(0, "1"), (0, "2"), (1, "4"), (2, "6")]
    );
}

#[test]
fn what_is_not_an_object_is_refused_where_it_is_wrong() {
    let table = [
        ("", 0),
        ("  ", 2),
        ("[]", 0),
        ("null", 0),
        ("{", 1),
        ("{\"a\"", 4),
        ("{\"a\":", 5),
        ("{\"a\":1", 6),
        ("{\"a\":1,", 7),
        ("{\"a\":1,}", 7),
        ("{,}", 1),
        ("{a:1}", 1),
        ("{'a':1}", 1),
        ("{\"a\" 1}", 5),
        ("{\"a\":1 \"b\":2}", 7),
        ("{} x", 3),
        ("{}{}", 2),
        ("{\"a\":tru}", 5),
        ("{\"a\":nulll}", 9),
        ("{\"a\":NaN}", 5),
        ("{\"a\":01}", 6),
        ("{\"a\":1.}", 7),
        ("{\"a\":.5}", 5),
        ("{\"a\":+1}", 5),
        ("{\"a\":-}", 6),
        ("{\"a\":1e}", 7),
        ("{\"a\":\"\n\"}", 6),
        ("{\"a\":\"\\x\"}", 6),
        ("{\"a\":\"\\u12g4\"}", 6),
        ("{\"a\":[1}}", 7),
        ("{\"a\":{]}", 6),
        ("{\"a\":[1,]}", 8),
        ("{\"a\":[,1]}", 6),
        ("\u{feff}{}", 0),
    ];
    for (text, offset) in table {
        let problem = members(text.as_bytes(), &["a"]).unwrap_err();
        assert_eq!(problem.offset, offset, "{text}: {problem}");
        assert!(
            validate(text.as_bytes()).is_err() || text == "[]" || text == "null",
            "{text}"
        );
    }
    assert_eq!(members(b"{\"a\":\"\xff\"}", &["a"]).unwrap_err().offset, 6);
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(validate(nested(128).as_bytes()), Ok(()));
    assert_eq!(validate(nested(129).as_bytes()).unwrap_err().offset, 128);
    let object = |depth| format!("{{\"a\":{}}}", nested(depth));
    assert!(members(object(127).as_bytes(), &["a"]).is_ok());
    assert!(members(object(128).as_bytes(), &["a"]).is_err());
    // Closed levels do not count.
    let flat = format!("[{}1]", "[[]],{\"a\":{}},".repeat(500));
    assert_eq!(validate(flat.as_bytes()), Ok(()));
    assert!(validate("[".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn hostile_repetition_is_bounded() {
    let text = |times: usize| format!("{{{}\"b\":1}}", "\"a\":1,".repeat(times));
    assert_eq!(
        members(text(MAX_MEMBERS).as_bytes(), &["a"]).unwrap().len(),
        MAX_MEMBERS
    );
    assert!(members(text(MAX_MEMBERS + 1).as_bytes(), &["a"]).is_err());
    assert!(members(text(MAX_MEMBERS + 1).as_bytes(), &["b"]).is_ok());
}

#[test]
fn specials_are_found_at_every_place_of_a_block() {
    for len in 0..100 {
        let text = format!("\"{}\"", "x".repeat(len));
        assert_eq!(string(text.as_bytes(), 1), Ok((len + 2, false)));
        let text = format!("\"{}\\n{}\"", "é".repeat(len), "y".repeat(40));
        assert_eq!(string(text.as_bytes(), 1), Ok((text.len(), true)));
        let text = format!("\"{}\u{1f}\"", "x".repeat(len));
        assert_eq!(string(text.as_bytes(), 1).unwrap_err().0, len + 1);
        assert!(string(&text.as_bytes()[..=len], 1).is_err());
    }
}

#[test]
fn unescaping_refuses_what_is_no_character() {
    let plain = |raw: &str| {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(
        plain(r#"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00é"#).unwrap(),
        "\"\\/\u{8}\u{c}\n\r\té😀é"
    );
    for (raw, at) in [
        (r"a\ud800", 1),
        (r"\udc00\ud800", 0),
        (r"\ud800\ud800", 0),
        (r"\ud800x", 0),
        (r"\ud800\n", 0),
        (r"x\u+123", 1),
        (r"\u12", 0),
        ("\\", 0),
        (r"\x", 0),
    ] {
        assert_eq!(plain(raw), Err(at), "{raw}");
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}|[\\x00-\\x7f]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map("[a-d\"\\\\é]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What serde_json says of a text.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

proptest! {
    #[test]
    fn every_value_is_valid_and_its_members_are_found(value in json(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        prop_assert_eq!(validate(text.as_bytes()), Ok(()));
        let Value::Object(object) = value else {
            prop_assert!(members(text.as_bytes(), &["a"]).is_err());
            return Ok(());
        };
        let keys: Vec<&String> = object.keys().collect();
        let found = members(text.as_bytes(), &keys).unwrap();
        prop_assert_eq!(found.len(), keys.len());
        for member in found {
            let from = member.offset as usize;
            let slice = &text[from..from + member.len as usize];
            let value = &object[keys[member.key]];
            if pretty {
                let parsed: Value = serde_json::from_str(slice).unwrap();
                prop_assert_eq!(parsed.is_object(), value.is_object());
                prop_assert_eq!(slice.trim(), slice);
            } else {
                prop_assert_eq!(slice, value.to_string());
            }
        }
    }

    #[test]
    fn a_broken_text_is_judged_as_serde_json_judges(
        value in json(), at in any::<prop::sample::Index>(), byte in prop_oneof![
            any::<u8>(), prop::sample::select(&b"{}[]:,\"\\0-.eE+ tfn\x1f"[..]),
        ], insert in 0u8..3,
    ) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        match insert {
            0 => text.insert(at, byte),
            1 => text[at] = byte,
            _ => { text.remove(at); }
        }
        prop_assert_eq!(validate(&text).is_ok(), is_json(&text), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn escaping_is_serde_json_and_comes_back(text in "\\PC{0,80}|[\\x00-\\x7f]{0,80}") {
        let mut escaped = Vec::new();
        escape_into(&text, &mut escaped);
        let quoted = format!("\"{}\"", std::str::from_utf8(&escaped).unwrap());
        prop_assert_eq!(&quoted, &serde_json::to_string(&text).unwrap());
        let mut plain = Vec::new();
        unescape(&escaped, &mut plain).unwrap();
        prop_assert_eq!(plain, text.as_bytes());
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = validate(&bytes);
        let _ = members(&bytes, &["a"]);
        let _ = unescape(&bytes, &mut Vec::new());
    }
}

#[test]
fn an_object_is_taken_apart_by_name() {
    let text = br#" {"a": 1, "b\u0065": [ {"a":2} ] ,"a":"x", "\ud800": 3} "#;
    let found: Vec<(String, &str)> = object(text)
        .unwrap()
        .into_iter()
        .map(|member| {
            let value = &text[member.offset as usize..(member.offset + member.len) as usize];
            (member.name, std::str::from_utf8(value).unwrap())
        })
        .collect();
    let expected = [("a", "1"), ("be", "[ {\"a\":2} ]"), ("a", "\"x\"")];
    assert_eq!(
        found,
        expected.map(|(name, value)| (name.to_owned(), value))
    );
    assert!(object(b"[]").is_err() && object(b"{} x").is_err());
}

#[test]
fn an_object_of_too_much_is_a_problem() {
    let many = |n: usize| {
        let members: Vec<String> = (0..n).map(|n| format!("\"{n}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(
        object(many(MAX_MEMBERS).as_bytes()).unwrap().len(),
        MAX_MEMBERS
    );
    assert!(object(many(MAX_MEMBERS + 1).as_bytes()).is_err());
    let long = |n: usize| format!("{{\"{}\":0}}", "n".repeat(n));
    assert!(object(long(MAX_NAMES).as_bytes()).is_ok());
    assert!(object(long(MAX_NAMES + 1).as_bytes()).is_err());
}
