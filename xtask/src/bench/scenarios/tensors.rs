//! Large tensors: bytes that nobody has to look at.

use anyhow::{Result, bail};

use super::cases;
use crate::bench::measure::{Bench, Case, figure, name};
use crate::bench::subjects::{PAIR, Subject, V2_GRPC, V2_GRPC_REST, V2_REST, V2_REST_GRPC};

const STUB: &str = "--tensor-mib 16";
const LOAD: &str = "--connections 2 --tensor-mib 16";

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.house.folder.join(V2_REST.config).is_file() {
        bail!("no plugin here speaks KServe V2");
    }
    let among = [PAIR[0], Subject::Nobody, Subject::Bare, PAIR[1]];
    let all: Vec<Case> = [&V2_REST, &V2_GRPC, &V2_REST_GRPC, &V2_GRPC_REST]
        .into_iter()
        .flat_map(|way| cases(way.name, way, &among, STUB, LOAD))
        .collect();
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| {
        let loaded = bench.load(case, stage)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let mib = loaded.report.bytes_in as f64 / f64::from(1 << 20);
        let mut figures = vec![figure(name::MIB, "MiB/s", mib / loaded.report.seconds)];
        figures.extend(loaded.by_request(case.subject));
        Ok(figures)
    });
    Ok(())
}
