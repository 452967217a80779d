//! From JSON to types.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{
    self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor,
    value::{MapDeserializer, SeqDeserializer, StrDeserializer},
};
use serde_json::Value;

use super::{BASE64, ValueError};
use crate::names::kebab;

/// A value of the contract, from JSON as [`super::to_value`] writes it.
///
/// # Errors
/// Says what is not of the contract.
pub fn from_value<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, ValueError> {
    T::deserialize(Reader(value))
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Reader<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, ValueError> for Reader<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// A number that JSON has not.
fn odd(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                _ => Err(ValueError(format!("{number} is no number here"))),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(members) => visitor.visit_map(MapDeserializer::new(
                members
                    .iter()
                    .map(|(name, value)| (name.as_str(), Reader(value))),
            )),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.as_str().and_then(odd) {
            Some(value) => visitor.visit_f64(value),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            // Left out: an empty list.
            Value::Null => {
                visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Reader<'_>>()))
            }
            Value::Array(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.iter().map(Reader)))
            }
            value => {
                let bytes = bytes(value)?;
                visitor.visit_seq(SeqDeserializer::new(bytes.into_iter()))
            }
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let Value::Object(members) = self.0 else {
            return Err(ValueError(format!("{} is an object", kebab(name))));
        };
        let known = |member: &String| fields.iter().any(|field| kebab(field) == *member);
        if let Some(unknown) = members.keys().find(|member| !known(member)) {
            return Err(ValueError(format!("{} has no `{unknown}`", kebab(name))));
        }
        visitor.visit_map(MapDeserializer::new(fields.iter().map(|field| {
            let value = members.get(&kebab(field)).unwrap_or(&Value::Null);
            (*field, Reader(value))
        })))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let (case, payload) = match self.0 {
            Value::String(case) => (case, &Value::Null),
            Value::Object(members) if members.len() == 1 => {
                members.iter().next().expect("there is one")
            }
            _ => {
                let what = "a name, or an object of one member";
                return Err(ValueError(format!("{} is {what}", kebab(name))));
            }
        };
        let variant = variants
            .iter()
            .find(|variant| kebab(variant) == *case)
            .ok_or_else(|| ValueError(format!("{} has no case `{case}`", kebab(name))))?;
        visitor.visit_enum(Case { variant, payload })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit
        unit_struct tuple_struct map identifier ignored_any
    }
}

/// The bytes of a text, or of base64.
pub(crate) fn bytes(value: &Value) -> Result<Vec<u8>, ValueError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Object(members) if members.len() == 1 => {
            let text = members.get(BASE64).and_then(Value::as_str);
            text.and_then(|text| STANDARD.decode(text).ok())
                .ok_or_else(|| ValueError("bytes are a text or base64".into()))
        }
        _ => Err(ValueError("bytes are a text or base64".into())),
    }
}

/// A case of a variant.
struct Case<'de> {
    variant: &'static str,
    payload: &'de Value,
}

impl<'de> de::EnumAccess<'de> for Case<'de> {
    type Error = ValueError;
    type Variant = Payload<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Payload<'de>), ValueError> {
        let name: StrDeserializer<'_, ValueError> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, Payload(self.payload)))
    }
}

struct Payload<'de>(&'de Value);

impl<'de> de::VariantAccess<'de> for Payload<'de> {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        match self.0 {
            Value::Null => Ok(()),
            _ => Err(ValueError("a case that has no payload has one".into())),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, ValueError> {
        seed.deserialize(Reader(self.0))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError("the contract has no such case".into()))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ValueError> {
        Err(ValueError("the contract has no such case".into()))
    }
}
