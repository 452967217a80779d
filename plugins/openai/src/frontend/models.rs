//! Models and health: what the host's catalogue answers, in this API's words.

use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    actions, failure,
    frontend::{Action, RequestHead},
    inference::{Event, ModelInfo},
    types::{Context, FailureKind},
};

use crate::claims::Endpoint;

/// Writes the answer once an event has it; true when the exchange is over.
pub fn answer(
    endpoint: Option<Endpoint>,
    head: &RequestHead,
    context: &Context,
    events: impl Iterator<Item = Event>,
    out: &mut Vec<Action>,
) -> bool {
    for event in events {
        let actions = match (event, endpoint) {
            (Event::Failed(_), Some(Endpoint::Health)) => empty(503),
            (Event::Failed(failed), _) => actions::refuse(failed),
            (Event::Ready(ready), _) => empty(if ready { 200 } else { 503 }),
            (Event::Models(models), Some(Endpoint::Models)) => {
                let data: Vec<Value> = models
                    .iter()
                    .map(|model| model_json(model, context))
                    .collect();
                json_response(&json!({"object": "list", "data": data}))
            }
            (Event::Metadata(server), Some(Endpoint::Load)) => {
                let load = server.facts.iter().find(|fact| fact.name == "load");
                let load = load.and_then(|fact| fact.json.parse::<u64>().ok());
                json_response(&json!({"server_load": load.unwrap_or(0)}))
            }
            (Event::Models(models), Some(Endpoint::Model)) => one(&models, head, context),
            (Event::End, _) => {
                let message = "The catalogue gave no answer.";
                actions::refuse(failure::of(FailureKind::Internal, message))
            }
            _ => continue,
        };
        out.extend(actions);
        return true;
    }
    false
}

fn one(models: &[ModelInfo], head: &RequestHead, context: &Context) -> Vec<Action> {
    let id = head
        .parameters
        .iter()
        .find(|parameter| parameter.name == "id");
    let id = id.map_or("", |parameter| parameter.value.as_str());
    match models.iter().find(|model| model.name == id) {
        Some(model) => json_response(&model_json(model, context)),
        None => actions::refuse(tollgate_sdk_protocol::types::Failure {
            param: Some("model".to_owned()),
            ..failure::of(
                FailureKind::NotFound,
                format!("The model `{id}` does not exist."),
            )
        }),
    }
}

fn json_response(body: &Value) -> Vec<Action> {
    actions::respond_json(200, body.to_string().into_bytes())
}

fn empty(status: u16) -> Vec<Action> {
    actions::respond(status, "application/json", Vec::new())
}

fn model_json(model: &ModelInfo, context: &Context) -> Value {
    let created = context.unix_time;
    json!({
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": model.parent.as_ref().unwrap_or(&model.name),
        "parent": model.parent,
        "max_model_len": model.max_length,
        "permission": [{
            "id": format!("modelperm-{}", context.request_id),
            "object": "model_permission",
            "created": created,
            "allow_create_engine": false,
            "allow_sampling": true,
            "allow_logprobs": true,
            "allow_search_indices": false,
            "allow_view": true,
            "allow_fine_tuning": false,
            "organization": "*",
            "group": null,
            "is_blocking": false,
        }],
    })
}
