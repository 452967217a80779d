//! The port of operators as real clients see it: its description held against its answers, and the
//! page in a real browser (`tests/clients`).
//!
//! They need the Python environment that `cargo xtask test` makes and names in `TOLLGATE_VENV`; without
//! it each says that it was left out. Where there is that environment and no Chromium, the test of the
//! page fails.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tollgate_tests::place;

use super::*;

/// Runs a script; all of its checks must pass.
async fn run(script: &str, arguments: Vec<String>) {
    let Some(venv) = env::var_os("TOLLGATE_VENV").map(PathBuf::from) else {
        println!("left out: TOLLGATE_VENV does not say where the clients are");
        return;
    };
    let mut command = Command::new(venv.join("bin/python"));
    command
        .arg(place::root().join("tests/clients").join(script))
        .args(arguments)
        .stdin(Stdio::null());
    let asked = tokio::task::spawn_blocking(move || command.output());
    // A browser starts slowly on a busy machine, and is asked hundreds of things.
    let output = tokio::time::timeout(Duration::from_secs(480), asked)
        .await
        .expect("the client ends")
        .expect("waiting for it does not panic")
        .expect("the client starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(", 0 failed") && !last.starts_with("0 passed"),
        "{said}"
    );
    println!("{script}: {last}");
}

#[tokio::test]
async fn the_description_is_what_is_served() {
    let proxy = watched().start().await;
    complete(&proxy).await.with_status(200);
    mistake(&proxy).await.with_status(404);
    let url = format!("http://{}", proxy.admin());
    let arguments = ["--url", &url, "--plugin", "openai", "--worker", "here"];
    run("admin_api.py", arguments.map(str::to_owned).to_vec()).await;
}

/// Clients that ask again and again, most of them well.
async fn keep_busy(proxy: &Proxy) {
    for turn in 0_u32.. {
        // Whatever becomes of them: a worker is drained meanwhile.
        complete(proxy).await;
        if turn.is_multiple_of(20) {
            mistake(proxy).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_page_in_a_browser() {
    let proxy = guarded().start().await;
    let url = format!("http://{}", proxy.admin());
    let screens = place::target().join("screenshots").display().to_string();
    let arguments = [
        "--url",
        &url,
        "--plugin",
        "openai",
        "--canary",
        CANARY,
        "--token",
        TOKEN,
        "--screens",
        &screens,
    ];
    tokio::select! {
        () = run("dashboard.py", arguments.map(str::to_owned).to_vec()) => {}
        () = keep_busy(&proxy) => {}
    }
}
