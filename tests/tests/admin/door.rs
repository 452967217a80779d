//! Who may ask what: by the name that he uses, by what his browser says, by his token, by where he is.

use tollgate_tests::{place, tls::Certificate};

use super::*;

#[tokio::test]
async fn a_name_that_was_rebound_reads_and_changes_nothing() {
    let proxy = watched().admin("hosts: [ops.example.com]").start().await;
    let port = proxy.admin().port();
    for path in [
        "/",
        "/status",
        "/overview",
        "/metrics",
        "/livez",
        "/config",
        "/page/app.js",
    ] {
        for (host, status) in [
            ("evil.example".to_owned(), 421),
            (format!("evil.example:{port}"), 421),
            ("127.0.0.1.evil.example".to_owned(), 421),
            (format!("127.0.0.1:{port}, evil.example"), 421),
            (format!("localhost:{port}"), 200),
            (format!("ops.example.com:{port}"), 200),
            ("10.9.8.7".to_owned(), 200),
        ] {
            let got = ask(&proxy, Request::get(path).host(&host)).await;
            assert_eq!(got.status, status, "{path} {host}");
            if status == 421 {
                assert!(got.json()["do"].is_string(), "{}", got.text());
            }
        }
    }
    let swap = Request::post_bytes("/plugins/openai/swap", "").host("evil.example");
    assert_eq!(ask(&proxy, swap).await.status, 421);
    assert_eq!(swaps(&proxy).await, 0);
}

#[tokio::test]
async fn of_browsers_only_the_page_of_this_proxy_changes_anything() {
    let proxy = watched().start().await;
    let own = format!("http://{}", proxy.admin());
    let page = ("x-tollgate-operator", "dashboard");
    let same = ("sec-fetch-site", "same-origin");
    for (headers, status) in [
        (vec![("origin", own.as_str()), same, page], 200),
        (vec![("origin", own.as_str()), same], 403),
        (vec![("origin", "http://evil.example"), page], 403),
        (vec![("origin", "null"), page], 403),
        (vec![("sec-fetch-site", "cross-site"), page], 403),
        (vec![("sec-fetch-site", "none"), page], 403),
        (vec![], 200),
    ] {
        let before = swaps(&proxy).await;
        let mut request = Request::post_bytes("/plugins/openai/swap", "");
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let got = ask(&proxy, request).await;
        assert_eq!(got.status, status, "{headers:?} {}", got.text());
        let more = u64::from(status == 200);
        assert_eq!(swaps(&proxy).await, before + more, "{headers:?}");
    }
    // Nothing is allowed to other sites, however they ask (Fetch, "CORS-preflight request").
    let preflight = Request::get("/plugins/openai/swap")
        .method("OPTIONS")
        .header("origin", "http://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-tollgate-operator");
    let got = ask(&proxy, preflight).await;
    assert_eq!(got.status, 405);
    let allowed = |name: &str| name.starts_with("access-control-");
    assert!(
        !got.headers.iter().any(|(name, _)| allowed(name)),
        "{:?}",
        got.headers
    );
}

async fn swaps(proxy: &Proxy) -> u64 {
    let told = look(proxy, "/plugins").await;
    let mut plugins = told["plugins"].as_array().expect("a list").iter();
    let plugin = plugins
        .find(|it| it["name"] == "openai")
        .expect("it is there");
    plugin["changes"]["swapped"].as_u64().expect("a count")
}

#[tokio::test]
async fn with_tokens_each_change_takes_one() {
    let proxy = guarded().start().await;
    for path in [
        "/plugins/openai/swap",
        "/plugins/openai/promote",
        "/plugins/openai/rollback",
        "/workers/here/drain",
        "/workers/here/resume",
        "/drain",
        "/reload",
        "/upgrade",
    ] {
        let post = || Request::post_bytes(path, "");
        let none = ask(&proxy, post()).await.with_status(401);
        assert_eq!(none.header("www-authenticate"), Some("Bearer"), "{path}");
        let wrong = ask(&proxy, post().token("another")).await.with_status(401);
        let challenge = wrong.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("invalid_token"), "{path}: {challenge}");
        assert!(wrong.json()["do"].is_string());
    }
    assert_eq!(
        look(&proxy, "/status").await["ready"],
        true,
        "nothing has ended"
    );
    let post = Request::post_bytes("/workers/here/drain", "").token(TOKEN);
    ask(&proxy, post).await.with_status(200);
    proxy
        .logged(|line| {
            line.contains("\"operator\":\"ops\"") && line.contains("/workers/here/drain")
        })
        .await;
}

#[tokio::test]
async fn the_port_of_operators_speaks_tls_where_it_has_a_certificate() {
    let certificate = Certificate::new(&["localhost", "127.0.0.1"]);
    let proxy = guarded()
        .file("cert.pem", &certificate.cert)
        .file("key.pem", &certificate.key)
        .admin("tls: { certificates: [{ cert: cert.pem, key: key.pem }] }")
        .tls_admin(&certificate)
        .start()
        .await;
    let client = certificate.client(&["http/1.1"]);
    let ask =
        async |request: Request| http1::ask_tls(proxy.admin(), client.clone(), &request).await;
    ask(Request::get("/status")).await.with_status(200);
    let swap = || Request::post_bytes("/plugins/openai/swap", "");
    ask(swap()).await.with_status(401);
    // The page's origin is its own by scheme, too.
    let page = swap()
        .token(TOKEN)
        .header("x-tollgate-operator", "dashboard");
    let of = |scheme: &str| {
        page.clone()
            .header("origin", &format!("{scheme}://{}", proxy.admin()))
    };
    ask(of("http")).await.with_status(403);
    ask(of("https")).await.with_status(200);
    let clear = format!("GET /status HTTP/1.1\r\nhost: {}\r\n\r\n", proxy.admin());
    let clear = http1::ask_raw(proxy.admin(), clear).await;
    assert!(clear.is_none_or(|got| got.status != 200), "in the clear");
}

#[test]
fn in_the_open_it_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("temporary files have a place");
    let file = folder.path().join("tollgate.yaml");
    let yaml = "listeners: [{ name: a, address: \"127.0.0.1:0\" }]\nadmin: { address: \"0.0.0.0:9901\" }\n";
    std::fs::write(&file, yaml).expect("it can be written");
    let mut command = std::process::Command::new(place::binary());
    let out = command.arg("check").arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success(), "{said}");
    for part in [
        "tollgate.yaml:2:",
        "`tokens` and `tls`",
        "from-elsewhere: probes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Connections that have sent so much, and send no more.
async fn hold(proxy: &Proxy, count: usize, bytes: &str) -> Vec<http1::Connection> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut connection = http1::Connection::open(proxy.admin()).await;
        connection.raw(bytes).await;
        held.push(connection);
    }
    held
}

/// From the address that the probes come from, too.
#[tokio::test]
async fn whoever_holds_connections_takes_the_probes_from_nobody() {
    let proxy = watched().start().await;
    let head = "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
    let body = "POST /log-level HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000\r\n\r\n{";
    let silent = "";
    for (count, bytes) in [(400, head), (200, body), (200, silent)] {
        let held = hold(&proxy, count, bytes).await;
        for path in ["/livez", "/readyz"] {
            ask(&proxy, Request::get(path)).await.with_status(200);
        }
        drop(held);
    }
    assert!(proxy.figure("admin_connections").await <= Some(48.0));
    assert!(proxy.figure("admin_connections_closed_total").await >= Some(300.0));
}
