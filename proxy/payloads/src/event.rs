//! An event, and the two ways in which it is written.

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::room::Room;

/// What a value in a header may not have as it is (CloudEvents, HTTP protocol binding, section
/// 3.1.3.2); nor what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The body is the event's data, its attributes are headers.
    Binary,
    /// One JSON object.
    Structured,
}

/// One event, which holds room for its data.
#[derive(Debug)]
pub(crate) struct Event {
    /// `org.kubeflow.serving.inference.request` or `.response`.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) time: SystemTime,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) metadata: Option<String>,
    pub(crate) data: Bytes,
    /// Bytes of the body in all.
    pub(crate) size: u64,
    pub(crate) _room: Room,
}

/// What all events of a log have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) source: String,
    /// Extension attributes by their names.
    pub(crate) extensions: Vec<(&'static str, String)>,
}

impl Event {
    /// The head and the body of the request that tells it.
    pub(crate) fn written(
        &self,
        common: &Common,
        content: Content,
        now: SystemTime,
    ) -> (HeaderMap, Bytes) {
        let attributes = self.attributes(common, now);
        match content {
            Content::Binary => (self.headers(&attributes), self.data.clone()),
            Content::Structured => {
                let kind = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
                (headers, self.object(attributes).into())
            }
        }
    }

    fn truncated(&self) -> bool {
        self.size > self.data.len() as u64
    }

    /// Attributes but for the type of the data, with values as they are.
    fn attributes(&self, common: &Common, now: SystemTime) -> Vec<(&'static str, Value)> {
        let time = |at: SystemTime| Value::from(humantime::format_rfc3339_micros(at).to_string());
        let mut all: Vec<(&'static str, Value)> = vec![
            ("specversion", "1.0".into()),
            ("id", self.id.as_str().into()),
            ("source", common.source.as_str().into()),
            ("type", self.kind.into()),
            ("time", time(self.time)),
            ("recordedtime", time(now)),
        ];
        let extensions = common.extensions.iter();
        all.extend(extensions.map(|(name, value)| (*name, value.as_str().into())));
        let own = [
            ("metadata", self.metadata.as_deref().map(Value::from)),
            (
                "contentencoding",
                self.content_encoding.as_deref().map(Value::from),
            ),
            ("responsestatus", self.status.map(Value::from)),
            ("truncated", self.truncated().then_some(Value::Bool(true))),
            ("datasize", self.truncated().then(|| self.size.into())),
        ];
        all.extend(
            own.into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        all
    }

    fn headers(&self, attributes: &[(&'static str, Value)]) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(attributes.len() + 1);
        for (name, value) in attributes {
            let text = match value {
                Value::String(text) => utf8_percent_encode(text, ENCODED).to_string(),
                other => other.to_string(),
            };
            let name = HeaderName::try_from(format!("ce-{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(text)) {
                headers.insert(name, value);
            }
        }
        // A cut body is no JSON any more, but what it is the beginning of is worth knowing.
        let kind = self.content_type.as_deref();
        if let Some(Ok(kind)) = kind.map(HeaderValue::try_from) {
            headers.insert(CONTENT_TYPE, kind);
        }
        headers
    }

    fn object(&self, attributes: Vec<(&'static str, Value)>) -> Vec<u8> {
        let attributes = attributes.into_iter();
        let mut object: Map<String, Value> = attributes
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if let Some(kind) = &self.content_type {
            object.insert("datacontenttype".to_owned(), kind.as_str().into());
        }
        let mut text = Value::Object(object).to_string().into_bytes();
        text.pop();
        // JSON stays the text that it was: read and written again, numbers could change.
        let json = self.content_type.as_deref().is_some_and(is_json)
            && serde_json::from_slice::<IgnoredAny>(&self.data).is_ok();
        if json {
            text.extend_from_slice(b",\"data\":");
            text.extend_from_slice(&self.data);
        } else {
            text.extend_from_slice(b",\"data_base64\":\"");
            text.extend_from_slice(STANDARD.encode(&self.data).as_bytes());
            text.push(b'"');
        }
        text.push(b'}');
        text
    }
}

/// `application/json`, `text/json`, or anything with the suffix `+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let (_, subtype) = kind.split_once('/').unwrap_or_default();
    let subtype = subtype.to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Budget;

    fn event(content_type: &str, data: &'static str, size: u64) -> Event {
        Event {
            kind: "org.kubeflow.serving.inference.response",
            id: "r 1\u{e9}".to_owned(),
            time: SystemTime::UNIX_EPOCH,
            content_type: Some(content_type.to_owned()),
            content_encoding: None,
            status: Some(200),
            metadata: Some(r#"{"x":["50%"]}"#.to_owned()),
            data: Bytes::from_static(data.as_bytes()),
            size,
            _room: Budget::new(0).room(),
        }
    }

    fn common() -> Common {
        Common {
            source: "tollgate/all".to_owned(),
            extensions: vec![("inferenceservicename", "iris".to_owned())],
        }
    }

    #[test]
    fn binary_events_have_their_attributes_in_headers() {
        let event = event("application/json", "{}", 2);
        let (headers, body) = event.written(&common(), Content::Binary, SystemTime::UNIX_EPOCH);
        let is = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
        assert_eq!(&*body, b"{}");
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "r%201%C3%A9"),
            ("ce-source", "tollgate/all"),
            ("ce-type", "org.kubeflow.serving.inference.response"),
            ("ce-time", "1970-01-01T00:00:00.000000Z"),
            ("ce-inferenceservicename", "iris"),
            ("ce-metadata", "{%22x%22:[%2250%25%22]}"),
            ("ce-responsestatus", "200"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(is(name), Some(value), "{name}");
        }
        assert_eq!((is("ce-truncated"), is("ce-datasize")), (None, None));
    }

    #[test]
    fn a_cut_body_is_marked_as_such() {
        let cut = event("application/json", "{\"a\":", 99);
        let (headers, _) = cut.written(&common(), Content::Binary, SystemTime::UNIX_EPOCH);
        assert_eq!(headers["ce-truncated"], "true");
        assert_eq!(headers["ce-datasize"], "99");
        let (_, body) = cut.written(&common(), Content::Structured, SystemTime::UNIX_EPOCH);
        let object: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(object["truncated"], true);
        assert_eq!(object["data_base64"], STANDARD.encode("{\"a\":"));
        assert!(object.get("data").is_none());
    }

    #[test]
    fn structured_events_carry_json_as_it_is_written() {
        let text = "{\"n\": 1.00, \"big\": 123456789012345678901234567890}";
        let event = event("application/x+JSON; charset=utf-8", text, text.len() as u64);
        let (headers, body) = event.written(&common(), Content::Structured, SystemTime::UNIX_EPOCH);
        assert!(
            headers[CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("application/cloudevents+json")
        );
        let told = String::from_utf8(body.to_vec()).unwrap();
        assert!(told.contains(&format!("\"data\":{text}}}")), "{told}");
        let object: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(object["id"], "r 1\u{e9}");
        assert_eq!(object["responsestatus"], 200);
    }

    #[test]
    fn what_claims_to_be_json_and_is_not_breaks_no_object() {
        for data in ["{\"a\":1}, \"type\": \"forged\"", "", "nope"] {
            let event = event("application/json", data, data.len() as u64);
            let (_, body) = event.written(&common(), Content::Structured, SystemTime::UNIX_EPOCH);
            let object: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(object["data_base64"], STANDARD.encode(data));
            assert_eq!(object["type"], event.kind);
        }
    }
}
