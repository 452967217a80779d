//! Classification: the client's texts as neutral calls, and classes in this API's words.
//!
//! Each text is a call: servers of other protocols take one at a time.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes,
    classify::{self, Classes, Texts},
    failure,
    inference::{Prompt, Task},
    text,
    types::Failure,
};

use super::{
    prompts,
    request::{Form, Request},
    settings,
    tasks::only_passed,
};

/// Most texts of one request.
const TEXTS: usize = 64;

/// Fields beyond the texts, with the values that change nothing.
const EXTRAS: [(&str, &[&str]); 6] = [
    ("add_special_tokens", &["true"]),
    ("truncate_prompt_tokens", &[]),
    ("softmax", &["true"]),
    ("use_activation", &["true"]),
    ("activation", &["true"]),
    ("mm_processor_kwargs", &["{}"]),
];

impl Request {
    /// The neutral classifications, one for each text.
    pub fn classify(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Vec<Task>, Failure> {
        let fields = &self.fields;
        if fields.place("input").is_none() {
            return Err(only_passed("Classifying a conversation", "messages"));
        }
        let inputs = prompts::read(bytes, fields, "input")?;
        if inputs.len() > TEXTS {
            let what = format!("Classifying more than {TEXTS} texts");
            return Err(only_passed(&what, "input"));
        }
        let (mut extras, mut len) = (Map::new(), 0);
        for extra in settings::changing(bytes, fields, &EXTRAS)? {
            let value = serde_json::from_str(&extra.json).unwrap_or(Value::Null);
            // Each call has its own.
            len += (extra.json.len() * inputs.len()) as u64;
            extras.insert(extra.name, value);
        }
        let unreadable = |why: String| failure::invalid(format!("input: {why}."), Some("input"));
        for input in &inputs {
            if let Prompt::Text(input) = input {
                len += text::plain_len(bytes, input).map_err(unreadable)?;
            }
        }
        classify::check_texts(len)?;
        form.items = inputs.len();
        let task = |input: &Prompt| {
            let Prompt::Text(input) = input else {
                return Err(only_passed("Classifying tokens", "input"));
            };
            let input = text::resolve(bytes, input).map_err(unreadable)?;
            let texts = Texts {
                inputs: vec![input],
                extras: extras.clone(),
            };
            Ok(texts.task())
        };
        inputs.iter().map(task).collect()
    }
}

/// Whether each text has its classes; they stand in the texts' order then.
pub fn are_complete(told: &mut [Classes], texts: usize) -> bool {
    told.sort_by_key(|classes| classes.item);
    let in_order = told.iter().enumerate();
    told.len() == texts
        && in_order
            .clone()
            .all(|(at, classes)| classes.item as usize == at)
        && told.iter().all(|classes| {
            let mut scores = classes.classes.iter().map(|class| class.score);
            !classes.classes.is_empty() && scores.all(f64::is_finite)
        })
}

/// The body: for each text the name of the likeliest class, and how likely each is.
pub fn body(form: &Form, told: &[Classes], usage: Value) -> Vec<u8> {
    let data: Vec<Value> = told
        .iter()
        .map(|classes| {
            let best = classes.best();
            let probs: Vec<f64> = classes.classes.iter().map(|class| class.score).collect();
            serde_json::json!({
                "index": classes.item,
                "label": best.map(|(place, class)| class.named(place)),
                "probs": probs,
                "num_classes": classes.classes.len(),
            })
        })
        .collect();
    super::choices::written(&serde_json::json!({
        "id": format!("classify-{}", form.id),
        "object": "list",
        "created": form.created,
        "model": form.model,
        "data": data,
        "usage": usage,
    }))
}
