//! What is known of the objects: one entry each, within a bound.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::api::Page;
use crate::error::ApiError;
use crate::kinds::Kind;
use crate::services::{self, Service};
use crate::slices::{self, Place};

/// Complaints about objects that are told at once.
const PROBLEMS: usize = 8;

/// What is known now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Addresses behind Services, each pod once.
    pub places: Vec<Place>,
    /// Services that are ready.
    pub services: Vec<Service>,
    /// Objects for which there was no room.
    pub left_out: usize,
    /// Objects that could not be read since it was told last, in words; the first few.
    pub problems: Vec<String>,
}

/// An object's metadata, as far as it matters.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: Option<String>,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
struct HasMeta {
    metadata: Meta,
}

/// What one object tells.
#[derive(Clone, Debug)]
enum Told {
    Places(Vec<Place>),
    Service(Option<Box<Service>>),
}

/// The objects of one kind.
pub(crate) struct Store {
    kind: Kind,
    port: Option<String>,
    most: usize,
    /// By namespace and name; at most `most`.
    objects: BTreeMap<(String, String), Told>,
    left_out: usize,
    problems: Vec<String>,
}

impl Seen {
    /// What a list tells, of at most `most` objects: what a [`Follower`](crate::Follower) knows that
    /// was given it. `port` is the name that is wanted of slices; none: their only one.
    ///
    /// # Errors
    /// It is no list of objects.
    pub fn of_list(
        kind: Kind,
        port: Option<String>,
        most: usize,
        list: &[u8],
    ) -> Result<Self, ApiError> {
        let items = Page::read(list)?.items.unwrap_or_default();
        let mut store = Store::new(kind, port, most);
        store.replace(&items).map_err(ApiError::Garbage)?;
        Ok(store.seen())
    }
}

impl Meta {
    /// # Errors
    /// It is no object, in words.
    pub(crate) fn of(object: &Value) -> Result<Self, String> {
        let has = HasMeta::deserialize(object).map_err(|error| error.to_string())?;
        Ok(has.metadata)
    }

    fn key(&self) -> (String, String) {
        let namespace = self.namespace.clone().unwrap_or_default();
        (namespace, self.name.clone())
    }
}

impl Store {
    /// An empty one, of at most `most` objects; `port` is what is wanted of slices.
    pub(crate) fn new(kind: Kind, port: Option<String>, most: usize) -> Self {
        Self {
            kind,
            port,
            most: most.max(1),
            objects: BTreeMap::new(),
            left_out: 0,
            problems: Vec::new(),
        }
    }

    /// Takes a whole list in the place of what is known.
    ///
    /// # Errors
    /// Something in it is no object; nothing has changed.
    pub(crate) fn replace(&mut self, items: &[Value]) -> Result<(), String> {
        let metas: Result<Vec<Meta>, _> = items.iter().map(Meta::of).collect();
        let mut before = std::mem::take(&mut self.objects);
        let metas = match metas {
            Ok(metas) => metas,
            Err(problem) => {
                self.objects = before;
                return Err(problem);
            }
        };
        self.left_out = 0;
        for (meta, item) in metas.iter().zip(items) {
            let known = before.remove(&meta.key());
            self.take(meta, item, known);
        }
        Ok(())
    }

    /// Takes an object that was added or has changed.
    pub(crate) fn put(&mut self, meta: &Meta, object: &Value) {
        let known = self.objects.remove(&meta.key());
        self.take(meta, object, known);
    }

    fn take(&mut self, meta: &Meta, object: &Value, known: Option<Told>) {
        let told = match self.kind {
            Kind::EndpointSlices => slices::read(object, self.port.as_deref()).map(Told::Places),
            kind => services::read(kind, meta, object).map(|it| Told::Service(it.map(Box::new))),
        };
        let told = match (told, known) {
            (Ok(told), _) => told,
            (Err(problem), known) => {
                if self.problems.len() < PROBLEMS {
                    let (namespace, name) = meta.key();
                    self.problems.push(format!("{namespace}/{name}: {problem}"));
                }
                match known {
                    Some(known) => known,
                    None => return,
                }
            }
        };
        if self.objects.len() >= self.most {
            self.left_out += 1;
            return;
        }
        self.objects.insert(meta.key(), told);
    }

    /// Lets an object go. True: there is room now for what was left out.
    pub(crate) fn remove(&mut self, meta: &Meta) -> bool {
        self.objects.remove(&meta.key()).is_some() && self.left_out > 0
    }

    /// What is known; complaints are told once.
    pub(crate) fn seen(&mut self) -> Seen {
        let places = self.objects.values().flat_map(|told| match told {
            Told::Places(places) => &places[..],
            Told::Service(_) => &[],
        });
        let places = slices::merged(places);
        let services = self.objects.values().filter_map(|told| match told {
            Told::Service(service) => service.as_deref().cloned(),
            Told::Places(_) => None,
        });
        Seen {
            places,
            services: services.collect(),
            left_out: self.left_out,
            problems: std::mem::take(&mut self.problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, address: &str) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "n"}, "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}], "ports": [{"port": 80}],
        })
    }

    fn names(store: &mut Store) -> Vec<String> {
        let places = store.seen().places.into_iter();
        places.map(|place| place.name).collect()
    }

    fn meta(object: &Value) -> Meta {
        Meta::of(object).unwrap()
    }

    #[test]
    fn objects_come_change_and_go() {
        let mut store = Store::new(Kind::EndpointSlices, None, 8);
        store
            .replace(&[slice("a", "10.0.0.1"), slice("b", "10.0.0.2")])
            .unwrap();
        assert_eq!(names(&mut store), ["10.0.0.1", "10.0.0.2"]);
        let changed = slice("a", "10.0.0.3");
        store.put(&meta(&changed), &changed);
        assert_eq!(names(&mut store), ["10.0.0.2", "10.0.0.3"]);
        assert!(!store.remove(&meta(&changed)));
        assert_eq!(names(&mut store), ["10.0.0.2"]);
        store.replace(&[slice("c", "10.0.0.4")]).unwrap();
        assert_eq!(names(&mut store), ["10.0.0.4"]);
    }

    #[test]
    fn objects_are_bounded_and_those_left_out_are_counted() {
        let mut store = Store::new(Kind::EndpointSlices, None, 2);
        let all = ["a", "b", "c"].map(|name| slice(name, "10.0.0.1"));
        store.replace(&all).unwrap();
        assert_eq!(store.seen().left_out, 1);
        store.put(&meta(&all[0]), &all[0]);
        assert_eq!(store.seen().left_out, 1, "one that is known has room");
        assert!(store.remove(&meta(&all[0])), "there is room for the third");
    }

    #[test]
    fn one_that_cannot_be_read_keeps_what_was_known_of_it() {
        let mut store = Store::new(Kind::EndpointSlices, None, 8);
        store.replace(&[slice("a", "10.0.0.1")]).unwrap();
        let mut broken = slice("a", "10.0.0.1");
        broken["endpoints"] = json!("garbage");
        store.put(&meta(&broken), &broken);
        let seen = store.seen();
        assert_eq!(seen.places.len(), 1);
        assert!(seen.problems[0].starts_with("n/a: "), "{seen:?}");
        assert!(store.seen().problems.is_empty(), "told once");
        store
            .replace(&[broken.clone(), slice("b", "10.0.0.2")])
            .unwrap();
        assert_eq!(store.seen().places.len(), 2);
        for _ in 0..100 {
            store.put(&meta(&broken), &broken);
        }
        assert_eq!(store.seen().problems.len(), PROBLEMS);
    }

    #[test]
    fn a_list_of_no_objects_changes_nothing() {
        let mut store = Store::new(Kind::EndpointSlices, None, 8);
        store.replace(&[slice("a", "10.0.0.1")]).unwrap();
        assert!(store.replace(&[json!({"metadata": 3})]).is_err());
        assert_eq!(store.seen().places.len(), 1);
    }
}
