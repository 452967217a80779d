//! What operators and collectors are told: traces and metrics by OpenTelemetry's protocol, the page
//! that Prometheus reads, the access log, the log's level; and what none of them may hold.

mod away;
mod figures;
mod level;
mod lines;
mod receiver;
mod traces;
mod unsaid;

use serde_json::Value;
use tollgate_tests::Proxy;

/// A client's trace, which is sampled.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// The access log's line of a request, by its id, once it is there.
async fn line(proxy: &Proxy, id: &str) -> Value {
    let wanted = format!(r#""request_id":"{id}""#);
    let is_it = |line: &str| line.contains(r#""target":"access""#) && line.contains(&wanted);
    let line = proxy.logged(is_it).await;
    serde_json::from_str(&line).expect("lines are JSON")
}
