use serde_json::{Value, json};

use super::*;

/// What a reader makes of a text, and its problems as kinds and places.
fn read<T>(text: &str, read: impl FnOnce(&mut Reader, &str) -> T) -> Result<T, Vec<Value>> {
    let mut reader = Reader::default();
    let value = read(&mut reader, text);
    reader.finish(value).map_err(|problems| {
        let shown = |problem: &Problem| {
            let problem = serde_json::to_value(problem).unwrap();
            json!([problem["type"], problem["loc"], problem["input"]])
        };
        problems.iter().map(shown).collect()
    })
}

fn integers(text: &str) -> Result<Option<Option<i64>>, Vec<Value>> {
    read(text, |reader, text| {
        reader.object(text, |members| members.integer("n"))
    })
}

#[test]
fn whole_numbers_may_be_written_in_many_ways() {
    for (text, number) in [
        (r#"{"n": 3}"#, 3),
        (r#"{"n": 3.0}"#, 3),
        (r#"{"n": "3"}"#, 3),
        (r#"{"n": " 3 "}"#, 3),
        (r#"{"n": true}"#, 1),
        (r#"{"n": -4e2}"#, -400),
    ] {
        assert_eq!(integers(text), Ok(Some(Some(number))), "{text}");
    }
    assert_eq!(integers(r#"{"n": null}"#), Ok(Some(None)));
    assert_eq!(integers("{}"), Ok(Some(None)));
}

#[test]
fn what_is_no_whole_number_says_why() {
    for (text, kind) in [
        (r#"{"n": 3.5}"#, "int_from_float"),
        (r#"{"n": "x"}"#, "int_parsing"),
        (r#"{"n": "3.5"}"#, "int_parsing"),
        (r#"{"n": []}"#, "int_type"),
        (r#"{"n": {}}"#, "int_type"),
        (r#"{"n": 1e300}"#, "int_parsing_size"),
        (r#"{"n": 99999999999999999999}"#, "int_parsing_size"),
    ] {
        let problems = integers(text).unwrap_err();
        assert_eq!(problems[0][0], kind, "{text}");
        assert_eq!(problems[0][1], json!(["n"]));
    }
}

#[test]
fn numbers_and_truths_are_read_as_leniently() {
    let number = |text: &str| {
        read(text, |reader, text| {
            reader.object(text, |members| members.number("n"))
        })
    };
    assert_eq!(number(r#"{"n": "0.5"}"#), Ok(Some(Some(0.5))));
    assert_eq!(number(r#"{"n": 1}"#), Ok(Some(Some(1.0))));
    assert_eq!(number(r#"{"n": "x"}"#).unwrap_err()[0][0], "float_parsing");
    assert_eq!(number(r#"{"n": [1]}"#).unwrap_err()[0][0], "float_type");
    let truth = |text: &str| {
        read(text, |reader, text| {
            reader.object(text, |members| members.boolean("n"))
        })
    };
    for (text, value) in [
        ("1", true),
        ("\"On\"", true),
        ("\"n\"", false),
        ("false", false),
    ] {
        let text = format!("{{\"n\": {text}}}");
        assert_eq!(truth(&text), Ok(Some(Some(value))), "{text}");
    }
    assert_eq!(
        truth(r#"{"n": "maybe"}"#).unwrap_err()[0][0],
        "bool_parsing"
    );
    assert_eq!(truth(r#"{"n": 3}"#).unwrap_err()[0][0], "bool_parsing");
    assert_eq!(truth(r#"{"n": [3]}"#).unwrap_err()[0][0], "bool_type");
    let natural = |text: &str| {
        read(text, |reader, text| {
            reader.object(text, |members| members.natural("n"))
        })
    };
    assert_eq!(
        natural(r#"{"n": 18446744073709551615}"#),
        Ok(Some(Some(u64::MAX)))
    );
    assert_eq!(
        natural(r#"{"n": -1}"#).unwrap_err()[0][0],
        "greater_than_equal"
    );
}

#[test]
fn every_problem_is_told_with_its_place() {
    let text = r#"{"a": ["x", 3, "y", null], "b": 7, "docs": [{}, "z"], "more": {"x": 1}}"#;
    let problems = read(text, |reader, text| {
        reader.object(text, |members| {
            let strings = members.strings("a");
            let docs = members.take("docs", Reader::objects);
            (strings, docs, members.string("b"))
        })
    });
    assert_eq!(
        problems.unwrap_err(),
        [
            json!(["string_type", ["a", 1], 3]),
            json!(["string_type", ["a", 3], null]),
            json!(["dict_type", ["docs", 1], "z"]),
            json!(["string_type", ["b"], 7]),
            json!(["extra_forbidden", ["more"], {"x": 1}]),
        ]
    );
}

#[test]
fn the_last_of_two_counts() {
    assert_eq!(integers(r#"{"n": "x", "n": 4}"#), Ok(Some(Some(4))));
}

#[test]
fn a_long_input_is_shown_in_part() {
    let text = format!(r#"{{"n": [{}"ü"]}}"#, "1,".repeat(SHOWN));
    let problems = integers(&text).unwrap_err();
    let shown = problems[0][2].as_str().unwrap();
    assert!(shown.starts_with("[1,1") && shown.len() <= SHOWN);
}

#[test]
fn no_more_members_are_kept_than_are_worth_reading() {
    let members: Vec<String> = (0..5000).map(|n| format!("\"m{n}\":{n}")).collect();
    let text = format!("{{{},\"m0\":7}}", members.join(","));
    let InOrder(all) = serde_json::from_str(&text).unwrap();
    assert_eq!(all.len(), MOST_MEMBERS);
    assert_eq!((all[0].0.as_str(), all[0].1.get()), ("m0", "7"));
    // A known one behind them makes the object no better.
    let text = format!("{{{},\"n\":3}}", members.join(","));
    let problems = integers(&text).unwrap_err();
    assert_eq!(problems[0], json!(["extra_forbidden", ["m0"], 0]));
}

#[test]
fn problems_are_told_up_to_a_hundred_and_that_there_are_others() {
    let documents = |count: usize| format!("[{}]", vec!["5"; count].join(","));
    let told = |text: &str| read(text, Reader::strings).unwrap_err();
    assert_eq!(told(&documents(100)).len(), 100);
    let problems = told(&documents(90_000));
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[99], json!(["string_type", [99], 5]));
    assert_eq!(problems[100], json!(["too_many_errors", [], null]));
    let members: Vec<String> = (0..500).map(|n| format!("\"m{n}\":{n}")).collect();
    assert_eq!(told_of_members(&members).len(), 101);
    assert_eq!(told_of_members(&members[..100]).len(), 100);
}

fn told_of_members(members: &[String]) -> Vec<Value> {
    integers(&format!("{{{}}}", members.join(","))).unwrap_err()
}

#[test]
fn a_list_with_one_wrong_element_is_none() {
    let all = |text: &str| {
        let mut reader = Reader::default();
        reader.strings(text)
    };
    assert_eq!(all(r#"["a", "b"]"#), Some(vec!["a".into(), "b".into()]));
    assert_eq!(all(r#"["a", 5, "b"]"#), None);
    assert_eq!(all("[]"), Some(Vec::new()));
}
