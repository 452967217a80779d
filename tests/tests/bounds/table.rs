//! The figures that the table of bounds names are those of a running proxy.

use super::*;

/// What has figures only where it is configured: tenants, other ways of telling who asks.
const WAYS: &str = "tenants: { team: { concurrency: 4 } }
authentication:
  house: { jwt: { issuer: house, audiences: [models], keys: { from: keys.json }, tenant: team } }
  cluster: { kubernetes: { server: \"http://127.0.0.1:1\", token: own-token, tenant: team } }
";
/// Likewise; nobody listens there.
const LOG: &str = "    payload-log: { sink: \"http://127.0.0.1:1/events\" }";

#[tokio::test]
async fn every_figure_of_the_table_is_on_the_page() {
    let table = std::fs::read_to_string(place::root().join("proxy/BOUNDS.md")).expect("the table");
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let figures: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(5))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(figures.len() > 40, "{figures:?}");

    let worker = slow().await;
    // Beside a worker, a section of which none has been found yet.
    let awaited = "  - { name: w1, address: { file: fleet.yaml }, protocol: openai }\n";
    let workers = [
        scene::worker("w0", "openai", worker.address, ""),
        awaited.to_owned(),
    ];
    let proxy = Setup::new(&(scene::workers(&workers, LOG) + WAYS))
        .file("keys.json", r#"{"keys": []}"#)
        .file("own-token", "own")
        .start()
        .await;
    worker.release();
    http1::ask(proxy.http(), &scene::completion(false))
        .await
        .with_status(200);
    let page = proxy.metrics().await;
    for figure in figures {
        let family = format!("# TYPE tollgate_{figure} ");
        assert!(page.contains(&family), "{figure}: {page}");
    }
}
