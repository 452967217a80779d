//! Named settings of requests, tensors and responses: from JSON, from protocol buffers, and
//! back.

use std::collections::HashMap;

use prost::Message;
use serde_json::{Map, Value};
use tollgate_sdk_protocol::inference::{Parameter, ParameterValue};

use super::{Kind, Stop};
use crate::proto::{self, InferParameter, infer_parameter::ParameterChoice};

/// Most settings of one request, tensor or response.
pub const MOST: usize = 1024;

/// One entry of the map, as protocol buffers write maps.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<InferParameter>,
}

/// The value of a setting, by its name.
pub fn get<'a>(parameters: &'a [Parameter], name: &str) -> Option<&'a ParameterValue> {
    let mut found = parameters.iter().filter(|parameter| parameter.name == name);
    found.next().map(|parameter| &parameter.value)
}

/// A setting that is true or false; none: it is not there.
///
/// # Errors
/// It is something else.
pub fn flag(parameters: &[Parameter], name: &str) -> Result<Option<bool>, String> {
    match get(parameters, name) {
        None => Ok(None),
        Some(ParameterValue::Boolean(value)) => Ok(Some(*value)),
        Some(_) => Err(format!("the parameter `{name}` must be true or false")),
    }
}

/// A setting that counts something.
///
/// # Errors
/// It is something else.
pub fn count(parameters: &[Parameter], name: &str) -> Result<Option<u64>, String> {
    let not = || format!("the parameter `{name}` must be a whole number of 0 or more");
    match get(parameters, name) {
        None => Ok(None),
        Some(ParameterValue::Int64(value)) => u64::try_from(*value).map(Some).map_err(|_| not()),
        Some(ParameterValue::Uint64(value)) => Ok(Some(*value)),
        Some(_) => Err(not()),
    }
}

/// Reads a JSON object of settings.
///
/// In an answer a member may be null, as ModelMesh's REST proxy writes one without a value
/// (rest-proxy, proxy/marshaler.go): it sets nothing.
///
/// # Errors
/// A value that is no string, number or boolean.
pub fn from_json(raw: &[u8], kind: Kind) -> Result<Vec<Parameter>, String> {
    let members: Map<String, Value> = match serde_json::from_slice(raw) {
        Ok(Value::Object(members)) => members,
        Ok(Value::Null) => return Ok(Vec::new()),
        _ => return Err("`parameters` must be an object".to_owned()),
    };
    if members.len() > MOST {
        return Err(too_many());
    }
    members
        .into_iter()
        .filter(|(_, value)| kind == Kind::Request || !value.is_null())
        .map(|(name, value)| {
            let value = value_of(&value).ok_or_else(|| {
                format!("the parameter `{name}` must be a string, a number or a boolean")
            })?;
            Ok(Parameter { name, value })
        })
        .collect()
}

/// A JSON value as a setting; none: it can be none.
pub fn value_of(value: &Value) -> Option<ParameterValue> {
    Some(match value {
        Value::Bool(value) => ParameterValue::Boolean(*value),
        Value::String(value) => ParameterValue::Text(value.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => ParameterValue::Int64(value),
            (None, Some(value)) => ParameterValue::Uint64(value),
            (None, None) => ParameterValue::Double(number.as_f64()?),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    })
}

/// A setting as JSON. What JSON has no number for is told as text, as protocol buffers'
/// own JSON does.
pub fn to_json(value: &ParameterValue) -> Value {
    match value {
        ParameterValue::Boolean(value) => (*value).into(),
        ParameterValue::Int64(value) => (*value).into(),
        ParameterValue::Uint64(value) => (*value).into(),
        ParameterValue::Text(value) => value.clone().into(),
        ParameterValue::Double(value) if value.is_finite() => (*value).into(),
        ParameterValue::Double(value) if value.is_nan() => "NaN".into(),
        ParameterValue::Double(value) if *value < 0.0 => "-Infinity".into(),
        ParameterValue::Double(_) => "Infinity".into(),
    }
}

fn too_many() -> String {
    format!("there are more than {MOST} parameters")
}

/// Adds one entry of the map, from the bytes of its message. Names may be equal until
/// [`settle`] is called.
pub fn add_entry(parameters: &mut Vec<Parameter>, raw: &[u8]) -> Result<(), Stop> {
    if parameters.len() == MOST {
        return Err(Stop::Bad(too_many()));
    }
    let entry = Entry::decode(raw).map_err(|_| Stop::malformed())?;
    let Some(value) = entry.value.and_then(|value| value.parameter_choice) else {
        // A parameter without a value sets nothing.
        return Ok(());
    };
    let value = match value {
        ParameterChoice::BoolParam(value) => ParameterValue::Boolean(value),
        ParameterChoice::Int64Param(value) => ParameterValue::Int64(value),
        ParameterChoice::StringParam(value) => ParameterValue::Text(value),
        ParameterChoice::DoubleParam(value) => ParameterValue::Double(value),
        ParameterChoice::Uint64Param(value) => ParameterValue::Uint64(value),
    };
    parameters.push(Parameter {
        name: entry.key,
        value,
    });
    Ok(())
}

/// Leaves the last of equal names, as every map does; the others keep their order.
pub fn settle(parameters: &mut Vec<Parameter>) {
    let last: HashMap<String, usize> = parameters
        .iter()
        .enumerate()
        .map(|(at, parameter)| (parameter.name.clone(), at))
        .collect();
    if last.len() < parameters.len() {
        let mut at = 0;
        parameters.retain(|parameter| {
            at += 1;
            last.get(&parameter.name) == Some(&(at - 1))
        });
    }
}

/// Writes the map as entries of a field. Without `wide` values are kept to the three kinds
/// that every server knows.
///
/// # Errors
/// A value that is of no such kind.
pub fn entries(field: u32, parameters: &[Parameter], wide: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for parameter in parameters {
        let choice = match &parameter.value {
            ParameterValue::Boolean(value) => ParameterChoice::BoolParam(*value),
            ParameterValue::Int64(value) => ParameterChoice::Int64Param(*value),
            ParameterValue::Text(value) => ParameterChoice::StringParam(value.clone()),
            ParameterValue::Uint64(value) => match i64::try_from(*value) {
                Ok(value) => ParameterChoice::Int64Param(value),
                Err(_) if wide => ParameterChoice::Uint64Param(*value),
                Err(_) => return Err(narrow(&parameter.name)),
            },
            ParameterValue::Double(value) if wide => ParameterChoice::DoubleParam(*value),
            ParameterValue::Double(_) => return Err(narrow(&parameter.name)),
        };
        let entry = Entry {
            key: parameter.name.clone(),
            value: Some(InferParameter {
                parameter_choice: Some(choice),
            }),
        };
        out.extend(proto::prefix(field, entry.encoded_len() as u64));
        entry.encode(&mut out).expect("a vector has room");
    }
    Ok(out)
}

fn narrow(name: &str) -> String {
    format!("the parameter `{name}` is a number of a kind that this server has not")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_sdk_protocol::{fields::Reader, testing::Memory};

    fn all() -> Vec<Parameter> {
        from_json(
            br#"{"a":true,"b":-5,"c":"x","d":0.5,"e":18446744073709551615}"#,
            Kind::Request,
        )
        .unwrap()
    }

    fn read(raw: &[u8]) -> Vec<Parameter> {
        let memory = Memory::default().with(0, raw);
        let mut reader = Reader::new(&memory, &memory.progress(0));
        let (mut at, mut parameters) = (0, Vec::new());
        while at < raw.len() as u64 {
            let field = reader.field(at, raw.len() as u64).unwrap();
            let entry = reader.message(&field).unwrap();
            add_entry(&mut parameters, &entry).unwrap();
            at = field.end;
        }
        settle(&mut parameters);
        parameters
    }

    #[test]
    fn there_are_no_more_than_a_bound_however_named() {
        let one = entries(4, &from_json(br#"{"a":1}"#, Kind::Request).unwrap(), true).unwrap();
        let entry = &one[2..];
        let mut parameters = Vec::new();
        for _ in 0..MOST {
            add_entry(&mut parameters, entry).unwrap();
        }
        let Err(Stop::Bad(why)) = add_entry(&mut parameters, entry) else {
            panic!("one too many")
        };
        assert!(why.contains("more than 1024 parameters"), "{why}");
        settle(&mut parameters);
        assert_eq!(parameters.len(), 1);
        let json: Map<String, Value> = (0..=MOST).map(|at| (at.to_string(), 1.into())).collect();
        let json = Value::from(json).to_string();
        assert_eq!(from_json(json.as_bytes(), Kind::Request).unwrap_err(), why);
    }

    #[test]
    fn every_kind_comes_back() {
        let parameters = all();
        assert_eq!(read(&entries(4, &parameters, true).unwrap()), parameters);
        let json: Map<String, Value> = parameters
            .iter()
            .map(|it| (it.name.clone(), to_json(&it.value)))
            .collect();
        let again = from_json(Value::from(json).to_string().as_bytes(), Kind::Request).unwrap();
        assert_eq!(again, parameters);
    }

    #[test]
    fn servers_without_the_newer_kinds_are_not_sent_them() {
        let error = entries(4, &all(), false).unwrap_err();
        assert!(error.contains("`d`"), "{error}");
        let fits = [Parameter {
            name: "n".to_owned(),
            value: ParameterValue::Uint64(7),
        }];
        assert!(entries(4, &fits, false).is_ok());
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let twice = [
            entries(4, &from_json(br#"{"a":1}"#, Kind::Request).unwrap(), true).unwrap(),
            entries(4, &from_json(br#"{"a":2}"#, Kind::Request).unwrap(), true).unwrap(),
        ];
        assert_eq!(
            get(&read(&twice.concat()), "a"),
            Some(&ParameterValue::Int64(2))
        );
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        for raw in [r#"{"a":null}"#, r#"{"a":[1]}"#, r#"{"a":{}}"#] {
            assert!(
                from_json(raw.as_bytes(), Kind::Request)
                    .unwrap_err()
                    .contains("`a`")
            );
        }
        assert!(from_json(b"[]", Kind::Request).is_err());
        assert!(flag(&all(), "b").is_err() && count(&all(), "b").is_err());
        assert_eq!(flag(&all(), "a"), Ok(Some(true)));
    }
}
