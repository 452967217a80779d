//! The start: from the command to `/readyz`, and what an idle proxy holds.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::ask::{Sign, pause};
use crate::bench::measure::{Bench, brief, figure, name};
use crate::bench::results::Measure;
use crate::bench::running::Running;
use crate::bench::subjects::{ADMIN, Subject};

const CONFIG: &str = "text.yaml";
/// Until memory is looked at: whatever a start leaves behind for later has been done.
const REST: Duration = Duration::from_secs(2);

/// The settings.
pub(crate) const COLD: &str = "empty cache";
pub(crate) const WARM: &str = "filled cache";

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let house = bench.house;
    let stub = house.stub(&[])?;
    for round in 0..bench.rounds {
        for setting in [COLD, WARM] {
            let cache = house.folder.join("cache");
            if setting == COLD && cache.is_dir() {
                fs::remove_dir_all(&cache)?;
            }
            match start(bench) {
                Ok(values) => {
                    println!(
                        "  round {}/{}  {setting}: {}",
                        round + 1,
                        bench.rounds,
                        brief(&values)
                    );
                    bench.record.add(setting, Subject::Tollgate.name(), &values);
                }
                Err(problem) => {
                    println!("  FAILED  {setting}: {problem:#}");
                    let line = house.portable(&format!("{setting}: {problem:#}"));
                    bench.record.failures.push(line);
                }
            }
        }
    }
    stub.stop()?;
    Ok(())
}

fn start(bench: &mut Bench<'_>) -> Result<Vec<Measure>> {
    let house = bench.house;
    let begun = Instant::now();
    let command = house.tollgate_with(CONFIG);
    let mut proxy = Running::start("tollgate", command, &[], &house.folder)?;
    proxy.serves(Sign::Answers(ADMIN, "/readyz"))?;
    let took = begun.elapsed();
    let line = house.portable(&proxy.line);
    bench
        .record
        .commands
        .entry("Tollgate".into())
        .or_insert(line);
    pause(REST);
    let usage = house.usage(Some(&proxy))?;
    proxy.stop()?;
    Ok(vec![
        figure(name::READY, "ms", took.as_secs_f64() * 1e3),
        figure(name::RSS, "MiB", usage.rss()),
        #[expect(clippy::cast_precision_loss, reason = "a count of threads")]
        figure("threads", "", usage.threads() as f64),
    ])
}
