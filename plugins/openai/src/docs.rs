//! What is answered without asking anyone: the version, a page that lists this API,
//! and its description for machines.

use serde_json::{Map, Value, json};

use crate::{
    claims::{Endpoint, Row, is_ovms},
    options::Options,
};

/// Content type and body of an endpoint that needs no worker.
pub fn page(endpoint: Endpoint, options: &Options, rows: &[Row]) -> (&'static str, Vec<u8>) {
    match endpoint {
        Endpoint::Docs => ("text/html; charset=utf-8", docs(options, rows).into_bytes()),
        Endpoint::OpenApi => (
            "application/json",
            openapi(options, rows).to_string().into_bytes(),
        ),
        _ => (
            "application/json",
            json!({"version": version(options)})
                .to_string()
                .into_bytes(),
        ),
    }
}

fn version(options: &Options) -> &str {
    options
        .version
        .as_deref()
        .unwrap_or(env!("CARGO_PKG_VERSION"))
}

fn docs(options: &Options, rows: &[Row]) -> String {
    let rows: String = rows
        .iter()
        .map(|(method, path, _, purpose)| {
            format!(
                "<tr><td>{method}<td><code>{path}</code><td>{}\n",
                escaped(purpose)
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Inference API</title>\n\
         <style>body{{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}\
         td{{padding:.2rem 1rem .2rem 0;vertical-align:top}}</style>\n\
         <h1>Inference API</h1>\n\
         <p>The OpenAI API as vLLM serves it. Version {}. \
         For machines: <a href=\"openapi.json\">openapi.json</a>.</p>\n\
         <table>\n{rows}</table>\n\
         <p>Send <code>Authorization: Bearer &lt;token&gt;</code>, and \
         <code>Content-Type: application/json</code> with every body.</p>\n</html>\n",
        escaped(version(options)),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn openapi(options: &Options, rows: &[Row]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for row in rows {
        let (method, path, endpoint, purpose) = row;
        let path = path.replace("...}", "}");
        let mut operation = json!({
            "summary": purpose,
            "responses": {"200": {"description": "OK"}},
        });
        if path.contains("{id}") {
            operation["parameters"] = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
        }
        if endpoint.is_form() {
            operation["requestBody"] = json!({
                "required": true,
                "content": {"multipart/form-data": {"schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"model": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
                }}},
            });
        } else if endpoint.has_body() {
            operation["requestBody"] = json!({
                "required": true,
                "content": {"application/json": {"schema": schema(*endpoint, is_ovms(row))}},
            });
        }
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method.to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Inference API", "version": version(options)},
        "security": [{"bearer": []}],
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    })
}

fn schema(endpoint: Endpoint, ovms: bool) -> Value {
    let (subject, subject_schema) = match endpoint {
        Endpoint::Chat => (
            "messages",
            json!({"type": "array", "items": {"type": "object"}}),
        ),
        Endpoint::Embeddings | Endpoint::Pooling | Endpoint::Classify | Endpoint::Responses => {
            ("input", json!({"type": ["string", "array"]}))
        }
        Endpoint::Messages => (
            "messages",
            json!({"type": "array", "items": {"type": "object"}}),
        ),
        Endpoint::Rerank => ("documents", json!({"type": "array"})),
        Endpoint::Score => ("text_1", json!({"type": ["string", "array"]})),
        Endpoint::Detokenize => (
            "tokens",
            json!({"type": "array", "items": {"type": "integer"}}),
        ),
        Endpoint::Tokenize if ovms => ("text", json!({"type": ["string", "array"]})),
        Endpoint::Tokenize => ("prompt", json!({"type": "string"})),
        Endpoint::Speech => ("input", json!({"type": "string"})),
        _ => ("prompt", json!({"type": ["string", "array"]})),
    };
    json!({
        "type": "object",
        "required": [subject],
        "properties": {"model": {"type": "string"}, subject: subject_schema},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_the_description_name_every_endpoint() {
        let options = Options::parse(r#"{"version":"1<2","ovms-paths":true}"#).unwrap();
        let rows = crate::claims::rows(&options);
        let (_, page) = page(Endpoint::Docs, &options, &rows);
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("1&lt;2"));
        let description = openapi(&options, &rows);
        for (method, path, ..) in rows {
            assert!(page.contains(path), "{path}");
            let path = path.replace("...}", "}");
            let operation = &description["paths"][&path][method.to_ascii_lowercase()];
            assert!(operation.is_object(), "{method} {path}");
        }
    }
}
