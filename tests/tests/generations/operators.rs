//! What operators do, and who is one.

use tollgate_tests::tokens;

use super::*;

#[tokio::test]
async fn an_operator_swaps_and_goes_back() {
    let proxy = bad("").start().await;
    let first = standing(&proxy).await["generation"].clone();
    let happened = done(&proxy, "plugins/bad/swap", "").await;
    assert_eq!(happened[0]["what"], "swapped", "{happened}");
    assert_eq!(happened[0]["from"], first);
    let second = standing(&proxy).await;
    assert_eq!(second["generation"], happened[0]["to"]);
    assert_eq!(second["earlier"][0]["generation"], first);
    assert_eq!(second["probation"], true);
    assert_eq!(echo(&proxy, "").await.status, 200);

    let happened = done(&proxy, "plugins/bad/rollback", "").await;
    assert_eq!(happened[0]["what"], "rolled-back", "{happened}");
    let line = proxy
        .logged(|line| line.contains("an earlier generation is in force again"))
        .await;
    assert!(line.contains(r#""level":"INFO""#), "{line}");
    let third = standing(&proxy).await;
    assert_eq!(third["generation"], first);
    assert_eq!(third["barred"][0]["why"], "asked");
    assert_eq!(echo(&proxy, "").await.status, 200);
    let list = proxy.ask_admin("/plugins").await.with_status(200).json();
    assert_eq!(list["plugins"][0]["generation"], first);
    assert_eq!(list["plugins"][0]["changes"]["rolled-back"], 1);
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let proxy = bad("").start().await;
    for (what, body, status, why) in [
        ("plugins/nobody/swap", "", 404, "there is no plugin nobody"),
        (
            "schedulers/none/swap",
            "",
            404,
            "there is no scheduler none",
        ),
        ("plugins/bad/promote", "", 409, "there is no canary"),
        ("plugins/bad/rollback", "", 409, "no earlier generation"),
        ("plugins/bad/swap", "{\"canary\": 101}", 400, "0 to 100"),
        ("plugins/bad/promote", "{\"canary\": 5}", 400, "by a swap"),
        ("plugins/bad/swap", "nonsense", 400, "the body is"),
    ] {
        let got = proxy.order(what, body).await.with_status(status);
        assert!(got.text().contains(why), "{what}: {}", got.text());
    }
    let get = proxy.ask_admin("/plugins/bad/swap").await.with_status(405);
    assert_eq!(get.header("allow"), Some("POST"));
    let long = proxy.order("plugins/bad/swap", &"x".repeat(5000)).await;
    assert_eq!(long.status, 413);
    proxy.rewrite("bad.wasm", "(component");
    let got = proxy.order("plugins/bad/swap", "").await.with_status(422);
    assert!(got.text().contains("not a WebAssembly component"));
    let stands = standing(&proxy).await;
    assert!(stands["problem"].as_str().is_some(), "{stands}");
    assert_eq!(echo(&proxy, "").await.status, 200);
    assert_eq!(
        proxy
            .figure("loads_total{plugin=\"bad\",outcome=\"bad\"}")
            .await,
        Some(1.0)
    );
}

#[tokio::test]
async fn a_page_in_a_browser_is_no_operator() {
    let proxy = bad("").start().await;
    let request = Request::post_bytes("/plugins/bad/swap", "").header("origin", "http://evil");
    let got = http1::ask(proxy.admin(), &request).await;
    assert_eq!(got.status, 403);
    assert_eq!(standing(&proxy).await["changes"]["swapped"], 0);
}

#[tokio::test]
async fn with_tokens_a_change_needs_one_and_a_look_none() {
    let file = tokens::file(&[tokens::entry("ops", "let-me", "models: [\"*\"]")]);
    let proxy = bad("")
        .file("operators.yaml", file)
        .admin("tokens: operators.yaml")
        .start()
        .await;
    let swap = || Request::post_bytes("/plugins/bad/swap", "");
    for (request, challenge) in [
        (swap(), "Bearer"),
        (swap().token("let-him"), "Bearer error=\"invalid_token\""),
    ] {
        let got = http1::ask(proxy.admin(), &request).await.with_status(401);
        let told = got.header("www-authenticate").expect("a challenge");
        assert!(told.starts_with(challenge), "{told}");
    }
    assert_eq!(standing(&proxy).await["changes"]["swapped"], 0);
    http1::ask(proxy.admin(), &swap().token("let-me"))
        .await
        .with_status(200);
    assert_eq!(standing(&proxy).await["changes"]["swapped"], 1);
    proxy
        .logged(|line| line.contains("\"operator\":\"ops\""))
        .await;
}

#[tokio::test]
async fn a_swapped_scheduler_rules_and_one_that_fails_gives_its_place_back() {
    let yaml = scene::embedded().replace("    auth: open", "    scheduler: lifo\n    auth: open");
    let yaml = format!(
        "{yaml}schedulers:\n  lifo: {{ source: \"{}\", options: {{ trap-after: 12 }}, limits: \
         {{ step: 0ms, backoff: 1h, longest-backoff: 1h }} }}\n",
        place::component("fixtures/lifo").display()
    );
    let proxy = Proxy::start(&yaml).await;
    let ask = async || {
        let body = json!({"model": "tollgate-ngram", "prompt": "The", "max_tokens": 1});
        let request = Request::post("/v1/completions", &body);
        http1::ask(proxy.http(), &request).await.with_status(200);
    };
    let stands = async || proxy.status().await["schedulers"][0].clone();
    ask().await;
    let first = stands().await["generation"].clone();
    let happened = done(&proxy, "schedulers/lifo/swap", "").await;
    assert_eq!(happened[0]["what"], "swapped");
    ask().await;
    let second = stands().await;
    assert_eq!(second["generation"], happened[0]["to"]);
    assert_eq!(second["fallback"], false);
    assert_eq!(second["exchanges"], 1, "its one policy: {second}");
    let refused = proxy.order("schedulers/lifo/swap", "{\"canary\": 5}").await;
    assert_eq!(refused.status, 409);

    // Twelve steps later it traps, on probation.
    let third = eventually("it gives its place back", async || {
        ask().await;
        let third = stands().await;
        let back = third["generation"] == first && third["fallback"] == false;
        back.then_some(third)
    })
    .await;
    assert_eq!(third["barred"][0]["why"], "failing", "{third}");
    proxy
        .logged(|line| {
            line.contains("an earlier generation is in force again")
                && line.contains("scheduler lifo")
        })
        .await;
    // It is proven: when it fails the built-in rules have its place, and it stays.
    eventually("the built-in rules have its place", async || {
        ask().await;
        (stands().await["fallback"] == true).then_some(())
    })
    .await;
    assert_eq!(stands().await["generation"], first);
}

/// What the binary says to an operator's words, and whether it went well.
async fn words(words: Vec<String>) -> (bool, String) {
    let run = move || {
        let mut command = std::process::Command::new(place::binary());
        let out = command.arg("plugin").args(words).output();
        let out = out.expect("the binary runs");
        let said = [out.stdout, out.stderr].concat();
        (
            out.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

#[tokio::test]
async fn the_binary_does_the_same_by_its_verbs() {
    let file = tokens::file(&[tokens::entry("ops", "let-me", "models: [\"*\"]")]);
    let proxy = bad("")
        .file("operators.yaml", file)
        .file("token", "let-me\n")
        .admin("tokens: operators.yaml")
        .start()
        .await;
    let admin = proxy.admin().to_string();
    let token = proxy.folder().path().join("token").display().to_string();
    let say = async |line: &str| {
        let line = format!("{line} --admin {admin}");
        words(line.split(' ').map(str::to_owned).collect()).await
    };
    let (well, said) = say("list").await;
    assert!(
        well && said.contains("plugin bad\n  in force: generation 1"),
        "{said}"
    );
    let (well, said) = say("swap bad").await;
    assert!(!well && said.contains("a token is needed"), "{said}");
    for (line, wanted) in [
        ("swap bad", "swapped from generation 1 to generation 2"),
        ("swap bad --canary 5", "canary to generation 3"),
        ("promote bad", "promoted from generation 2 to generation 3"),
        (
            "rollback bad",
            "rolled-back from generation 3 to generation 2 (asked)",
        ),
    ] {
        let (well, said) = say(&format!("{line} --token-file {token}")).await;
        assert!(well && said.contains(wanted), "{line}: {said}");
    }
    let (well, said) = say(&format!("promote bad --token-file {token}")).await;
    assert!(
        !well && said.contains("there is no canary to promote"),
        "{said}"
    );
    let (well, said) = say("list --json").await;
    assert!(well && said.contains("\"generation\": 2"), "{said}");
}

/// What the binary says of a proxy's health, and whether it went well.
async fn health(words: &[&str]) -> (bool, String) {
    let words: Vec<String> = words.iter().map(|&it| it.to_owned()).collect();
    let run = move || {
        let mut command = std::process::Command::new(place::binary());
        let out = command.arg("health").args(words).output();
        let out = out.expect("the binary runs");
        let said = [out.stdout, out.stderr].concat();
        (
            out.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

#[tokio::test]
async fn the_binary_tells_how_a_proxy_is() {
    let proxy = bad("").start().await;
    let admin = proxy.admin().to_string();
    let ready = health(&["--admin", &admin]).await;
    assert_eq!(ready, (true, "ready\n".to_owned()));
    let alive = health(&["--admin", &admin, "--live"]).await;
    assert_eq!(alive, (true, "ok\n".to_owned()));
    drop(proxy);
    let (well, said) = health(&["--admin", &admin]).await;
    assert!(!well && said.contains(&admin), "{said}");
}

#[tokio::test]
async fn a_proxy_that_is_not_ready_or_says_nothing_is_not_well() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 256];
        let read = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        head
    };
    let words = ["--admin", admin.as_str()];
    let (head, (well, said)) = tokio::join!(answering, health(&words));
    assert!(head.starts_with("GET /readyz HTTP/1.1\r\n"), "{head}");
    assert!(
        !well && said.contains("503") && said.contains("draining"),
        "{said}"
    );
    // It is connected to, and nobody answers.
    let (well, said) = health(&["--admin", &admin, "--timeout", "1"]).await;
    assert!(!well && said.contains("no answer within 1s"), "{said}");
}
