//! The guide is true: what it shows stands so in the example that it is about.

use std::fs;

use tollgate_tests::place;

/// Blocks of a document that are taken from a file: those whose first line is
/// `// plugins/examples/…`, `# plugins/…` or the like, with the block's own text after it.
#[test]
fn what_the_guide_shows_stands_in_the_examples() {
    let guide = fs::read_to_string(place::root().join("docs/plugin-guide.md")).unwrap();
    let mut shown = 0;
    for block in guide.split("\n```").skip(1).step_by(2) {
        let Some((_, block)) = block.split_once('\n') else {
            continue;
        };
        let Some((first, text)) = block.split_once('\n') else {
            continue;
        };
        let Some(path) = first
            .trim_start_matches(['/', '#', ' '])
            .strip_prefix("from ")
        else {
            continue;
        };
        let file = fs::read_to_string(place::root().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        // A line of dots stands for what is left out.
        let mut rest = file.as_str();
        for part in text
            .split("    // …\n")
            .flat_map(|part| part.split("// …\n"))
        {
            let at = rest.find(part).unwrap_or_else(|| {
                panic!("{path} has no longer, after what is shown before:\n{part}")
            });
            rest = &rest[at + part.len()..];
        }
        shown += 1;
    }
    assert!(
        shown >= 5,
        "the guide shows only {shown} pieces of the examples"
    );
}

/// All commands of the guide, in order, in an empty folder, as a new author would type them. What
/// differs: cargo fetches nothing, what is built is shared with the other tests, and the proxy
/// listens where there is room and is ended afterwards.
#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let guide = fs::read_to_string(place::root().join("docs/plugin-guide.md")).unwrap();
    let mut script =
        String::from("set -eu\ntrap 'test -z \"${proxy-}\" || kill \"$proxy\"' EXIT\n");
    for block in guide.split("\n```sh\n").skip(1) {
        let (commands, _) = block.split_once("\n```").expect("blocks end");
        if commands.starts_with("tollgate run ") {
            script.push_str(&format!(
                "{commands} &\nproxy=$!\ncurl --silent --retry 60 --retry-delay 1 \
                 --retry-connrefused --max-time 5 --output /dev/null http://127.0.0.1:8080/\n"
            ));
        } else {
            script.push_str(commands);
            script.push('\n');
        }
        if commands.starts_with("tollgate plugin new ") {
            let end = script.find("cd quill").expect("it goes there");
            let prepare = "cp \"$TOLLGATE/Cargo.lock\" quill/\nmkdir -p \"$SHARED\"\nln -s \"$SHARED\" quill/target\n";
            script.insert_str(end, prepare);
        }
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let script = script.replace("8080", &port).replace(
        "\ncargo test",
        &format!("\nsed -i s/8080/{port}/ tollgate.yaml\ncargo test"),
    );

    let folder = tempfile::tempdir().unwrap();
    let binaries = place::binary();
    let binaries = binaries.parent().unwrap().display();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap());
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("TOLLGATE", place::root())
        .env("SHARED", place::target().join("tests-authors"))
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("there is a shell");
    let told = super::text(&output);
    assert!(output.status.success(), "{script}\n---\n{told}");
    for said in [
        "test result: ok",
        "world protocol",
        "POST /quill/v1/write",
        r#"{"models":["#,
        "tollgate-ngram",
        r#""finish":"length","usage":{"input":"#,
        "event: end\ndata: {\"finish\":\"length\"",
    ] {
        assert!(told.contains(said), "no {said:?} in\n{told}");
    }
}
