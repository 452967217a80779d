//! What tenants may use: refused in the client's own dialect, settled by what was used, counted alone
//! or with other proxies in a real Redis.

mod alone;
mod shared;

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Response, http1},
    fake::http1 as h,
    scene,
};

/// What one completion is believed to need, and uses at [`whole`]: a token in, eight out.
const EACH: u64 = 9;

/// A worker that uses what it was believed to need.
async fn whole() -> h::Worker {
    h::Worker::start(|_| vec![h::json(200, &answer(1, 8))]).await
}

fn answer(input: u64, output: u64) -> Value {
    let mut answer = scene::completed(" there");
    answer["usage"] = json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
    });
    answer
}

async fn ask(proxy: &Proxy) -> Response {
    http1::ask(proxy.http(), &scene::completion(false)).await
}

/// A parameter of a meter in a field.
fn told(response: &Response, field: &str, meter: &str, parameter: &str) -> u64 {
    let value = response
        .header(field)
        .unwrap_or_else(|| panic!("{field}: {response:?}"));
    let items = value.split(", ");
    let item = items
        .filter_map(|item| item.strip_prefix(&format!("\"{meter}\";")))
        .next()
        .unwrap_or_else(|| panic!("{meter} in {value}"));
    let found = item
        .split(';')
        .find_map(|it| it.strip_prefix(&format!("{parameter}=")));
    found
        .and_then(|it| it.parse().ok())
        .unwrap_or_else(|| panic!("{parameter} in {value}"))
}
