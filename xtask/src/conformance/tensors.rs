//! The group `tensors`: servers of the Open Inference Protocol, asked over HTTP and over gRPC.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::house::{House, counted};
use super::server::{self, Server};
use super::table::{Asked, Part};
use super::{PROXY_PATIENCE, SERVER_PATIENCE, text};
use crate::stages::Counts;
use crate::workspace::Workspace;

/// A server, where it is, and where the proxy is before each of its forms: as
/// `tests/conformance/tensors.yaml` has them.
pub(super) struct Station {
    /// What `tensors.py` calls it.
    name: &'static str,
    title: &'static str,
    script: &'static str,
    /// What its script calls its ports.
    variables: [&'static str; 2],
    pub(super) http: &'static str,
    pub(super) grpc: &'static str,
    before: [&'static str; 2],
}

impl Station {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(&self, house: &House) -> Result<Server> {
        let [http, grpc] = self.variables;
        let ports = [
            (http, server::port(self.http)?),
            (grpc, server::port(self.grpc)?),
        ];
        let mut started = house.real(self.title, self.script, &ports, &[self.http, self.grpc])?;
        let ready = format!("http://{}/v2/health/ready", self.http);
        started.wait(&ready, SERVER_PATIENCE)?;
        Ok(started)
    }
}

pub(super) const TRITON: Station = Station {
    name: "triton",
    title: "Triton",
    script: "triton.sh",
    variables: ["TRITON_HTTP_PORT", "TRITON_GRPC_PORT"],
    http: "127.0.0.1:18160",
    grpc: "127.0.0.1:18161",
    before: ["127.0.0.1:18550", "127.0.0.1:18551"],
};

const STATIONS: [Station; 3] = [
    TRITON,
    Station {
        name: "mlserver",
        title: "MLServer",
        script: "mlserver.sh",
        variables: ["MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT"],
        http: "127.0.0.1:18170",
        grpc: "127.0.0.1:18171",
        before: ["127.0.0.1:18552", "127.0.0.1:18553"],
    },
    Station {
        name: "kserve",
        title: "KServe's Python server",
        script: "kserve.sh",
        variables: ["KSERVE_HTTP_PORT", "KSERVE_GRPC_PORT"],
        http: "127.0.0.1:18190",
        grpc: "127.0.0.1:18191",
        before: ["127.0.0.1:18554", "127.0.0.1:18555"],
    },
];
const ADMIN: &str = "127.0.0.1:18559";

/// Starts, asks, and ends them.
///
/// # Errors
/// When one of them does not start or serve.
pub(super) fn run(house: &House, workspace: &Workspace) -> Result<Part> {
    let mut servers = Vec::new();
    for station in &STATIONS {
        servers.push(station.start(house)?);
    }
    let before = STATIONS.iter().flat_map(|station| station.before);
    let taken: Vec<&str> = before.chain([ADMIN]).collect();
    let mut proxy = house.proxy(workspace, &taken)?;
    proxy.wait(&format!("http://{ADMIN}/readyz"), PROXY_PATIENCE)?;
    let part = ask(house);
    let drained = Server::stop(proxy);
    // They end as they like: what they say at a signal is not ours to judge.
    for server in servers {
        server.stop().ok();
    }
    let part = part?;
    drained?;
    Ok(part)
}

fn ask(house: &House) -> Result<Part> {
    let named = STATIONS.map(|station| {
        let [over_http, over_grpc] = station.before;
        let places = [station.http, station.grpc, over_http, over_grpc];
        format!("{},{}", station.name, places.join(","))
    });
    let arguments: Vec<&str> = named
        .iter()
        .flat_map(|station| ["--server", station])
        .collect();
    let cells = house.cells("tensors.py", &arguments)?;

    let mut clients = Vec::new();
    let mut asked = |client: &str, worker: &str, counts: Counts| {
        clients.push(Asked {
            client: client.to_owned(),
            worker: worker.to_owned(),
            counts,
            plugins: vec!["kserve"],
        });
    };
    for (worker, address) in ["Triton over HTTP", "Triton over gRPC"]
        .into_iter()
        .zip(TRITON.before)
    {
        println!("\n== tritonclient in front of {worker}");
        let environment = House::environments().join("triton");
        let mut command = house.script_in("tests/clients/triton_client.py", &environment);
        command
            .args(["--url", &format!("https://{address}"), "--grpc", address])
            .args(["--model", "addsub", "--stream-model", "stream"]);
        asked("tritonclient", worker, counted(&mut command)?);

        println!("\n== grpcurl in front of {worker}");
        let mut command = house.script("tests/clients/grpcurl_v2.py");
        command.args(["--grpc", address, "--model", "addsub"]);
        asked("grpcurl, by reflection", worker, counted(&mut command)?);

        // It asks for the configuration of the model first, which is passed on only: over the
        // worker's own form.
        println!("\n== perf_analyzer in front of {worker}");
        let grpc = address == TRITON.before[1];
        asked("perf_analyzer", worker, analyzed(house, address, grpc)?);
    }
    Ok(Part {
        cells,
        clients,
        specified: Vec::new(),
        versions: vec![
            (
                "Triton".to_owned(),
                "2.51.0 (nvidia-pytriton 0.7.0)".to_owned(),
            ),
            house.pinned("MLServer", "tests/real/mlserver.sh", "mlserver")?,
            house.pinned("KServe, Python", "tests/real/kserve.sh", "kserve")?,
            house.pinned("tritonclient", "tests/real/triton.sh", "tritonclient[all]")?,
            house.pinned(
                "perf_analyzer, of tritonclient",
                "tests/real/perf_analyzer.sh",
                "tritonclient",
            )?,
            text::grpcurl(house)?,
        ],
    })
}

/// Lets NVIDIA's load generator ask for a while: it ends well, and says that no request failed, or
/// this is a failure. What it measured is not kept.
fn analyzed(house: &House, address: &str, grpc: bool) -> Result<Counts> {
    let mut command = Command::new(house.root.join("tests/real/perf_analyzer.sh"));
    command
        .args(["-m", "addsub", "-H", &house.authorization()])
        .args(["--shape", "INPUT0:64", "--shape", "INPUT1:64"])
        .args(["--concurrency-range", "4", "--request-count", "400"])
        .stdin(Stdio::null());
    let certificate = house.certificate();
    if grpc {
        command
            .args(["-i", "grpc", "-u", address, "--ssl-grpc-use-ssl"])
            .arg("--ssl-grpc-root-certifications-file")
            .arg(certificate);
    } else {
        command
            .args(["-i", "http", "-u", &format!("https://{address}")])
            .arg("--ssl-https-ca-certificates-file")
            .arg(certificate);
    }
    let done = command.output().context("cannot start perf_analyzer")?;
    let said = String::from_utf8_lossy(&done.stdout);
    let good = done.status.success() && said.contains("Throughput");
    let form = if grpc { "gRPC" } else { "HTTP" };
    if good {
        println!("ok      {form}");
    } else {
        let problem = String::from_utf8_lossy(&done.stderr);
        println!("FAILED  {form}: {}\n{said}\n{problem}", done.status);
    }
    Ok(Counts {
        passed: good.into(),
        failed: (!good).into(),
    })
}
