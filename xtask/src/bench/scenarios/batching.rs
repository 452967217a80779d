//! Batching: many clients with a row each, before a real Triton with one instance of each model.
//!
//! 1. The batch curve: rows a second by the rows of a request, asked of Triton one request after the
//!    other. Its best is the ideal.
//! 2. The same number of clients with one row each, over HTTP and over gRPC: to Triton without a
//!    batcher, to Triton with its own, through Tollgate that merges, through Tollgate that does not.
//! 3. The same with a model whose batches do not pay: merging must not cost.
//!
//! The models are arithmetic: a product with a large matrix, which is read once for a whole batch,
//! and a chain of small products, row by row.

use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::ask::Sign;
use crate::bench::load::{Load, Report};
use crate::bench::measure::{Bench, brief, figure, name};
use crate::bench::results::Timeline;
use crate::bench::rounds::order;
use crate::bench::running::Running;
use crate::bench::subjects::{ADMIN, local};

const HTTP: u16 = 18165;
const GRPC: u16 = 18166;
const METRICS: u16 = 18167;
const CONFIG: &str = "batching.yaml";
/// Clients, each with one row at a time.
const CLIENTS: u32 = 64;
/// Rows of a request on the curve; the last is the most that a batch may have.
const CURVE: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// A model, and the bytes of a row.
struct Model {
    name: &'static str,
    row: u32,
    /// The same with the server's own batcher on, where its batches pay.
    own: Option<&'static str>,
}

const MODELS: [Model; 2] = [
    Model {
        name: "matrix",
        row: 4096,
        own: Some("matrix_own"),
    },
    Model {
        name: "chain",
        row: 256,
        own: None,
    },
];

/// A form of the protocol: what the load generator calls it, Triton's port, and Tollgate's with
/// merging and without.
struct Form {
    name: &'static str,
    protocol: &'static str,
    triton: u16,
    merged: u16,
    alone: u16,
}

const FORMS: [Form; 2] = [
    Form {
        name: "REST",
        protocol: "v2-rest",
        triton: HTTP,
        merged: 21290,
        alone: 21292,
    },
    Form {
        name: "gRPC",
        protocol: "v2-grpc",
        triton: GRPC,
        merged: 21291,
        alone: 21293,
    },
];

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Merged,
    Own,
    Alone,
    Nobody,
}

impl Who {
    const ALL: [Self; 4] = [Self::Merged, Self::Own, Self::Alone, Self::Nobody];

    const fn name(self) -> &'static str {
        match self {
            Self::Merged => MERGING,
            Self::Own => "Triton's own batcher",
            Self::Alone => "Tollgate, not merging",
            Self::Nobody => "Triton, no batcher",
        }
    }
}

/// The name of who is judged.
pub(crate) const MERGING: &str = "Tollgate, merging";

/// The setting of a model over a form.
pub(crate) fn setting(model: &str, form: &str) -> String {
    format!("{model}, {form}")
}

/// Names of the forms.
pub(crate) fn forms() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|form| form.name)
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let house = bench.house;
    bench.record.pair = None;
    let mut triton = triton(bench)?;
    triton.serves(Sign::Answers(local(HTTP), "/v2/health/ready"))?;
    bench.record.versions.insert(
        "Triton".to_owned(),
        "2.51.0 (nvidia-pytriton 0.7.0)".to_owned(),
    );
    let command = house.tollgate_with(CONFIG);
    let taken: Vec<_> = FORMS
        .iter()
        .flat_map(|form| [local(form.merged), local(form.alone)])
        .chain([ADMIN])
        .collect();
    let mut proxy = Running::start("tollgate", command, &taken, &house.folder)?;
    proxy.serves(Sign::Answers(ADMIN, "/readyz"))?;
    bench
        .record
        .commands
        .insert("Tollgate".to_owned(), house.portable(&proxy.line));
    for model in &MODELS {
        let ideal = curve(bench, model)?;
        for form in &FORMS {
            compared(bench, model, form, ideal);
        }
    }
    proxy.stop()?;
    // It ends as it likes.
    triton.stop().ok();
    Ok(())
}

fn triton(bench: &Bench<'_>) -> Result<Running> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM"])
        .arg(bench.house.script("tests/real/triton.sh"))
        .env("TRITON_WORK", "triton-batching")
        .env("TRITON_MODELS", "matrix matrix_own chain")
        .env("TRITON_HTTP_PORT", HTTP.to_string())
        .env("TRITON_GRPC_PORT", GRPC.to_string())
        .env("TRITON_METRICS_PORT", METRICS.to_string())
        // One thread computes: what batches save is then not what more threads bring.
        .env("OMP_NUM_THREADS", "1")
        .env("OPENBLAS_NUM_THREADS", "1");
    let taken = [HTTP, GRPC, METRICS].map(local);
    Running::start("triton", command, &taken, &bench.house.folder)
}

/// Asks a model for the seconds of a measurement, after a second that does not count.
fn asked(
    bench: &mut Bench<'_>,
    what: &str,
    form: &Form,
    (port, model): (u16, &str),
    (rows, bytes): (u32, u32),
    clients: u32,
) -> Result<Report> {
    let house = bench.house;
    let lanes = match form.protocol {
        // HTTP/2 carries several on each.
        "v2-grpc" if clients > 8 => [8, clients / 8],
        _ => [clients, 1],
    };
    let [connections, streams] = lanes.map(|count| count.to_string());
    let load = Load::new(["--protocol", form.protocol, "--model", model])
        .with(["--target", &format!("http://{}", local(port))])
        .with(["--token", &house.token, "--any-answer"])
        .with(["--rows", &rows.to_string()])
        .with(["--prompt-bytes", &(rows * bytes).to_string()])
        .with(["--connections", &connections])
        .with(["--streams-per-connection", &streams])
        .with(["--warmup", "1", "--duration", &bench.seconds.to_string()]);
    let (report, raw) = load.run(&house.programs(), &house.other_cores)?;
    let command = load.command(&house.programs(), &house.other_cores);
    let line = house.portable(&crate::process::shown(&command));
    bench.record.commands.entry(what.to_owned()).or_insert(line);
    bench
        .record
        .raw
        .push(serde_json::json!({"setting": what, "load": raw}));
    report.sound()?;
    Ok(report)
}

/// Rows a second by the rows of a request; gives the best.
fn curve(bench: &mut Bench<'_>, model: &Model) -> Result<f64> {
    let mut points = Vec::new();
    for rows in CURVE {
        let what = format!("{}: curve", model.name);
        let to = (HTTP, model.name);
        let report = asked(bench, &what, &FORMS[0], to, (rows, model.row), 1)?;
        points.push((f64::from(rows), report.rps * f64::from(rows)));
    }
    let text: Vec<String> = points
        .iter()
        .map(|(rows, rate)| format!("{rows} → {rate:.0}/s"))
        .collect();
    println!("  {} by rows of a request: {}", model.name, text.join(", "));
    let best = points.iter().map(|(_, rate)| *rate).reduce(f64::max);
    for (rows, rate) in &points {
        let subject = format!("{rows} a request");
        let setting = format!("{}: curve", model.name);
        let rate = figure(name::ROWS, "/s", *rate);
        bench.record.add(&setting, &subject, &[rate]);
    }
    bench.record.timelines.push(Timeline {
        setting: format!("{}: curve", model.name),
        subject: "Triton".to_owned(),
        name: name::ROWS.to_owned(),
        unit: "/s".to_owned(),
        along: "rows".to_owned(),
        points,
    });
    best.context("no curve")
}

/// The same clients before everybody, round by round.
fn compared(bench: &mut Bench<'_>, model: &Model, form: &Form, ideal: f64) {
    let who: Vec<Who> = Who::ALL
        .into_iter()
        .filter(|who| *who != Who::Own || model.own.is_some())
        .collect();
    let setting = setting(model.name, form.name);
    for round in 0..bench.rounds {
        let mut rates = Vec::new();
        for at in order(who.len(), round, bench.rounds) {
            let who = who[at];
            let to = match who {
                Who::Merged => (form.merged, model.name),
                Who::Alone => (form.alone, model.name),
                Who::Own => (form.triton, model.own.unwrap_or(model.name)),
                Who::Nobody => (form.triton, model.name),
            };
            let what = format!("{setting}: {}", who.name());
            match asked(bench, &what, form, to, (1, model.row), CLIENTS) {
                Ok(report) => rates.push((who, report)),
                Err(problem) => {
                    let line = format!("round {}, {what}: {problem:#}", round + 1);
                    println!("  FAILED  {line}");
                    bench.record.failures.push(bench.house.portable(&line));
                }
            }
        }
        let alone = rates.iter().find(|(who, _)| *who == Who::Alone);
        let alone = alone.map(|(_, report)| report.rps);
        for (who, report) in &rates {
            let mut figures = vec![
                figure(name::ROWS, "/s", report.rps),
                figure(name::IDEAL, "×", report.rps / ideal),
            ];
            if let Some(alone) = alone {
                figures.push(figure(name::UNMERGED, "×", report.rps / alone));
            }
            figures.extend(report.latency_us.figures(name::P));
            println!(
                "  round {}/{}  {setting:<16} {:<22} {}",
                round + 1,
                bench.rounds,
                who.name(),
                brief(&figures)
            );
            bench.record.add(&setting, who.name(), &figures);
        }
    }
    let order: Vec<_> = who
        .iter()
        .map(|who| (setting.clone(), who.name().to_owned()))
        .collect();
    bench.record.arrange(&order);
}
