//! From types to JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Serialize,
    ser::{self, Impossible},
};
use serde_json::{Map, Number, Value};

use super::{BASE64, ValueError};
use crate::{names::kebab, secret};

/// A value of the contract as JSON, without its secrets.
///
/// # Errors
/// When it is of a kind that the contract has not.
pub fn to_value(value: &impl Serialize) -> Result<Value, ValueError> {
    value.serialize(Writer)
}

struct Writer;

type Never = Impossible<Value, ValueError>;

fn foreign(what: &str) -> ValueError {
    ValueError(format!("the contract has no {what}"))
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Value, ValueError> {
            Ok(Value::from(value))
        })*
    };
}

impl ser::Serializer for Writer {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Record;
    type SerializeStructVariant = Never;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_bool: bool);

    fn serialize_f32(self, value: f32) -> Result<Value, ValueError> {
        Ok(float(value.into()))
    }
    fn serialize_f64(self, value: f64) -> Result<Value, ValueError> {
        Ok(float(value))
    }
    fn serialize_char(self, value: char) -> Result<Value, ValueError> {
        Ok(value.to_string().into())
    }
    fn serialize_str(self, value: &str) -> Result<Value, ValueError> {
        Ok(value.into())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<Value, ValueError> {
        Ok(bytes(value))
    }
    fn serialize_none(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, ValueError> {
        Err(foreign("unit struct"))
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, ValueError> {
        Ok(kebab(variant).into())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        let value = value.serialize(Writer)?;
        Ok(Value::Object(Map::from_iter([(kebab(variant), value)])))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<List, ValueError> {
        Ok(List {
            values: Vec::with_capacity(len.unwrap_or_default().min(1024)),
            bytes: true,
        })
    }
    fn serialize_tuple(self, len: usize) -> Result<List, ValueError> {
        Ok(List {
            values: Vec::with_capacity(len),
            bytes: false,
        })
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, ValueError> {
        Err(foreign("tuple struct"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, ValueError> {
        Err(foreign("case with several payloads"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Never, ValueError> {
        Err(foreign("map"))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Record, ValueError> {
        Ok(Record {
            name,
            members: Map::new(),
        })
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, ValueError> {
        Err(foreign("case with members"))
    }
}

/// A list; of bytes, as long as every element is one.
struct List {
    values: Vec<Item>,
    bytes: bool,
}

enum Item {
    Byte(u8),
    Other(Value),
}

/// Whether a value is a byte: nothing else of the contract is a `u8`.
struct Byte;

macro_rules! no_bytes {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<u8, ValueError> { Err(foreign("byte")) })*
    };
}

impl ser::Serializer for Byte {
    type Ok = u8;
    type Error = ValueError;
    type SerializeSeq = Impossible<u8, ValueError>;
    type SerializeTuple = Impossible<u8, ValueError>;
    type SerializeTupleStruct = Impossible<u8, ValueError>;
    type SerializeTupleVariant = Impossible<u8, ValueError>;
    type SerializeMap = Impossible<u8, ValueError>;
    type SerializeStruct = Impossible<u8, ValueError>;
    type SerializeStructVariant = Impossible<u8, ValueError>;

    fn serialize_u8(self, value: u8) -> Result<u8, ValueError> {
        Ok(value)
    }
    no_bytes!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str,
        serialize_bytes: &[u8], serialize_unit_struct: &'static str);
    fn serialize_none(self) -> Result<u8, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<u8, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_unit(self) -> Result<u8, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<u8, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<u8, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<u8, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, ValueError> {
        Err(foreign("byte"))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, ValueError> {
        Err(foreign("byte"))
    }
}

impl List {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let item = match value.serialize(Byte) {
            Ok(byte) if self.bytes => Item::Byte(byte),
            _ => {
                self.bytes = false;
                Item::Other(value.serialize(Writer)?)
            }
        };
        self.values.push(item);
        Ok(())
    }

    fn finish(self) -> Value {
        if self.bytes && !self.values.is_empty() {
            let all: Vec<u8> = self
                .values
                .iter()
                .filter_map(|item| match item {
                    Item::Byte(byte) => Some(*byte),
                    Item::Other(_) => None,
                })
                .collect();
            return bytes(&all);
        }
        self.values
            .into_iter()
            .map(|item| match item {
                Item::Byte(byte) => byte.into(),
                Item::Other(value) => value,
            })
            .collect()
    }
}

/// Bytes as text, where they are one.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let text = STANDARD.encode(bytes);
            Value::Object(Map::from_iter([(BASE64.to_owned(), text.into())]))
        }
    }
}

impl ser::SerializeSeq for List {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.add(value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTuple for List {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.add(value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(self.finish())
    }
}

/// A record.
struct Record {
    name: &'static str,
    members: Map<String, Value>,
}

impl ser::SerializeStruct for Record {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        let value = match value.serialize(Writer)? {
            Value::Null => return Ok(()),
            Value::Array(list) if list.is_empty() => return Ok(()),
            Value::String(text) => match name {
                "query" => secret::query(&text),
                "path" => secret::path(&text),
                "options" => secret::options(&text),
                _ => text,
            }
            .into(),
            value => value,
        };
        self.members.insert(kebab(name), value);
        Ok(())
    }
    fn end(mut self) -> Result<Value, ValueError> {
        if self.name == "Header" {
            let name = self.members.get("name").and_then(Value::as_str);
            if name.is_some_and(secret::is_secret) {
                self.members
                    .insert("value".to_owned(), secret::REDACTED.into());
            }
        }
        Ok(Value::Object(self.members))
    }
}
