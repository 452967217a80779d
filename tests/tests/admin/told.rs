//! What is told: figures that follow the traffic, errors without their content, the configuration
//! without its secrets.

use super::*;

#[tokio::test]
async fn figures_follow_the_traffic() {
    let proxy = watched().start().await;
    for _ in 0..5 {
        complete(&proxy).await.with_status(200);
    }
    mistake(&proxy).await.with_status(404);
    let told = eventually("a sample tells of them", async || {
        let told = look(&proxy, "/overview").await;
        (told["last-minute"]["requests"] == 6).then_some(told)
    })
    .await;
    let minute = &told["last-minute"];
    assert_eq!(
        (&minute["refused"], &minute["failed"]),
        (&1.into(), &0.into())
    );
    assert!(minute["tokens-out"].as_u64() >= Some(5), "{minute}");
    for of in ["took", "first-byte", "waited"] {
        let (p50, p99) = (minute[of]["p50"].as_f64(), minute[of]["p99"].as_f64());
        assert!(p50.is_some() && p50 <= p99, "{of}: {minute}");
    }
    assert_eq!(told["batch-sizes"][0]["requests"], 5, "each went alone");
    let columns = &told["history"]["columns"];
    let sum = |name: &str| -> u64 {
        let column = columns[name].as_array().expect("a column");
        column.iter().filter_map(Value::as_u64).sum()
    };
    assert_eq!((sum("requests"), sum("refused")), (6, 1));
    assert!(columns["guests"]["openai"].is_array(), "{columns}");

    // What is asked again is only what is new.
    let next = told["history"]["next"].as_u64().expect("a number");
    let again = look(&proxy, &format!("/overview?since={next}")).await;
    assert_eq!(again["history"]["first"], next);
    let few = again["history"]["at"].as_array().expect("a column").len();
    let after = again["history"]["next"].as_u64().expect("a number");
    assert_eq!(few as u64, after - next, "what came in between");
    assert!(proxy.figure("history_samples").await >= Some(1.0));
}

#[tokio::test]
async fn errors_are_remembered_without_what_was_said() {
    let proxy = watched().start().await;
    for _ in 0..3 {
        mistake(&proxy).await.with_status(404);
    }
    complete(&proxy).await.with_status(200);
    let told = look(&proxy, "/errors?last=2").await;
    assert_eq!((&told["total"], &told["missed"]), (&3.into(), &0.into()));
    let list = told["list"].as_array().expect("a list");
    assert_eq!(list.len(), 2);
    let last = &list[0];
    assert_eq!(
        (&last["number"], &last["kind"]),
        (&3.into(), &"refused".into())
    );
    assert_eq!(
        (&last["route"], &last["status"]),
        (&"all".into(), &404.into())
    );
    assert_eq!(last["frontend"], "openai");
    let id = last["request-id"]
        .as_str()
        .expect("it has a name")
        .to_owned();
    proxy.logged(|line| line.contains(&id)).await;
    for path in [
        "/errors",
        "/overview",
        "/status",
        "/metrics",
        "/config",
        "/models",
    ] {
        let told = proxy.ask_admin(path).await.with_status(200).text();
        assert!(!told.contains(CANARY), "{path}");
    }
    assert_eq!(proxy.figure("remembered_errors").await, Some(3.0));
}

#[tokio::test]
async fn the_memory_for_errors_is_bounded() {
    let proxy = watched().start().await;
    for _ in 0..300 {
        mistake(&proxy).await.with_status(404);
    }
    let told = look(&proxy, "/errors?last=100000").await;
    assert_eq!(told["total"], 300);
    let held = told["list"].as_array().expect("a list").len();
    assert!(held <= 256, "{held}");
    let forgotten = told["missed"].as_u64().expect("a count");
    assert!(held as u64 + forgotten >= 256, "{held} and {forgotten}");
}

#[tokio::test]
async fn models_and_queues_are_told_by_route() {
    let proxy = watched().start().await;
    let models = look(&proxy, "/models").await;
    let route = &models["routes"][0];
    assert_eq!(
        (&route["route"], &route["default-model"]),
        (&"all".into(), &"tollgate-ngram".into())
    );
    let mut of = route["models"].as_array().expect("a list").iter();
    let model = of
        .find(|it| it["name"] == "tollgate-ngram")
        .expect("it is there");
    assert_eq!(model["workers"][0]["worker"], "here");
    assert_eq!(model["workers"][0]["accepting"], true);
    assert!(
        model["tasks"].as_array().is_some_and(|it| !it.is_empty()),
        "{model}"
    );
    let queues = look(&proxy, "/queues").await;
    assert_eq!(queues["routes"][0]["route"], "all");
    assert_eq!(
        (
            &queues["pools"][0]["scheduler"],
            &queues["pools"][0]["pending"]
        ),
        (&Value::Null, &0.into())
    );
    let workers = look(&proxy, "/workers").await;
    let worker = &workers["workers"][0];
    assert_eq!(
        (&worker["name"], &worker["slots"], &worker["busy"]),
        (&"here".into(), &4.into(), &0.into())
    );
}

#[tokio::test]
async fn the_configuration_is_told_without_secrets() {
    let proxy = guarded().start().await;
    let told = look(&proxy, "/config").await;
    assert_eq!(told["workers"][0]["address"], "component:embedded");
    assert_eq!(told["routes"][0]["auth"], "open");
    assert_eq!(told["drain"]["deadline"], "30s", "defaults are written out");
    let tokens = told["admin"]["tokens"].as_str().expect("the file is named");
    assert!(tokens.ends_with("operators.yaml"), "{tokens}");
    assert!(!told.to_string().contains(TOKEN));
}

#[tokio::test]
async fn the_page_is_whole_and_kept_by_its_tag() {
    let proxy = watched().start().await;
    let page = proxy.ask_admin("/").await.with_status(200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let text = page.text();
    let mut files = 0;
    for part in text.split("\"/page/").skip(1) {
        let file = part.split('"').next().expect("a name");
        let got = proxy
            .ask_admin(&format!("/page/{file}"))
            .await
            .with_status(200);
        let tag = got.header("etag").expect("a tag").to_owned();
        let request = Request::get(&format!("/page/{file}")).header("if-none-match", &tag);
        let kept = ask(&proxy, request).await.with_status(304);
        assert!(kept.body.is_empty());
        files += 1;
    }
    assert!(files >= 3, "{files}");
}
