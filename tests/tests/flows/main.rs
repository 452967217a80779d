//! The ten flows of `wit/FLOWS.md`, played over real sockets with a protocol that the host has never
//! heard of (`tests/fixtures/parcel`). Its workers are fakes: no server in the world speaks it.

mod messages;

use std::net::SocketAddr;

use messages::{
    GenerateReply, GenerateRequest, Health, HealthReply, Question, ReadyReply, ReflectionRequest,
    ReflectionResponse, Reply, TensorReply, TensorRequest, Usage,
};
use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{
        Request,
        grpc::{self, Call},
        http1, http2,
    },
    eventually,
    fake::{grpc as fake_grpc, http1 as fake_http1},
    place, tokens,
};

/// A configuration around some workers; `more` goes into the route, `plugin` into the plugin.
fn parcel(workers: &[String], more: &str, plugin: &str) -> String {
    let names: Vec<String> = (0..workers.len()).map(|at| format!("w{at}")).collect();
    let workers: String = workers
        .iter()
        .zip(&names)
        .map(|(worker, name)| format!("  - {{ name: {name}, protocol: parcel, {worker} }}\n"))
        .collect();
    format!(
        r#"
plugins:
  parcel: {{ source: "{parcel}"{plugin} }}
  compose: {{ source: "{compose}" }}
schedulers:
  lifo: {{ source: "{lifo}", options: {{ batch: 8, linger-us: 15000000 }} }}
workers:
{workers}
routes:
  - {{ name: parcel, frontends: [parcel], compositions: [compose], workers: [{names}]{more} }}
"#,
        parcel = place::component("fixtures/parcel").display(),
        compose = place::component("fixtures/parcel-compose").display(),
        lifo = place::component("fixtures/lifo").display(),
        names = names.join(", "),
    )
}

fn http_worker(address: SocketAddr, more: &str) -> String {
    format!("address: \"http://{address}\"{more}")
}

fn grpc_worker(address: SocketAddr, more: &str) -> String {
    format!("address: \"grpc://{address}\", options: {{ dialect: parcel-grpc }}{more}")
}

const OPEN: &str = ", auth: open";

/// What a worker of Parcel says when it is asked how it is; none: it was asked something else.
fn ready(received: &fake_http1::Received, models: &[&str]) -> Option<Vec<fake_http1::Act>> {
    let asked = received.head.line.contains("/ready");
    asked.then(|| {
        let says = json!({"ready": true, "queued": 0, "running": 0, "models": models});
        vec![fake_http1::json(200, &says)]
    })
}

fn ready_grpc(received: &fake_grpc::Received) -> Option<Vec<fake_grpc::Act>> {
    received.head.line.ends_with("/Ready").then(|| {
        fake_grpc::answer(&ReadyReply {
            ready: true,
            models: vec!["real".into()],
            ..ReadyReply::default()
        })
    })
}

fn chunked(lines: &[Value]) -> Vec<fake_http1::Act> {
    let mut acts = vec![fake_http1::write(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
    )];
    for line in lines {
        acts.push(fake_http1::write(format!(
            "{:x}\r\n{line}\n\r\n",
            line.to_string().len() + 1
        )));
    }
    acts
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn flow_01_pass_with_alias_and_usage() {
    let worker = fake_http1::Worker::start(|received| {
        if let Some(acts) = ready(received, &["real"]) {
            return acts;
        }
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(
            asked["model"], "real",
            "the model that was authorized is the one sent"
        );
        assert_eq!(
            asked["usage"], true,
            "usage is asked for although the client did not"
        );
        let mut acts = chunked(&[
            json!({"model": "real"}),
            json!({"t": "so "}),
            json!({"t": "long"}),
        ]);
        if asked["prompt"] == "hold" {
            acts.push(fake_http1::Act::Hold);
        }
        let rest = chunked(&[
            json!({"done": {"why": "max"}}),
            json!({"usage": {"in": 3, "out": 2}}),
        ]);
        acts.extend(rest.into_iter().skip(1));
        acts.push(fake_http1::stream_end());
        acts
    })
    .await;
    let more = ", auth: open, models: [{ name: alias, is: real }]";
    let proxy = Proxy::start(&parcel(&[http_worker(worker.address, "")], more, "")).await;

    let asked = json!({"model": "alias", "prompt": "hi", "stream": true, "max": 2});
    let got = http1::ask(proxy.http(), &Request::post("/parcel/generate", &asked)).await;
    assert_eq!(
        lines(&got.with_status(200).text()),
        [
            json!({"model": "alias"}),
            json!({"t": "so "}),
            json!({"t": "long"}),
            json!({"done": {"why": "max"}}),
        ],
        "the alias is restored, and usage that was not asked for is dropped"
    );
    let line = proxy
        .logged(|line| line.contains("\"output_tokens\":2"))
        .await;
    assert!(line.contains("\"input_tokens\":3"), "{line}");

    let mut client = http1::Connection::open(proxy.http()).await;
    let asked = json!({"model": "alias", "prompt": "hold", "stream": true});
    client
        .send(&Request::post("/parcel/generate", &asked))
        .await;
    client.head().await;
    let held = worker
        .journal
        .find("the held request", |entries| {
            entries.iter().rev().find_map(|entry| {
                (entry.seen == tollgate_tests::fake::Seen::Holding).then_some(entry.number)
            })
        })
        .await;
    drop(client);
    worker.journal.gone(held).await;
    eventually("the exchange's place is free", || async {
        let status = proxy.status().await;
        (status["routes"][0]["running"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn flow_02_translate_a_stream() {
    let worker = fake_grpc::Worker::start(|received| {
        if let Some(acts) = ready_grpc(received) {
            return acts;
        }
        assert_eq!(received.head.line, "POST /parcel.Parcel/GenerateStream");
        let asked: GenerateRequest = received.message();
        assert_eq!((asked.model.as_str(), asked.max), ("real", 4));
        let say = |text: &str| {
            fake_grpc::send(&GenerateReply {
                text: text.into(),
                ..GenerateReply::default()
            })
        };
        let mut acts = vec![fake_grpc::Act::Head, say("one "), say("two")];
        if asked.prompt == "break" {
            acts.push(fake_grpc::Act::Status(14, "gone to lunch"));
            return acts;
        }
        acts.push(fake_grpc::send(&GenerateReply {
            why: "end".into(),
            usage: Some(Usage {
                read: 7,
                written: 2,
            }),
            ..GenerateReply::default()
        }));
        acts.push(fake_grpc::Act::Status(0, ""));
        acts
    })
    .await;
    let proxy = Proxy::start(&parcel(&[grpc_worker(worker.address, "")], OPEN, "")).await;
    let ask = |prompt: &'static str| {
        let asked =
            json!({"model": "real", "prompt": prompt, "stream": true, "usage": true, "max": 4});
        let request = Request::post("/parcel/generate", &asked);
        let address = proxy.http();
        async move { http1::ask(address, &request).await.with_status(200).text() }
    };
    let said = lines(&ask("go").await);
    let text: String = said.iter().filter_map(|line| line["t"].as_str()).collect();
    assert_eq!(text, "one two");
    assert!(said.contains(&json!({"done": {"why": "end"}})), "{said:?}");
    assert!(
        said.contains(&json!({"usage": {"in": 7, "out": 2}})),
        "{said:?}"
    );

    let said = lines(&ask("break").await);
    let last = said.last().expect("something was said");
    assert!(
        last["error"]["message"]
            .as_str()
            .is_some_and(|it| it.contains("gone to lunch")),
        "{said:?}"
    );
    assert!(
        said.iter().all(|line| line.get("done").is_none()),
        "no end is made up"
    );
}

#[tokio::test]
async fn flow_03_tensor_bytes_stay_outside() {
    let worker = fake_grpc::Worker::start(|received| {
        if let Some(acts) = ready_grpc(received) {
            return acts;
        }
        let asked: TensorRequest = received.message();
        assert_eq!(asked.shape, [4, 1024, 1024]);
        fake_grpc::answer(&TensorReply {
            id: asked.id,
            shape: asked.shape,
            datatype: asked.datatype,
            data: asked.data.into_iter().rev().collect(),
        })
    })
    .await;
    // An instance of 8 MiB that may say 256 KiB at a time cannot have held 16 MiB.
    let plugin = ", limits: { memory: 8MiB, output: 256KiB }";
    let more = ", auth: open, limits: { message: 32MiB, body: 32MiB }";
    let proxy = Proxy::start(&parcel(&[grpc_worker(worker.address, "")], more, plugin)).await;

    let head = json!({"id": "big", "shape": [4, 1024, 1024], "datatype": "fp32"}).to_string();
    let tensor: Vec<u8> = (0..16u32 << 20).map(|at| (at % 251) as u8).collect();
    let mut body = head.clone().into_bytes();
    body.extend_from_slice(&tensor);
    let request = Request::post_bytes("/parcel/tensor/real", body)
        .header("parcel-head-length", &head.len().to_string());
    let got = http1::ask(proxy.http(), &request).await.with_status(200);
    let split: usize = got
        .header("parcel-head-length")
        .and_then(|length| length.parse().ok())
        .expect("the answer says how long its head is");
    let head: Value = serde_json::from_slice(&got.body[..split]).expect("JSON");
    assert_eq!(head["id"], "big");
    let mut back = got.body[split..].to_vec();
    back.reverse();
    assert!(back == tensor, "every byte came back");
    let status = proxy.status().await;
    let traps: u64 = status["plugins"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|plugin| plugin["traps"].as_u64())
        .sum();
    assert_eq!(traps, 0, "{status}");
}

#[tokio::test]
async fn flow_04_eight_become_one() {
    let worker = fake_grpc::Worker::start(|received| {
        if let Some(acts) = ready_grpc(received) {
            return acts;
        }
        let asked: TensorRequest = received.message();
        assert_eq!(asked.shape, [8, 2], "eight requests are one");
        let data = asked
            .data
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")))
            .flat_map(|value| {
                // What JSON cannot carry, for the member that sent 3.
                let value = if value == 3.0 { f32::NAN } else { value * 2.0 };
                value.to_le_bytes()
            })
            .collect();
        fake_grpc::answer(&TensorReply {
            id: asked.id,
            shape: asked.shape,
            datatype: asked.datatype,
            data,
        })
    })
    .await;
    let more = ", auth: open, scheduler: lifo";
    let workers = [grpc_worker(worker.address, ", max-batch: 8, slots: 1")];
    let proxy = Proxy::start(&parcel(&workers, more, "")).await;

    let asking = (0..8).map(|at| {
        let address = proxy.http();
        let asked =
            json!({"rows": [[f64::from(at), 0.5]], "datatype": "fp32", "id": format!("n{at}")});
        tokio::spawn(async move {
            let request = Request::post("/parcel/tensors-json/real", &asked);
            http1::ask(address, &request).await
        })
    });
    for (at, asked) in asking.collect::<Vec<_>>().into_iter().enumerate() {
        let got = asked.await.expect("it is answered");
        if at == 3 {
            assert_ne!(
                got.status,
                200,
                "a value that JSON cannot carry: {}",
                got.text()
            );
            continue;
        }
        let got = got.with_status(200).json();
        assert_eq!(got["id"], format!("n{at}"), "each caller has its own id");
        assert_eq!(got["values"], json!([at as f64 * 2.0, 1.0]), "{got}");
    }
    let tensors = worker.journal.entries().into_iter().filter(|entry| {
        matches!(&entry.seen, tollgate_tests::fake::Seen::Head(head) if head.line.ends_with("/Tensor"))
    });
    assert_eq!(tensors.count(), 1);
}

#[tokio::test]
async fn flow_05_composed() {
    let worker = fake_http1::Worker::start(|received| {
        if let Some(acts) = ready(received, &["real"]) {
            return acts;
        }
        assert!(
            received.head.line.contains("/parcel-b/embed"),
            "{}",
            received.head.line
        );
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(asked["texts"].as_array().map(Vec::len), Some(4), "{asked}");
        // The query, and documents that are more and less like it.
        let vectors = json!([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.6, 0.6]]);
        vec![fake_http1::json(
            200,
            &json!({"name": "real", "vectors": vectors}),
        )]
    })
    .await;
    let workers = [http_worker(
        worker.address,
        ", options: { dialect: parcel-b }",
    )];
    let proxy = Proxy::start(&parcel(&workers, OPEN, "")).await;
    let asked = json!({"model": "real", "query": "q", "documents": ["a", "b", "c"], "top": 2});
    let got = http1::ask(proxy.http(), &Request::post("/parcel/rerank", &asked)).await;
    let got = got.with_status(200).json();
    let order: Vec<_> = got["ranking"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["at"].as_u64().expect("a position"))
        .collect();
    assert_eq!(order, [1, 2], "{got}");
}

#[tokio::test]
async fn flow_06_converse() {
    let worker = fake_http1::Worker::start(|received| {
        if let Some(acts) = ready(received, &["real"]) {
            return acts;
        }
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        let prompt = asked["prompt"].as_str().expect("a prompt").to_owned();
        let says = json!({"model": "real", "text": format!("re: {prompt}"), "why": "end", "in": 1, "out": 1});
        let mut acts = Vec::new();
        if prompt == "slow" {
            acts.push(fake_http1::Act::Hold);
        }
        acts.push(fake_http1::json(200, &says));
        acts
    })
    .await;
    let proxy = Proxy::start(&parcel(&[http_worker(worker.address, "")], OPEN, "")).await;
    let question = |id: &str, model: &str, prompt: &str| Question {
        sequence: "s1".into(),
        id: id.into(),
        model: model.into(),
        prompt: prompt.into(),
        max: 3,
    };

    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &grpc::request("parcel.Parcel/Converse")).await;
    call.send(&question("first", "real", "slow"), false).await;
    call.send(&question("second", "real", "quick"), false).await;
    let reply: Reply = call.message().await.expect("a reply");
    assert_eq!(
        (reply.id.as_str(), reply.text.as_str()),
        ("second", "re: quick")
    );
    call.send(&question("third", "nobody", "x"), false).await;
    let reply: Reply = call.message().await.expect("a reply");
    assert_eq!(reply.id, "third");
    assert_eq!(reply.error.map(|error| error.code), Some(5), "in-band");
    worker.release();
    let reply: Reply = call.message().await.expect("a reply");
    assert_eq!(
        (reply.id.as_str(), reply.text.as_str()),
        ("first", "re: slow")
    );
    call.send(&question("fourth", "real", "bye"), true).await;
    let (replies, status) = call.all::<Reply>().await;
    assert_eq!((replies.len(), status.code), (1, 0), "{status:?}");

    let strict = grpc::request("parcel.Parcel/Converse").header("parcel-errors", "status");
    let (_, status) =
        grpc::ask::<Reply>(proxy.http(), &strict, &question("x", "nobody", "x")).await;
    assert_eq!(status.code, 5, "{status:?}");
}

#[tokio::test]
async fn flow_07_reflection() {
    let worker = fake_http1::Worker::start(|received| {
        ready(received, &["real"]).unwrap_or_else(|| vec![fake_http1::Act::Close])
    })
    .await;
    let proxy = Proxy::start(&parcel(&[http_worker(worker.address, "")], OPEN, "")).await;
    for version in ["v1", "v1alpha"] {
        let method = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let mut connection = http2::Connection::open(proxy.http()).await;
        let mut call = Call::begin(&mut connection, &grpc::request(&method)).await;
        let list = ReflectionRequest {
            list_services: Some(String::new()),
            ..ReflectionRequest::default()
        };
        call.send(&list, false).await;
        let answer: ReflectionResponse = call.message().await.expect("an answer");
        let names: Vec<String> = answer
            .services
            .expect("services")
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        for wanted in ["parcel.Parcel", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|name| name == wanted), "{names:?}");
        }
        let symbol = ReflectionRequest {
            file_containing_symbol: Some("parcel.Parcel.Converse".into()),
            ..ReflectionRequest::default()
        };
        call.send(&symbol, true).await;
        let answer: ReflectionResponse = call.message().await.expect("an answer");
        let files = answer.files.expect("a file").descriptors;
        assert!(
            files
                .iter()
                .any(|file| { file.windows(6).any(|window| window == b"Parcel") })
        );
    }
    for (service, wanted) in [("", 1), ("parcel.Parcel", 1)] {
        let asked = Health {
            service: service.into(),
        };
        let (answers, status) = grpc::ask::<HealthReply>(
            proxy.http(),
            &grpc::request("grpc.health.v1.Health/Check"),
            &asked,
        )
        .await;
        assert_eq!((status.code, answers[0].status), (0, wanted), "{service:?}");
    }
    let nobody = Health {
        service: "nobody".into(),
    };
    let (_, status) = grpc::ask::<HealthReply>(
        proxy.http(),
        &grpc::request("grpc.health.v1.Health/Check"),
        &nobody,
    )
    .await;
    assert_eq!(status.code, 5, "{status:?}");
}

#[tokio::test]
async fn flow_08_models() {
    let workers = [
        fake_http1::Worker::start(|received| {
            ready(received, &["red", "blue"]).unwrap_or_else(|| vec![fake_http1::Act::Close])
        })
        .await,
        fake_http1::Worker::start(|received| {
            ready(received, &["green"]).unwrap_or_else(|| vec![fake_http1::Act::Close])
        })
        .await,
    ];
    let places: Vec<String> = workers
        .iter()
        .map(|worker| http_worker(worker.address, ""))
        .collect();
    let yaml = format!(
        "{}\ntokens: {{ file: tokens.yaml }}\n",
        parcel(&places, "", "")
    );
    let file = tokens::file(&[
        tokens::entry("all", "token-of-all", "models: [\"*\"]"),
        tokens::entry("some", "token-of-some", "models: [green, blue]"),
    ]);
    let proxy = Setup::new(&yaml).file("tokens.yaml", file).start().await;
    let list = |token: &'static str| {
        let address = proxy.http();
        async move {
            let got = http1::ask(address, &Request::get("/parcel/models").token(token)).await;
            let mut models: Vec<String> = got.with_status(200).json()["models"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|model| {
                    let name = model.as_str().or_else(|| model["name"].as_str());
                    name.expect("a name").to_owned()
                })
                .collect();
            models.sort();
            models
        }
    };
    assert_eq!(list("token-of-all").await, ["blue", "green", "red"]);
    assert_eq!(list("token-of-some").await, ["blue", "green"]);
    let asked = json!({"model": "red", "prompt": "x"});
    let refused = http1::ask(
        proxy.http(),
        &Request::post("/parcel/generate", &asked).token("token-of-some"),
    )
    .await;
    assert_eq!(refused.status, 403, "{}", refused.text());
}

#[tokio::test]
async fn flow_09_scheduler_swap() {
    let worker = fake_http1::Worker::start(|received| {
        if let Some(acts) = ready(received, &["real"]) {
            return acts;
        }
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        let says =
            json!({"model": "real", "text": asked["prompt"], "why": "end", "in": 1, "out": 1});
        vec![fake_http1::Act::Hold, fake_http1::json(200, &says)]
    })
    .await;
    let yaml = parcel(
        &[http_worker(worker.address, ", slots: 1")],
        ", auth: open, scheduler: mine",
        "",
    );
    let yaml = yaml.replace(
        "schedulers:\n",
        "schedulers:\n  mine: { source: mine.wasm }\n",
    );
    let first = std::fs::read(place::component("fcfs")).expect("the component");
    let second = std::fs::read(place::component("fixtures/lifo")).expect("the component");
    let proxy = Setup::new(&yaml).file("mine.wasm", first).start().await;

    let mut asking = Vec::new();
    for at in 0..5 {
        let address = proxy.http();
        asking.push(tokio::spawn(async move {
            let asked = json!({"model": "real", "prompt": format!("p{at}")});
            let got = http1::ask(address, &Request::post("/parcel/generate", &asked)).await;
            got.with_status(200).json()["text"]
                .as_str()
                .map(str::to_owned)
        }));
        // One after the other, so that their order in the queue is known.
        eventually("the request is queued or runs", || async {
            let status = proxy.status().await;
            (status["routes"][0]["running"] == at + 1).then_some(())
        })
        .await;
        let queued = usize::try_from(at).expect("small");
        eventually("the request waits", || async {
            let status = proxy.status().await;
            (status["routes"][0]["queued"] == queued).then_some(())
        })
        .await;
    }
    proxy.rewrite("mine.wasm", second);
    proxy.hangup();
    proxy
        .logged(|line| line.contains("a new generation is in force"))
        .await;
    for _ in 0..5 {
        worker.release();
    }
    for (at, asked) in asking.into_iter().enumerate() {
        let text = asked.await.expect("it is answered");
        assert_eq!(
            text,
            Some(format!("p{at}")),
            "none lost, none answered for another"
        );
    }
    let order: Vec<String> = worker
        .journal
        .entries()
        .into_iter()
        .filter_map(|entry| match entry.seen {
            tollgate_tests::fake::Seen::Body(body) => {
                let asked: Value = serde_json::from_slice(&body).ok()?;
                asked["prompt"].as_str().map(str::to_owned)
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        order,
        ["p0", "p4", "p3", "p2", "p1"],
        "the new policy took over what waited"
    );
}

#[tokio::test]
async fn flow_10_retry_elsewhere() {
    let broken = fake_http1::Worker::start(|received| {
        ready(received, &["real"]).unwrap_or_else(|| vec![fake_http1::Act::Reset])
    })
    .await;
    let sound = fake_grpc::Worker::start(|received| {
        if let Some(acts) = ready_grpc(received) {
            return acts;
        }
        let asked: GenerateRequest = received.message();
        fake_grpc::answer(&GenerateReply {
            model: asked.model,
            text: format!("from elsewhere: {}", asked.prompt),
            why: "end".into(),
            usage: Some(Usage {
                read: 1,
                written: 2,
            }),
        })
    })
    .await;
    let workers = [
        http_worker(broken.address, ""),
        grpc_worker(sound.address, ""),
    ];
    let proxy = Proxy::start(&parcel(&workers, OPEN, "")).await;
    let asked = json!({"model": "real", "prompt": "hi"});
    let got = http1::ask(proxy.http(), &Request::post("/parcel/generate", &asked)).await;
    assert_eq!(got.with_status(200).json()["text"], "from elsewhere: hi");
    let tried = broken.journal.entries().iter().any(|entry| {
        matches!(&entry.seen, tollgate_tests::fake::Seen::Head(head) if head.line.contains("generate"))
    });
    assert!(tried, "the first worker was asked first");
    let line = proxy.logged(|line| line.contains("\"retries\":1")).await;
    assert!(line.contains("w1"), "{line}");

    drop(sound);
    let got = http1::ask(proxy.http(), &Request::post("/parcel/generate", &asked)).await;
    assert_eq!(got.status, 502, "{}", got.text());
}
