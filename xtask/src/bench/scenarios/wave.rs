//! Waves: a thousand clients connect at once, ask once and leave; again and again.

use anyhow::{Context, Result};

use super::cases;
use crate::bench::measure::{Bench, Case, figure, name};
use crate::bench::results::Timeline;
use crate::bench::subjects::{OPENAI, OPENAI_TGIS, Subject};

const WAVES: u32 = 20;
const CLIENTS: u32 = 1_000;
/// By then everything has been made that is made once.
const SETTLED: usize = 2;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let load = format!("--wave {CLIENTS} --prompt-bytes 1024");
    let among = [
        Subject::Bare,
        Subject::Nginx,
        Subject::Envoy,
        Subject::Tollgate,
    ];
    let all: Vec<Case> = [&OPENAI, &OPENAI_TGIS]
        .into_iter()
        .flat_map(|way| cases(way.name, way, &among, "", &load))
        .collect();
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| {
        let house = bench.house;
        let load = case.load(house)?;
        let mut points = Vec::new();
        for wave in 1..=WAVES {
            let (report, _) = load.run(&house.programs(), &house.other_cores)?;
            report.sound()?;
            house.settle();
            let rss = house.usage(stage.proxy.as_ref())?.rss();
            points.push((f64::from(wave), rss));
        }
        let of = |at: usize| points.get(at).map(|(_, rss)| *rss);
        let last = of(points.len() - 1).context("no wave")?;
        let settled = of(SETTLED).context("too few waves")?;
        bench.record.timelines.push(Timeline {
            setting: case.setting.clone(),
            subject: case.subject.name().to_owned(),
            name: name::RSS.to_owned(),
            unit: "MiB".to_owned(),
            along: "wave".to_owned(),
            points,
        });
        Ok(vec![
            figure(name::RSS, "MiB", last),
            figure(name::GROWTH, "×", last / settled),
        ])
    });
    Ok(())
}
