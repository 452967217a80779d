//! What came of an exchange, whatever the pace at which its bytes came.
//!
//! What a plugin asks to be shown depends on the pace, and is left out. Output is rendered and
//! joined, texts of one item that follow each other too, and of totals only the last counts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_plugin::{encoding, types};
use tollgate_wire::convert;

use crate::value;

/// Largest output of one conversion.
const CONVERTED: usize = 16 << 20;

/// All bytes of each source, whenever they arrive.
pub(crate) type Content = BTreeMap<u32, Vec<u8>>;

/// A plugin named bytes that it was not given, or that cannot be written as it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadOutput(String);

/// The outcome of these steps' actions.
pub(crate) fn of<'a>(
    steps: impl Iterator<Item = &'a Value>,
    content: &Content,
) -> Result<Vec<Value>, BadOutput> {
    let mut outcome = Outcome {
        content,
        told: Vec::new(),
        totals: BTreeMap::new(),
        output: None,
    };
    for step in steps {
        for action in step.as_array().into_iter().flatten() {
            outcome.action(action)?;
        }
    }
    outcome.settle();
    let totals = outcome.totals.into_values();
    Ok(outcome.told.into_iter().chain(totals).collect())
}

struct Outcome<'a> {
    content: &'a Content,
    told: Vec<Value>,
    /// By whose they are.
    totals: BTreeMap<String, Value>,
    /// Bytes that go out one after the other.
    output: Option<Vec<u8>>,
}

impl Outcome<'_> {
    fn action(&mut self, action: &Value) -> Result<(), BadOutput> {
        let member = |name: &str| action.get(name);
        if member("need").is_some() {
            return Ok(());
        }
        if let Some(segments) = member("data") {
            let bytes = self.render(segments)?;
            self.output.get_or_insert_default().extend(bytes);
            return Ok(());
        }
        if let Some(usage) = member("usage") {
            let whose = format!("call {}", usage["id"]);
            self.totals.insert(whose, action.clone());
            return Ok(());
        }
        self.settle();
        for name in ["message", "send"] {
            if let Some(segments) = member(name) {
                let bytes = self.render(segments)?;
                self.told.push(json!({ name: value::bytes(&bytes) }));
                return Ok(());
            }
        }
        match member("events").and_then(Value::as_array) {
            Some(events) => events.iter().for_each(|event| self.event(event)),
            None => self.told.push(action.clone()),
        }
        Ok(())
    }

    fn settle(&mut self) {
        if let Some(bytes) = self.output.take() {
            self.told.push(json!({ "data": value::bytes(&bytes) }));
        }
    }

    /// An event of a member of an attempt, or of a composed call.
    fn event(&mut self, said: &Value) {
        let event = said.get("event").unwrap_or(said);
        if event.get("usage").is_some() {
            let whose = format!("member {}", said["member"]);
            self.totals.insert(whose, json!({ "event": said }));
            return;
        }
        let told = json!({ "event": said });
        if let Some(last) = self.told.last_mut()
            && let Some(delta) = event.get("delta")
            && last["event"]["member"] == said["member"]
            && joined(&mut last["event"], delta)
        {
            return;
        }
        self.told.push(told);
    }

    fn render(&self, segments: &Value) -> Result<Vec<u8>, BadOutput> {
        let bad = |error: &dyn std::fmt::Display| BadOutput(error.to_string());
        let segments: Vec<types::Segment> =
            value::from_value(segments).map_err(|error| bad(&error))?;
        let mut out = Vec::new();
        for segment in segments {
            match segment {
                types::Segment::Inline(bytes) => out.extend(bytes),
                types::Segment::Span(span) => out.extend(self.range(span)?),
                types::Segment::Convert(it) => {
                    let from = encoding(&it.value.written).map_err(|error| bad(&error))?;
                    let to = encoding(&it.to).map_err(|error| bad(&error))?;
                    let bytes = bytes::Bytes::copy_from_slice(self.range(it.value.at)?);
                    let converted = convert::convert(&bytes, &from, &to, CONVERTED)
                        .map_err(|error| bad(&error))?;
                    out.extend(converted);
                }
            }
        }
        Ok(out)
    }

    fn range(&self, span: types::Span) -> Result<&[u8], BadOutput> {
        let range = self.content.get(&span.source).and_then(|bytes| {
            let from = usize::try_from(span.offset).ok()?;
            let len = usize::try_from(span.len).ok()?;
            bytes.get(from..from.checked_add(len)?)
        });
        range.ok_or_else(|| {
            BadOutput(format!(
                "bytes {}+{} of source {} are not there",
                span.offset, span.len, span.source
            ))
        })
    }
}

/// Joins a delta with the one before it, if that is of the same item.
fn joined(last: &mut Value, delta: &Value) -> bool {
    let event = match last.get("event").is_some() {
        true => &mut last["event"],
        false => last,
    };
    let Some(before) = event.get_mut("delta") else {
        return false;
    };
    if before["item"] != delta["item"] {
        return false;
    }
    let text = |value: &Value| value["text"].as_str().unwrap_or_default().to_owned();
    before["text"] = format!("{}{}", text(before), text(delta)).into();
    for name in ["tokens", "extras"] {
        if let Some(more) = delta[name].as_array() {
            match &mut before[name] {
                Value::Array(list) => list.extend(more.iter().cloned()),
                none => *none = more.clone().into(),
            }
        }
    }
    if !delta["output-tokens"].is_null() {
        before["output-tokens"] = delta["output-tokens"].clone();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_steps(steps: &[Value]) -> Vec<Value> {
        let content = Content::from([(0, b"\"a\\u0062c\"".to_vec())]);
        of(steps.iter(), &content).unwrap()
    }

    #[test]
    fn output_is_joined_and_rendered() {
        let text = json!({"source": 0, "offset": 0, "len": 10});
        let convert = json!({"convert": {
            "value": {"at": text, "written": "json-string"}, "to": "plain"
        }});
        let whole = of_steps(&[json!([{"data": [{"inline": "x"}, convert]}, "finish"])]);
        let pieces = of_steps(&[
            json!([{"data": [{"inline": "x"}]}, {"need": {"source": 0}}]),
            json!([{"data": [{"inline": "ab"}]}, {"data": [{"span": {"source": 0, "offset": 8, "len": 1}}]}, "finish"]),
        ]);
        assert_eq!(whole, pieces);
        assert_eq!(whole, [json!({"data": "xabc"}), json!("finish")]);
    }

    #[test]
    fn bytes_that_are_not_there_are_no_output() {
        let steps = [json!([{"data": [{"span": {"source": 0, "offset": 8, "len": 9}}]}])];
        let content = Content::from([(0, b"short".to_vec())]);
        assert!(of(steps.iter(), &content).is_err());
    }

    #[test]
    fn texts_are_joined_and_the_last_total_counts() {
        let delta = |member: u32, text: &str| json!({"member": member, "event": {"delta": {"item": 0, "text": text}}});
        let usage = |count: u32| json!({"member": 0, "event": {"usage": {"output-tokens": count}}});
        let one = of_steps(&[
            json!([{"events": [delta(0, "a"), usage(1), delta(0, "b"), delta(1, "c"), usage(2)]}]),
        ]);
        let two = of_steps(&[
            json!([{"events": [delta(0, "ab"), delta(1, "c")]}]),
            json!([{"events": [usage(2)]}]),
        ]);
        assert_eq!(one, two);
        assert_eq!(one.len(), 3);
    }
}
