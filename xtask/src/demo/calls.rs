//! The calls of the demonstration: what a person would type, printed, and then run.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Demo;
use crate::needs;
use crate::process::on_path;
use crate::workspace::Workspace;

/// Generates text; a real if tiny model that runs in the sandbox.
const TEXT_MODEL: &str = "tollgate-ngram";
/// Turns text into vectors.
const VECTOR_MODEL: &str = "tollgate-hash";

/// How an answer is shown.
#[derive(Clone, Copy)]
enum Shown {
    /// Whole, when it has come; long ones shortened.
    Whole,
    /// As it comes.
    Streaming,
}

/// Makes every call, in order.
///
/// # Errors
/// At the first call that fails.
pub(super) fn all(workspace: &Workspace, demo: &Demo) -> Result<()> {
    let chat = |stream: bool| {
        format!(
            r#"{{"model": "{TEXT_MODEL}", "max_tokens": 40, "stream": {stream}, "messages": [{{"role": "user", "content": "What is a toll?"}}]}}"#
        )
    };
    let completion = format!(
        r#"{{"model": "{TEXT_MODEL}", "max_tokens": 24, "temperature": 0, "prompt": "The ferry"}}"#
    );
    let embedding = format!(
        r#"{{"model": "{VECTOR_MODEL}", "dimensions": 8, "input": ["a ferry crosses the river"]}}"#
    );
    let tokens = format!(r#"{{"model": "{TEXT_MODEL}", "prompt": "The gate opens."}}"#);
    println!("\n4. Calls over TLS with a token, as an OpenAI client makes them");
    for (title, path, body, shown) in [
        ("The models", "/v1/models", None, Shown::Whole),
        (
            "A chat",
            "/v1/chat/completions",
            Some(chat(false)),
            Shown::Whole,
        ),
        (
            "The same, streamed",
            "/v1/chat/completions",
            Some(chat(true)),
            Shown::Streaming,
        ),
        (
            "A completion",
            "/v1/completions",
            Some(completion),
            Shown::Whole,
        ),
        (
            "An embedding",
            "/v1/embeddings",
            Some(embedding),
            Shown::Whole,
        ),
        ("Tokens", "/tokenize", Some(tokens), Shown::Whole),
    ] {
        let (command, typed) = curl(demo, path, body.as_deref());
        call(title, command, &typed, shown)?;
    }

    println!("\n5. The same models over gRPC, as a TGIS client calls them");
    if !on_path("python3") {
        println!("   No python3 here. With grpcurl on PATH:");
        println!("{}", typed_grpc(demo, "grpcurl", "Generate"));
        return Ok(());
    }
    let grpcurl = needs::python(workspace)?.join("bin/grpcurl");
    for (title, method) in [
        ("Generate", "Generate"),
        ("The same, streamed", "GenerateStream"),
    ] {
        let mut command = Command::new(&grpcurl);
        command
            .arg("-cacert")
            .arg(&demo.certificate)
            .args(["-H", &format!("authorization: Bearer {}", demo.token)])
            .arg("-import-path")
            .arg(workspace.root.join("proto"))
            .args(["-proto", "generation.proto", "-d", &grpc_body(method)])
            .args([&demo.address, &format!("fmaas.GenerationService/{method}")]);
        call(
            title,
            command,
            &typed_grpc(demo, "grpcurl", method),
            Shown::Streaming,
        )?;
    }
    Ok(())
}

/// What a person can paste into a second terminal.
pub(super) fn invitation(demo: &Demo) -> String {
    let body = format!(
        r#"{{"model": "{TEXT_MODEL}", "stream": true, "messages": [{{"role": "user", "content": "Tell me of the harbour."}}]}}"#
    );
    format!(
        "export TOKEN={}\n\n{}\n\n{}\n\ncurl http://{}/metrics\n",
        demo.token,
        curl(demo, "/v1/chat/completions", Some(&body)).1,
        typed_grpc(demo, "grpcurl", "Generate"),
        demo.admin,
    )
}

/// The command, and how a person would type it.
fn curl(demo: &Demo, path: &str, body: Option<&str>) -> (Command, String) {
    let url = format!("https://{}{path}", demo.address);
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--no-buffer",
            "--fail-with-body",
        ])
        .args(["--max-time", "60", "--noproxy", "*", "--cacert"])
        .arg(&demo.certificate)
        .args(["-H", &format!("Authorization: Bearer {}", demo.token)])
        .arg(&url);
    let mut typed = format!(
        "curl -N --cacert {} -H \"Authorization: Bearer $TOKEN\" \\\n  {url}",
        demo.certificate.display()
    );
    if let Some(body) = body {
        command.args(["-H", "Content-Type: application/json", "--data", body]);
        typed.push_str(&format!(
            " \\\n  -H 'Content-Type: application/json' \\\n  --data '{body}'"
        ));
    }
    (command, typed)
}

fn grpc_body(method: &str) -> String {
    let text = r#"{"text": "The bridge"}"#;
    let requests = if method == "Generate" {
        format!(r#""requests": [{text}, {{"text": "A traveller"}}]"#)
    } else {
        format!(r#""request": {text}"#)
    };
    format!(
        r#"{{"model_id": "{TEXT_MODEL}", {requests}, "params": {{"stopping": {{"max_new_tokens": 16}}}}}}"#
    )
}

fn typed_grpc(demo: &Demo, program: &str, method: &str) -> String {
    format!(
        "{program} -cacert {} -H \"authorization: Bearer $TOKEN\" \\\n  -import-path proto -proto \
         generation.proto \\\n  -d '{}' \\\n  {} fmaas.GenerationService/{method}",
        demo.certificate.display(),
        grpc_body(method),
        demo.address
    )
}

fn call(title: &str, mut command: Command, typed: &str, shown: Shown) -> Result<()> {
    println!("\n-- {title}\n$ {typed}");
    std::io::stdout().flush()?;
    command.stdin(Stdio::null());
    let program = command.get_program().to_string_lossy().into_owned();
    let started = || format!("cannot start {program}");
    let status = match shown {
        Shown::Streaming => command.status().with_context(started)?,
        Shown::Whole => {
            let output = command
                .stderr(Stdio::inherit())
                .output()
                .with_context(started)?;
            println!(
                "{}",
                shortened(String::from_utf8_lossy(&output.stdout).trim_end())
            );
            output.status
        }
    };
    if !status.success() {
        bail!("{title}: {program} ended with {status}");
    }
    Ok(())
}

/// The beginning and the end of an answer that would fill the screen.
fn shortened(text: &str) -> String {
    const HALF: usize = 600;
    let count = text.chars().count();
    if count <= 2 * HALF {
        return text.to_owned();
    }
    let head: String = text.chars().take(HALF).collect();
    let tail: String = text.chars().skip(count - HALF).collect();
    format!("{head} … {tail}")
}
