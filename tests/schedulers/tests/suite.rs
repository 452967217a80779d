//! What the schedulers promise is kept, and what is written of it is what comes out.
//!
//! `TOLLGATE_BLESS=1 cargo test -p tollgate-test-schedulers --test suite` writes the figures down
//! anew. They are those of `tollgate simulate --suite`, which runs the same as components.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;

use tollgate_dispatch::policy::Policy;
use tollgate_plugin_dynamic_batch::{DynamicBatch, Options as BatchOptions};
use tollgate_plugin_fcfs::Fcfs;
use tollgate_plugin_least_loaded::{LeastLoaded, Options as LoadOptions};
use tollgate_simulate::suite::{Contender, scenarios};
use tollgate_test_schedulers::Native;

const BEGIN: &str = "<!-- figures -->\n\n";
const END: &str = "\n<!-- end of figures -->\n";

fn policy(contender: &Contender) -> Option<Box<dyn Policy>> {
    Some(match contender.scheduler {
        "fallback" => return None,
        "fcfs" => Native::boxed(Fcfs::new(65_536)),
        "least-loaded" => {
            let options = LoadOptions::read(contender.options).unwrap();
            Native::boxed(LeastLoaded::new(&options))
        }
        "dynamic-batch" => {
            let options = BatchOptions::read(contender.options).unwrap();
            Native::boxed(DynamicBatch::new(options))
        }
        other => panic!("nobody knows {other}"),
    })
}

#[test]
fn promises_are_kept_and_written_down_as_they_come_out() {
    let played: Vec<_> = thread::scope(|scope| {
        let each = scenarios().into_iter().map(|scenario| {
            scope.spawn(move || {
                let outcome = scenario.play(policy).unwrap();
                (scenario, outcome)
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut figures = String::new();
    for (scenario, outcome) in &played {
        for report in &outcome.reports {
            let served = report.done + report.turned_away();
            assert_eq!(report.came, served, "{}: none is lost", scenario.name);
            assert_eq!(
                (report.refused, report.replaced),
                (0, 0),
                "{}",
                scenario.name
            );
        }
        if !figures.is_empty() {
            figures.push('\n');
        }
        let _ = write!(figures, "{}", scenario.markdown(outcome));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulator/README.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (written, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        std::fs::write(&file, format!("{head}{BEGIN}{figures}{END}{tail}")).unwrap();
    } else {
        assert_eq!(written, figures, "bless it if that is meant");
    }
    for (scenario, outcome) in &played {
        assert!(outcome.kept, "{}", scenario.markdown(outcome));
    }
}
