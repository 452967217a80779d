//! What authors of plugins have: `tollgate plugin …`, and the examples that it begins with.

mod examples;
mod foreign;
mod projects;
mod recorded;
mod verbs;

use std::process::{Command, Output};

use tollgate_tests::place;

/// `tollgate plugin` with these arguments.
fn plugin(arguments: &[&str]) -> Output {
    Command::new(place::binary())
        .arg("plugin")
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// What it prints, when all is well.
fn good(arguments: &[&str]) -> String {
    let output = plugin(arguments);
    assert!(
        output.status.success(),
        "tollgate plugin {arguments:?}\n{}",
        text(&output)
    );
    text(&output)
}

/// What it says, when it is not.
fn bad(arguments: &[&str]) -> String {
    let output = plugin(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output)
}

fn component(name: &str) -> String {
    place::component(name).display().to_string()
}
