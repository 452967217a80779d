//! Models and health: what the host's catalogue answers, in this API's words.

use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    actions, failure,
    frontend::{Action, RequestHead},
    inference::{Event, ModelInfo},
    types::{Context, FailureKind},
};

use super::ovms;
use crate::{claims::Endpoint, options::Clients};

/// What was asked of the catalogue, and by whom.
pub struct Asked<'a> {
    pub endpoint: Option<Endpoint>,
    pub head: &'a RequestHead,
    pub context: &'a Context,
    pub clients: Clients,
}

/// Writes the answer once an event has it; true when the exchange is over.
pub fn answer(
    asked: &Asked<'_>,
    events: impl Iterator<Item = Event>,
    out: &mut Vec<Action>,
) -> bool {
    let endpoint = asked.endpoint;
    for event in events {
        let actions = match (event, endpoint) {
            (Event::Failed(_), Some(Endpoint::Health)) => empty(503),
            (Event::Failed(failed), _) => actions::refuse(failed),
            (Event::Ready(ready), _) => empty(if ready { 200 } else { 503 }),
            (Event::Models(models), Some(Endpoint::Models)) => {
                let data: Vec<Value> = models.iter().map(|model| asked.model_json(model)).collect();
                json_response(&json!({"object": "list", "data": data}))
            }
            (Event::Metadata(server), Some(Endpoint::Load)) => {
                let load = server.facts.iter().find(|fact| fact.name == "load");
                let load = load.and_then(|fact| fact.json.parse::<u64>().ok());
                json_response(&json!({"server_load": load.unwrap_or(0)}))
            }
            (Event::Models(models), Some(Endpoint::Model)) => asked.one(&models),
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

impl Asked<'_> {
    fn one(&self, models: &[ModelInfo]) -> Vec<Action> {
        let mut parameters = self.head.parameters.iter();
        let id = parameters.find(|parameter| parameter.name == "id");
        let id = id.map_or("", |parameter| parameter.value.as_str());
        if let Some(model) = models.iter().find(|model| model.name == id) {
            return json_response(&self.model_json(model));
        }
        let message = match self.clients {
            Clients::New | Clients::Old => format!("The model `{id}` does not exist."),
            // Its status for this is 500, at which clients ask again.
            Clients::Ovms => "Model not found".to_owned(),
        };
        actions::refuse(tollgate_sdk_protocol::types::Failure {
            param: Some("model".to_owned()),
            ..failure::of(FailureKind::NotFound, message)
        })
    }

    fn model_json(&self, model: &ModelInfo) -> Value {
        match self.clients {
            Clients::New | Clients::Old => model_json(model, self.context),
            Clients::Ovms => ovms::model(model, self.context),
        }
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
