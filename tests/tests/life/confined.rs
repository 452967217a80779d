//! A proxy that may do little: not root, and nothing of the file system can be written.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use super::*;

const NOBODY: &str = "65534";

/// A shell's words that make the root read-only for what they start, in a namespace of its own.
const READ_ONLY: &str = "mount --make-rprivate / && mount -o remount,bind,ro / && exec \"$@\"";

/// What starts a proxy so, as far as this machine lets us, and whether it is all of it.
fn confined() -> (Vec<&'static str>, bool) {
    let drops = [
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
        "--no-new-privs",
    ];
    let mounts = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"];
    let works = |command: &[&str]| {
        let tried = Command::new(command[0])
            .args(&command[1..])
            .arg("true")
            .output();
        tried.is_ok_and(|it| it.status.success())
    };
    let all: Vec<_> = mounts.iter().chain(&drops).copied().collect();
    match (works(&all), works(&drops)) {
        (true, _) => (all, true),
        (false, true) => (drops.to_vec(), false),
        // Not root already: then only the folder can be taken away.
        (false, false) => (Vec::new(), false),
    }
}

#[tokio::test]
async fn it_serves_without_rights_and_with_nothing_to_write_to() {
    let (wrapper, all) = confined();
    let yaml = format!("{}drain: {{ deadline: 5s }}\n", scene::embedded());
    let setup = Setup::new(&yaml)
        .uncached()
        .runtime("watch: 0s")
        .by(&wrapper);
    let folder = setup.folder();
    let mode = |mode: u32| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path(), permissions).expect("it is ours");
    };
    // Others may read it; whoever starts the test writes the configuration there first.
    mode(0o755);
    let mut proxy = setup.start().await;
    mode(0o555);
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("it runs");
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the system tells").trim().to_owned()
    };
    if !wrapper.is_empty() {
        assert!(
            line("Uid:").split_whitespace().all(|id| id == NOBODY),
            "{}",
            line("Uid:")
        );
        assert_eq!(line("NoNewPrivs:"), "1");
    }
    if all {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", proxy.pid()));
        let mounts = mounts.expect("it runs");
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"));
        let options = root
            .and_then(|root| root.split(' ').nth(5))
            .expect("there is a root");
        assert!(options.split(',').any(|option| option == "ro"), "{options}");
    }
    let body = json!({"model": "tollgate-ngram", "prompt": "The gate", "max_tokens": 4});
    let request = Request::post("/v1/completions", &body);
    http1::ask(proxy.http(), &request).await.with_status(200);
    // It is taken in, and handed over, all the same.
    assert_eq!(reload(&proxy).await, [""; 0]);
    proxy.upgrade().await;
    http1::ask(proxy.http(), &request).await.with_status(200);
    proxy.ask_to_end();
    assert_eq!(proxy.exit().await.code.unwrap_or_default(), 0);
    mode(0o755);
}
