//! Another configuration, while it serves.

use super::*;

/// Nothing is looked at by itself.
const UNWATCHED: &str = "watch: 0s";

fn one(worker: &h::Worker, route: &str) -> Setup {
    Setup::new(&scene::one("openai", worker.address, "", route)).runtime(UNWATCHED)
}

#[tokio::test]
async fn routes_come_and_go_and_what_has_changed_is_told() {
    let worker = named("one").await;
    let proxy = one(&worker, "").start().await;
    assert_eq!(reload(&proxy).await, [""; 0]);
    proxy.reconfigure(|yaml| {
        yaml.replace(
            "routes:\n",
            "routes:\n  - { name: more, prefix: /more, frontends: [openai], workers: [w0], auth: \
             open, default-model: m }\n",
        )
    });
    assert_eq!(reload(&proxy).await, ["routes[more] is new"]);
    let more = Request::post(
        "/more/v1/completions",
        &json!({"model": "m", "prompt": "Hello", "max_tokens": 8}),
    );
    assert_eq!(text(&http1::ask(proxy.http(), &more).await), "one");
    assert_eq!(text(&complete(&proxy).await), "one");

    proxy.reconfigure(|yaml| yaml.replace("prefix: /more", "prefix: /other"));
    proxy.hangup();
    proxy
        .logged(|line| line.contains("routes[more].prefix") && line.contains("/other"))
        .await;
    eventually("it is gone", async || {
        let got = http1::ask(proxy.http(), &more).await;
        (got.status == 404).then_some(())
    })
    .await;
    let told = &proxy.status().await["process"]["configuration"];
    assert_eq!(told["reloads"], json!({"good": 3, "bad": 0}));
    assert!(told["problem"].is_null());
    assert!(
        told["changed"][0]
            .as_str()
            .unwrap()
            .starts_with("routes[more].prefix")
    );
}

#[tokio::test]
async fn a_file_that_changes_is_taken_in_by_itself() {
    let worker = named("one").await;
    let proxy = Setup::new(&scene::one("openai", worker.address, "", ""))
        .runtime("watch: 50ms")
        .start()
        .await;
    proxy.reconfigure(|yaml| {
        yaml.replace(
            "default-model: m\n",
            "default-model: m\n    limits: { body: 1KiB }\n",
        )
    });
    let large = Request::post(
        "/v1/completions",
        &json!({"model": "m", "prompt": "x".repeat(4000)}),
    );
    eventually("the limit holds", async || {
        let got = http1::ask(proxy.http(), &large).await;
        (got.status == 413).then_some(())
    })
    .await;
    assert_eq!(text(&complete(&proxy).await), "one");
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_is_told_with_its_place() {
    let worker = named("one").await;
    let proxy = one(&worker, "").start().await;
    proxy.reconfigure(|yaml| yaml.replace("auth: open", "auth: opne"));
    let refused = proxy.order("reload", "").await.with_status(422).json();
    let problem = refused["error"].as_str().unwrap().to_owned();
    assert!(
        problem.contains("tollgate.yaml:") && problem.contains("did you mean `open`"),
        "{problem}"
    );
    proxy.becomes("config_problem", 1.0).await;
    proxy
        .becomes("config_reloads_total{outcome=\"bad\"}", 1.0)
        .await;
    assert_eq!(
        proxy.status().await["process"]["configuration"]["problem"],
        problem
    );
    proxy
        .logged(|line| line.contains("the configuration in force stays"))
        .await;
    assert_eq!(text(&complete(&proxy).await), "one");
    assert_eq!(proxy.ask_admin("/readyz").await.status, 200);

    // What reads well, and cannot be: a plugin that is none.
    proxy.reconfigure(|yaml| {
        yaml.replace("auth: opne", "auth: open")
            .replace("bundled:tgis", "bundled:nobody")
    });
    let refused = proxy.order("reload", "").await.with_status(422).text();
    assert!(refused.contains("nobody"), "{refused}");
    assert_eq!(text(&complete(&proxy).await), "one");

    proxy.reconfigure(|yaml| yaml.replace("bundled:nobody", "bundled:tgis"));
    assert_eq!(reload(&proxy).await, [""; 0]);
    proxy.becomes("config_problem", 0.0).await;
}

#[tokio::test]
async fn what_takes_another_process_is_refused_by_name() {
    let worker = named("one").await;
    let proxy = one(&worker, "").start().await;
    proxy.reconfigure(|yaml| {
        yaml.replace("threads: 2", "threads: 3")
            .replace("auth: open", "auth: open\n    prefix: /x")
    });
    let refused = proxy.order("reload", "").await.with_status(409).text();
    assert!(refused.contains("runtime.threads"), "{refused}");
    // All or nothing: the route is as it was.
    assert_eq!(text(&complete(&proxy).await), "one");
}

#[tokio::test]
async fn requests_keep_what_they_began_with_and_new_ones_get_what_is_new() {
    let (old, new) = (held("old").await, named("new").await);
    let proxy = one(&old, "").start().await;
    let mut stream = begin_stream(&proxy).await;
    old.journal.holding(0).await;
    let (from, to) = (old.address.to_string(), new.address.to_string());
    proxy.reconfigure(|yaml| yaml.replace(&from, &to));
    let changes = reload(&proxy).await;
    assert!(changes[0].starts_with("workers[w0].address"), "{changes:?}");
    assert_eq!(text(&complete(&proxy).await), "new");
    proxy.becomes("config_former", 1.0).await;
    old.release();
    let (body, end) = rest(&mut stream).await;
    assert_eq!(end, End::Whole);
    assert!(sse::json(&body).1 && body.contains(" and over"), "{body}");
    proxy.becomes("config_former", 0.0).await;
    eventually("the old one has left", async || {
        let status = proxy.status().await;
        let workers = status["workers"].as_array().unwrap();
        (workers.len() == 1 && workers[0]["draining"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_worker_gets_the_one_that_comes() {
    let (old, new) = (held("old").await, named("new").await);
    let config = scene::one("openai", old.address, ", slots: 1", "");
    let proxy = Setup::new(&config).runtime(UNWATCHED).start().await;
    let mut stream = begin_stream(&proxy).await;
    old.journal.holding(0).await;
    let mut waiting = http1::Connection::open(proxy.http()).await;
    waiting.send(&scene::completion(false)).await;
    proxy
        .becomes("route_queue_requests{route=\"all\"}", 1.0)
        .await;
    let (from, to) = (old.address.to_string(), new.address.to_string());
    proxy.reconfigure(|yaml| yaml.replace(&from, &to));
    reload(&proxy).await;
    assert_eq!(text(&waiting.response().await), "new");
    old.release();
    assert_eq!(rest(&mut stream).await.1, End::Whole);
}

#[tokio::test]
async fn what_is_the_same_goes_on() {
    let (kept, other) = (named("kept").await, named("other").await);
    let workers = [
        scene::worker("w0", "openai", kept.address, ""),
        scene::worker("w1", "openai", other.address, ""),
    ];
    let proxy = Setup::new(&scene::workers(&workers, ""))
        .runtime(UNWATCHED)
        .start()
        .await;
    for _ in 0..4 {
        complete(&proxy).await.with_status(200);
    }
    let connections = kept.journal.requests();
    let generation = |status: &Value, name: &str| {
        let plugins = status["plugins"].as_array().unwrap();
        let plugin = plugins.iter().find(|it| it["name"] == name).unwrap();
        plugin["generation"].clone()
    };
    let before = proxy.status().await;
    proxy.reconfigure(|yaml| {
        yaml.replace("bundled:tgis\" }", "bundled:tgis\", limits: { slots: 9 } }")
            .replace("name: w1,", "name: w1, slots: 7,")
    });
    let changes = reload(&proxy).await;
    assert_eq!(changes.len(), 2, "{changes:?}");
    let after = proxy.status().await;
    assert_eq!(generation(&before, "openai"), generation(&after, "openai"));
    assert_ne!(generation(&before, "tgis"), generation(&after, "tgis"));
    let slots: Vec<_> = after["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["slots"].clone())
        .collect();
    assert!(slots.contains(&json!(7)), "{slots:?}");
    // Its connection is still there.
    let open = |name: &str| format!("upstream_connections{{worker=\"{name}\"}}");
    assert!(proxy.figure(&open("w0")).await.unwrap() >= 1.0);
    assert!(connections > 0);
    // What was counted goes on counting.
    let requests = proxy.metrics().await;
    assert!(requests.contains("tollgate_requests"), "{requests}");
    complete(&proxy).await.with_status(200);
}

#[tokio::test]
async fn schedulers_and_limits_change() {
    let worker = named("one").await;
    let proxy = one(&worker, "").start().await;
    proxy.reconfigure(|yaml| {
        yaml.replace(
            "\nworkers:\n",
            "\nschedulers: { s: { source: \"bundled:fcfs\" } }\nworkers:\n",
        )
        .replace(
            "auth: open",
            "auth: open\n    scheduler: s\n    queue: { requests: 3 }",
        )
    });
    let changes = reload(&proxy).await;
    assert_eq!(changes.len(), 3, "{changes:?}");
    for _ in 0..3 {
        assert_eq!(text(&complete(&proxy).await), "one");
    }
    let status = proxy.status().await;
    assert_eq!(status["schedulers"][0]["name"], "s");
    assert_eq!(status["schedulers"][0]["fallback"], false);
    proxy.reconfigure(|yaml| yaml.replace("requests: 3", "requests: 4"));
    assert_eq!(reload(&proxy).await, ["routes[all].queue.requests: 3 → 4"]);
    assert_eq!(text(&complete(&proxy).await), "one");
}

#[tokio::test]
async fn secrets_come_from_the_environment_and_from_files_and_are_not_told() {
    let worker = named("one").await;
    let yaml = scene::one(
        "openai",
        worker.address,
        ", options: { note: \"${file:secret}\" }",
        "",
    )
    .replace("auth: open", "auth: open\n    prefix: \"/${env:PLACE}\"");
    let proxy = Setup::new(&yaml)
        .file("secret", "swordfish\n")
        .variable("PLACE", "harbour")
        .runtime(UNWATCHED)
        .start()
        .await;
    let body = json!({"model": "m", "prompt": "Hello"});
    let request = Request::post("/harbour/v1/completions", &body);
    http1::ask(proxy.http(), &request).await.with_status(200);
    proxy.rewrite("secret", "barracuda\n");
    assert_eq!(reload(&proxy).await, ["workers[w0]: a secret has changed"]);
    http1::ask(proxy.http(), &request).await.with_status(200);
    let told = [
        proxy.log(),
        proxy.status().await.to_string(),
        proxy.metrics().await,
    ];
    for told in told {
        assert!(
            !told.contains("swordfish") && !told.contains("barracuda"),
            "{told}"
        );
    }
    proxy.reconfigure(|yaml| yaml.replace("${env:PLACE}", "${env:NOWHERE}"));
    let refused = proxy.order("reload", "").await.with_status(422).text();
    assert!(refused.contains("${env:NOWHERE}"), "{refused}");
}

#[tokio::test]
async fn the_logs_level_and_tokens_change() {
    let worker = named("one").await;
    let proxy = one(&worker, "")
        .file("t.yaml", "tokens: []\n")
        .start()
        .await;
    assert!(!proxy.log().contains("the configuration is as it was"));
    proxy.reconfigure(|yaml| yaml.replace("format: json", "format: json, level: debug"));
    reload(&proxy).await;
    reload(&proxy).await;
    proxy
        .logged(|line| line.contains("the configuration is as it was"))
        .await;
    let token = "0123456789abcdef0123456789abcdef";
    let entry = tollgate_tests::tokens::entry("alice", token, "models: [\"*\"]");
    proxy.rewrite("t.yaml", tollgate_tests::tokens::file(&[entry]));
    proxy.reconfigure(|yaml| {
        yaml.replace("auth: open", "auth: required")
            .replace("\nworkers:\n", "\ntokens: { file: t.yaml }\nworkers:\n")
    });
    reload(&proxy).await;
    assert_eq!(complete(&proxy).await.status, 401);
    let asked = scene::completion(false).token(token);
    assert_eq!(text(&http1::ask(proxy.http(), &asked).await), "one");
}

#[tokio::test]
async fn former_configurations_are_bounded() {
    let worker = held("x").await;
    let proxy = one(&worker, "    limits: { timeout: 100s }").start().await;
    let mut streams = Vec::new();
    let mut last = 100;
    let mut next = || {
        let before = format!("timeout: {last}s");
        last += 1;
        (before, format!("timeout: {last}s"))
    };
    for at in 0..8 {
        streams.push(begin_stream(&proxy).await);
        worker.journal.holding(at).await;
        let (before, after) = next();
        proxy.reconfigure(|yaml| yaml.replace(&before, &after));
        assert_eq!(reload(&proxy).await.len(), 1);
    }
    proxy.becomes("config_former", 8.0).await;
    let (before, after) = next();
    proxy.reconfigure(|yaml| yaml.replace(&before, &after));
    let refused = proxy.order("reload", "").await.with_status(409).text();
    assert!(refused.contains("8 former configurations"), "{refused}");
    for mut stream in streams {
        worker.release();
        assert_eq!(rest(&mut stream).await.1, End::Whole);
    }
    proxy.becomes("config_former", 0.0).await;
    assert_eq!(reload(&proxy).await.len(), 1);
}

#[tokio::test]
async fn only_operators_may_ask_for_it() {
    let worker = named("one").await;
    let token = "0123456789abcdef0123456789abcdef";
    let entry = tollgate_tests::tokens::entry("op", token, "models: [\"*\"]");
    let proxy = one(&worker, "")
        .admin("tokens: operators.yaml")
        .file("operators.yaml", tollgate_tests::tokens::file(&[entry]))
        .start()
        .await;
    for path in ["reload", "upgrade"] {
        assert_eq!(proxy.order(path, "").await.status, 401);
        let got = http1::ask(proxy.admin(), &Request::get(&format!("/{path}"))).await;
        assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    }
    let request = Request::post_bytes("/reload", "").token(token);
    http1::ask(proxy.admin(), &request).await.with_status(200);
}
