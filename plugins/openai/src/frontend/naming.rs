//! Refusals in the client's words: a worker's plugin knows a setting by its neutral name,
//! and the client by the field that it sent.

use tollgate_sdk_protocol::{Bytes, types::Failure};

use super::request::Request;
use crate::claims::Endpoint;

/// Names that plugins have for a constraint, and the fields it may have come from: at most
/// one of them sets one, but a format beside it may be there and say nothing.
const CONSTRAINT: &[&str] = &[
    "response_format",
    "json",
    "json_schema",
    "json_object",
    "regex",
    "choice",
    "grammar",
    "structural_tag",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
];
const CONSTRAINT_FIELDS: &[&str] = &[
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "response_format",
];

/// Fields of the API that a neutral name may stand for, the likelier first.
fn fields_of(endpoint: Endpoint, name: &str) -> &'static [&'static str] {
    match name {
        "truncate" | "truncate_input_tokens" | "truncation_side" => {
            &["truncate_prompt_tokens", "max_length"]
        }
        "stop_sequences" => &["stop"],
        "max_tokens" | "max_new_tokens" => &["max_completion_tokens", "max_tokens"],
        "min_new_tokens" => &["min_tokens"],
        "prompt" | "inputs" | "text" | "texts" => match endpoint {
            Endpoint::Embeddings => &["input"],
            Endpoint::Chat => &["messages"],
            Endpoint::Tokenize => &["prompt", "text"],
            _ => &["prompt"],
        },
        name if CONSTRAINT.contains(&name) => CONSTRAINT_FIELDS,
        _ => &[],
    }
}

/// The failure with the client's own field at fault, where it named one that the client
/// has not sent.
pub fn as_sent(bytes: &dyn Bytes, request: &Request, mut failed: Failure) -> Failure {
    let fields = &request.fields;
    let sent = |name: &str| fields.json(bytes, name).is_some();
    let Some(param) = failed.param.as_deref().filter(|param| !sent(param)) else {
        return failed;
    };
    let own = fields_of(request.endpoint, param)
        .iter()
        .find(|it| sent(it));
    if let Some(own) = own {
        failed.message = in_words(&failed.message, param, own);
        failed.param = Some((*own).to_owned());
    }
    failed
}

/// A text with another name in place of one, where that stands as a word of its own.
fn in_words(text: &str, name: &str, other: &str) -> String {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices(name) {
        let end = at + name.len();
        if !text[..at].ends_with(is_part) && !text[end..].starts_with(is_part) {
            out.push_str(&text[from..at]);
            out.push_str(other);
            from = end;
        }
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_where_it_is_a_word() {
        for (text, wanted) in [
            ("json: no", "guided_json: no"),
            ("no `json`", "no `guided_json`"),
            ("a json_schema, jsons", "a json_schema, jsons"),
            ("json json", "guided_json guided_json"),
            ("guided_json", "guided_json"),
            ("jsonjson", "jsonjson"),
            ("", ""),
        ] {
            assert_eq!(in_words(text, "json", "guided_json"), wanted);
        }
    }
}
