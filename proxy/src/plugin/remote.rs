//! `tollgate plugin list|swap|promote|rollback`: asks a running proxy, at its admin listener.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// Bytes of an answer: what a proxy with many plugins says of them.
const ANSWER: usize = 16 << 20;
/// A swap loads and tries a component first; a process that takes another's place, all of them.
const PATIENCE: Duration = Duration::from_secs(150);

/// What is asked of a running proxy.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Shows the plugins and schedulers of a running proxy, and their generations.
    List {
        #[command(flatten)]
        place: Place,
        /// All that is known, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Has a running proxy load a plugin or a scheduler anew.
    Swap {
        #[command(flatten)]
        whom: Whom,
        /// Begins with so many hundredths of the requests; 0: with all, whatever is configured.
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
        canary: Option<u32>,
    },
    /// Puts a canary in force.
    Promote {
        #[command(flatten)]
        whom: Whom,
    },
    /// Takes a canary back, or puts the generation before the one in force in force again.
    Rollback {
        #[command(flatten)]
        whom: Whom,
    },
}

/// Where the proxy is.
#[derive(Args)]
pub(crate) struct Place {
    /// Its admin listener, as `admin.address` in its configuration has it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// File with the token, for proxies that want one for changes.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Whose generations.
#[derive(Args)]
pub(super) struct Whom {
    /// Name in the configuration.
    name: String,
    /// It is a scheduler.
    #[arg(long)]
    scheduler: bool,
    #[command(flatten)]
    place: Place,
}

/// The proxy was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("{path}: {error}")]
    Token { path: String, error: std::io::Error },
    #[error("{address}: {what}")]
    Unreached { address: SocketAddr, what: String },
    #[error("{0}")]
    Refused(String),
}

/// Asks, and says what there is to say.
pub(super) fn run(verb: &Verb) -> super::Outcome {
    let said = ask(verb)?;
    if crate::say(&said) {
        Ok(())
    } else {
        Err("it could not be written".into())
    }
}

/// Asks; gives what there is to say.
///
/// # Errors
/// See [`RemoteError`].
fn ask(verb: &Verb) -> Result<String, RemoteError> {
    match verb {
        Verb::List { place, json } => {
            let said = place.ask(Method::GET, "/plugins", None)?;
            Ok(match json {
                true => format!("{said:#}\n"),
                false => list(&said),
            })
        }
        Verb::Swap { whom, canary } => {
            let body = canary.map(|percent| json!({ "canary": percent }));
            whom.order("swap", body.as_ref())
        }
        Verb::Promote { whom } => whom.order("promote", None),
        Verb::Rollback { whom } => whom.order("rollback", None),
    }
}

// === impl Whom ===

impl Whom {
    fn order(&self, deed: &str, body: Option<&Value>) -> Result<String, RemoteError> {
        let kind = if self.scheduler {
            "schedulers"
        } else {
            "plugins"
        };
        let path = format!("/{kind}/{}/{deed}", self.name);
        let said = self.place.ask(Method::POST, &path, body)?;
        let happened = said["happened"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(happened.iter().map(line).collect())
    }
}

/// What happened, for people.
fn line(change: &Value) -> String {
    let what = change["what"].as_str().unwrap_or("changed");
    let mut line = what.to_owned();
    for (member, word) in [("from", " from "), ("to", " to ")] {
        if let Some(number) = change[member].as_u64() {
            line.push_str(&format!("{word}generation {number}"));
        }
    }
    if let Some(why) = change["why"].as_str() {
        line.push_str(&format!(" ({why})"));
    }
    line.push('\n');
    line
}

/// Everybody, a line a generation.
fn list(said: &Value) -> String {
    let mut text = String::new();
    for (kind, list) in [("plugin", "plugins"), ("scheduler", "schedulers")] {
        for it in said[list].as_array().into_iter().flatten() {
            let Some(name) = it["name"].as_str() else {
                continue;
            };
            text.push_str(&format!("{kind} {name}\n{}", of("in force", it)));
            if !it["candidate"].is_null() {
                let percent = it["candidate"]["percent"].as_u64().unwrap_or_default();
                text.push_str(&of(&format!("canary, {percent} %"), &it["candidate"]));
            }
            for (part, members) in [("kept", "earlier"), ("leaving", "leaving")] {
                for it in it[members].as_array().into_iter().flatten() {
                    text.push_str(&of(part, it));
                }
            }
            for barred in it["barred"].as_array().into_iter().flatten() {
                let why = barred["why"].as_str().unwrap_or_default();
                let number = &barred["generation"];
                text.push_str(&format!("  lost its place: generation {number} ({why})\n"));
            }
            if let Some(problem) = it["problem"].as_str() {
                text.push_str(&format!("  did not load: {problem}\n"));
            }
        }
    }
    text
}

fn of(part: &str, it: &Value) -> String {
    let digest = it["sha256"].as_str().unwrap_or_default();
    let digest = digest.get(..12).unwrap_or(digest);
    let version = it["version"].as_str().unwrap_or_default();
    format!(
        "  {part}: generation {}, {version}, sha256 {digest}, {} served, {} failed, {} traps, {} instances\n",
        it["generation"], it["served"], it["failed"], it["traps"], it["slots"]
    )
}

// === impl Place ===

impl Place {
    /// Asks for a path, with a token where there is one.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, RemoteError> {
        let unreached = |what: String| RemoteError::Unreached {
            address: self.admin,
            what,
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.admin.to_string());
        if let Some(path) = &self.token_file {
            let token = std::fs::read_to_string(path).map_err(|error| RemoteError::Token {
                path: path.display().to_string(),
                error,
            })?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unreached(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreached(error.to_string()))?;
        let answer = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, exchange(self.admin, request)).await
        });
        let (status, said) = answer
            .map_err(|_| unreached(format!("no answer within {PATIENCE:?}")))?
            .map_err(|error| unreached(error.to_string()))?;
        let said: Value = serde_json::from_slice(&said)
            .map_err(|_| unreached(format!("{status}, and not what a proxy's admin says")))?;
        if status == StatusCode::OK {
            return Ok(said);
        }
        let why = said["error"].as_str().unwrap_or("it did not say why");
        let what = said["do"].as_str().map(|what| format!(" ({what})"));
        Err(RemoteError::Refused(
            why.to_owned() + &what.unwrap_or_default(),
        ))
    }
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection, asking);
    tokio::select! {
        // What is left of an answer comes from the connection: it goes on until it is read.
        answer = &mut asking => answer,
        ended = &mut connection => {
            ended?;
            asking.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_a_line() {
        let change = json!({"what": "rolled-back", "from": 3, "to": 1, "why": "failing"});
        assert_eq!(
            line(&change),
            "rolled-back from generation 3 to generation 1 (failing)\n"
        );
        assert_eq!(
            line(&json!({"what": "canary", "to": 2})),
            "canary to generation 2\n"
        );
    }

    #[test]
    fn everybody_is_listed() {
        let one = |number: u64| {
            json!({
                "name": "p", "generation": number, "version": "0.1.0", "sha256": "0123456789abcdef",
                "served": 5, "failed": 1, "traps": 0, "slots": 2,
            })
        };
        let mut all = one(7);
        all["candidate"] = one(8);
        all["candidate"]["percent"] = 10.into();
        all["earlier"] = json!([one(6)]);
        all["barred"] = json!([{"generation": 5, "why": "traps"}]);
        let text = list(&json!({"plugins": [all], "schedulers": [{"name": null}]}));
        for line in [
            "plugin p\n  in force: generation 7, 0.1.0, sha256 0123456789ab, 5 served",
            "  canary, 10 %: generation 8",
            "  kept: generation 6",
            "  lost its place: generation 5 (traps)",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("scheduler"), "{text}");
    }
}
