//! `google.protobuf.Struct` as JSON and back. Its numbers are doubles.

use prost_types::{ListValue, Struct, Value as Proto, value::Kind};
use serde_json::{Map, Number, Value};

/// Deepest nesting that is written: what is further inside is null. Messages that are
/// read are at most as deep, by prost's own limit.
const DEEPEST: usize = 100;

/// JSON of an object. Whole numbers that a double holds exactly are written as such.
pub fn to_json(object: &Struct) -> Map<String, Value> {
    object
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), value_to_json(value)))
        .collect()
}

fn value_to_json(value: &Proto) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StructValue(object)) => Value::Object(to_json(object)),
        Some(Kind::ListValue(list)) => list.values.iter().map(value_to_json).collect(),
    }
}

fn number_to_json(number: f64) -> Value {
    // Up to 2^53 every whole number is exact.
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and fits")]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// An object of JSON.
pub fn from_json(object: &Map<String, Value>) -> Struct {
    object_from_json(object, 0)
}

fn object_from_json(object: &Map<String, Value>, depth: usize) -> Struct {
    let fields = object.iter();
    Struct {
        fields: fields
            .map(|(name, value)| (name.clone(), value_from_json(value, depth + 1)))
            .collect(),
    }
}

fn value_from_json(value: &Value, depth: usize) -> Proto {
    let kind = match value {
        _ if depth > DEEPEST => Kind::NullValue(0),
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values
                .iter()
                .map(|value| value_from_json(value, depth + 1))
                .collect(),
        }),
        Value::Object(object) => Kind::StructValue(object_from_json(object, depth)),
    };
    Proto { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_come_back() {
        let value = json!({
            "text": "a", "n": 1, "half": -0.5, "none": null, "yes": true,
            "list": [1, "x", {"deep": []}]
        });
        let object = value.as_object().unwrap();
        assert_eq!(to_json(&from_json(object)), *object);
    }

    #[test]
    fn what_json_cannot_carry_is_null() {
        for number in [f64::NAN, f64::INFINITY] {
            assert_eq!(number_to_json(number), Value::Null);
        }
        assert_eq!(number_to_json(1e300), json!(1e300));
    }
}
