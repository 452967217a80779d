//! Interleaved rounds, and what they say.

use std::time::Duration;

use serde_json::{Value, json};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds; in each, every side has its turn.
    pub rounds: usize,
    /// Processor time of one turn, about.
    pub turn: Duration,
}

/// Processor time of the calling thread so far: what others do on a busy machine is not in it.
pub use tollgate_plugin::thread_cpu_time as spent;

/// Nanoseconds a unit of some work, one figure a round.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<f64>);

impl Figures {
    /// The middle one.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[length / 2],
            length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
        }
    }

    fn json(&self) -> Value {
        let round = |value: f64| (value * 10.0).round() / 10.0;
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(0.0, f64::max);
        json!({"median": round(self.median()), "min": round(least), "max": round(most)})
    }
}

/// One row of the report.
#[must_use]
pub fn row(case: &str, unit: &str, native: &Figures, wasm: &Figures) -> Value {
    let ratio = wasm.median() / native.median();
    json!({
        "case": case, "unit": unit, "native_ns": native.json(), "wasm_ns": wasm.json(),
        "ratio": (ratio * 1000.0).round() / 1000.0,
    })
}

/// One row of the report, of what has no native side.
#[must_use]
pub fn row_alone(case: &str, unit: &str, wasm: &Figures) -> Value {
    json!({"case": case, "unit": unit, "wasm_ns": wasm.json()})
}

/// Does a work that is compared with nothing here.
pub fn alone(effort: Effort, mut work: impl FnMut()) -> Figures {
    turn(Duration::from_millis(20).min(effort.turn), &mut work);
    let rounds = (0..effort.rounds).map(|_| turn(effort.turn, &mut work));
    Figures(rounds.collect())
}

/// Does both works in turn: native, sandbox, native, … `units`: what one run of them is for.
pub fn interleaved(
    effort: Effort,
    units: u32,
    mut native: impl FnMut(),
    mut wasm: impl FnMut(),
) -> (Figures, Figures) {
    // Caches, instances and branch predictors, before anything counts.
    let warm = Duration::from_millis(20).min(effort.turn);
    turn(warm, &mut native);
    turn(warm, &mut wasm);
    let (mut natives, mut wasms) = (Figures::default(), Figures::default());
    for _ in 0..effort.rounds {
        natives
            .0
            .push(turn(effort.turn, &mut native) / f64::from(units));
        wasms
            .0
            .push(turn(effort.turn, &mut wasm) / f64::from(units));
    }
    (natives, wasms)
}

/// Nanoseconds of one run.
fn turn(long: Duration, work: &mut impl FnMut()) -> f64 {
    let start = spent();
    let (mut runs, mut batch) = (0_u32, 1);
    loop {
        for _ in 0..batch {
            work();
        }
        runs += batch;
        let spent = spent().saturating_sub(start);
        if spent >= long {
            return spent.as_nanos() as f64 / f64::from(runs);
        }
        // The clock is asked seldom.
        if spent < long / 8 {
            batch = (batch * 2).min(1 << 12);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_spread() {
        let figures = Figures(vec![5.0, 1.0, 3.0]);
        assert_eq!(figures.median(), 3.0);
        assert_eq!(Figures(vec![4.0, 1.0]).median(), 2.5);
        let row = row("a", "call", &figures, &Figures(vec![6.0]));
        assert_eq!(
            row["native_ns"],
            json!({"median": 3.0, "min": 1.0, "max": 5.0})
        );
        assert_eq!(row["ratio"], 2.0);
    }

    #[test]
    fn both_sides_have_their_turns_alternately() {
        let order = std::cell::RefCell::new(Vec::new());
        let effort = Effort {
            rounds: 3,
            turn: Duration::from_nanos(1),
        };
        let (native, wasm) = interleaved(
            effort,
            1,
            || order.borrow_mut().push('n'),
            || order.borrow_mut().push('w'),
        );
        assert_eq!((native.0.len(), wasm.0.len()), (3, 3));
        let mut order = order.into_inner();
        order.dedup();
        assert_eq!(order, "nwnwnwnw".chars().collect::<Vec<_>>());
    }
}
