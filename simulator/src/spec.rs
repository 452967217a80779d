//! Descriptions on the command line: `KIND:name=value,name=value`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A description that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The kind is not known.
    #[error("`{0}` is none of {1}")]
    Kind(String, &'static str),
    /// Not `name=value`.
    #[error("`{0}` is not name=value")]
    Pair(String),
    /// A name that this kind does not have.
    #[error("{kind} has no `{name}`; it has {known}")]
    Name {
        /// The kind.
        kind: String,
        /// What was given.
        name: String,
        /// What could have been.
        known: String,
    },
    /// A value that does not fit.
    #[error("{name}={value}: {why}")]
    Value {
        /// Its name.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong.
        why: String,
    },
}

/// A description, taken apart.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What stands before the colon.
    pub kind: String,
    values: BTreeMap<String, String>,
    asked: Vec<&'static str>,
}

impl Spec {
    /// Takes a description apart.
    ///
    /// # Errors
    /// It is not `KIND:name=value,…`, or a name stands twice.
    pub fn read(text: &str) -> Result<Self, SpecError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut values = BTreeMap::new();
        for pair in rest.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| SpecError::Pair(pair.to_owned()))?;
            let before = values.insert(name.trim().to_owned(), value.trim().to_owned());
            if before.is_some() {
                return Err(SpecError::Value {
                    name: name.trim().to_owned(),
                    value: value.to_owned(),
                    why: "it is there twice".into(),
                });
            }
        }
        Ok(Self {
            kind: kind.trim().to_owned(),
            values,
            asked: Vec::new(),
        })
    }

    /// A value between two bounds, or its default.
    ///
    /// # Errors
    /// It is not one.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        default: T,
        least: T,
        most: T,
    ) -> Result<T, SpecError>
    where
        T: FromStr + PartialOrd + Display,
        T::Err: Display,
    {
        self.asked.push(name);
        let Some(value) = self.values.remove(name) else {
            return Ok(default);
        };
        let wrong = |why: String| SpecError::Value {
            name: name.to_owned(),
            value: value.clone(),
            why,
        };
        let read: T = value
            .parse()
            .map_err(|error: T::Err| wrong(error.to_string()))?;
        if read < least || read > most {
            return Err(wrong(format!("it is not between {least} and {most}")));
        }
        Ok(read)
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// A name was not asked for.
    pub fn end(self) -> Result<(), SpecError> {
        match self.values.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(SpecError::Name {
                kind: self.kind,
                name,
                known: self.asked.join(", "),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let mut spec = Spec::read("kind: a=3, b=x").unwrap();
        assert_eq!(spec.take("a", 1_u32, 0, 9).unwrap(), 3);
        assert_eq!(spec.take("c", 1.5_f64, 0.0, 9.0).unwrap(), 1.5);
        assert!(
            spec.clone()
                .end()
                .unwrap_err()
                .to_string()
                .contains("no `b`")
        );
        assert!(spec.take("b", 1_u32, 0, 9).is_err());
        assert!(Spec::read("kind:a").is_err());
        assert!(Spec::read("kind:a=1,a=2").is_err());
        let mut large = Spec::read("kind:a=10").unwrap();
        assert!(large.take("a", 1_u32, 0, 9).is_err());
    }
}
