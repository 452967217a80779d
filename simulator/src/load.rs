//! What is asked, and when: generators of arrivals, and the shape of a request.
//!
//! | kind | arrivals |
//! |---|---|
//! | `poisson` | independent of one another |
//! | `bursty` | two states, each for `period` seconds in the mean; in one the rate is `factor` times that of the other, and the mean of both is `rate` |
//! | `diurnal` | a sine of `period` seconds around `rate`, from `1 − amplitude` to `1 + amplitude` times it |
//! | `closed` | `clients` that each ask once at a time, and again `think-us` microseconds in the mean after they were answered: what is not served is not asked |
//!
//! With `modesty` tenants of even numbers are believed to want that part of the output that they
//! will get.

use crate::random::{Random, mixed};
use crate::spec::{Spec, SpecError};

/// One request, as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// When, in microseconds.
    pub at: u64,
    /// The model; 0: any worker.
    pub model: u32,
    /// Whose.
    pub tenant: u32,
    /// What it may be merged with; 0: nothing.
    pub batch_key: u32,
    /// Higher goes first.
    pub priority: i32,
    /// Units of input.
    pub input: u32,
    /// Units of output.
    pub output: u32,
    /// Units of output as they are believed beforehand; none: as they will be.
    pub guess: Option<u32>,
    /// When it must be done, in microseconds after `at`.
    pub deadline: Option<u64>,
    /// Requests with equal numbers begin alike; 0: with nobody.
    pub prefix: u64,
    /// So many blocks of the beginning are alike.
    pub blocks: u32,
    /// Its client asks the same again when it is done.
    pub again: Option<Again>,
}

/// When a client asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Microseconds in the mean from the end of one request to the next.
    pub after: u64,
    /// From then on no more.
    pub until: u64,
}

/// Most blocks of a beginning that a request names, as the contract allows.
pub const MAX_BLOCKS: u32 = 32;

#[derive(Clone, Copy, Debug)]
enum Rhythm {
    Poisson,
    Bursty { factor: f64, period: f64 },
    Diurnal { amplitude: f64, period: f64 },
    Closed { clients: u32, think: u64 },
}

/// Makes requests at random.
#[derive(Clone, Debug)]
pub struct Generator {
    rhythm: Rhythm,
    rate: f64,
    end: u64,
    tenants: Vec<f64>,
    models: u32,
    keys: u32,
    priorities: u32,
    input: f64,
    output: f64,
    modesty: f64,
    deadline: u64,
    prefixes: u64,
    blocks: u32,
}

/// The requests of a generator, in order of time.
pub struct Jobs {
    of: Generator,
    arrivals: Random,
    shapes: Random,
    now: f64,
    busy: bool,
    turn: f64,
    /// Requests made so far.
    made: u32,
}

// === impl Job ===

impl Job {
    /// What its output is believed to be.
    #[must_use]
    pub fn believed(&self) -> u32 {
        self.guess.unwrap_or(self.output)
    }

    /// The chained hashes of its beginning.
    #[must_use]
    pub fn prefix_blocks(&self) -> Vec<u64> {
        let blocks = if self.prefix == 0 { 0 } else { self.blocks };
        (0..u64::from(blocks.min(MAX_BLOCKS)))
            .map(|at| mixed(self.prefix.wrapping_mul(1000).wrapping_add(at)))
            .collect()
    }
}

// === impl Generator ===

impl Generator {
    /// Reads a description.
    ///
    /// # Errors
    /// It is not one of a generator.
    pub fn read(text: &str) -> Result<Self, SpecError> {
        let mut spec = Spec::read(text)?;
        let forever = 1e6;
        let rhythm = match spec.kind.as_str() {
            "poisson" => Rhythm::Poisson,
            "bursty" => Rhythm::Bursty {
                factor: spec.take("factor", 5.0, 1.0, 1e6)?,
                period: spec.take("period", 1.0, 1e-3, forever)?,
            },
            "diurnal" => Rhythm::Diurnal {
                amplitude: spec.take("amplitude", 0.8, 0.0, 1.0)?,
                period: spec.take("period", 60.0, 1e-3, forever)?,
            },
            "closed" => Rhythm::Closed {
                clients: spec.take("clients", 64, 1, 100_000)?,
                think: spec.take("think-us", 1000, 0, 1_000_000_000)?,
            },
            other => {
                return Err(SpecError::Kind(
                    other.to_owned(),
                    "poisson, bursty, diurnal, closed",
                ));
            }
        };
        let tenants: u32 = spec.take("tenants", 1, 1, 100_000)?;
        let skew: f64 = spec.take("skew", 0.0, 0.0, 10.0)?;
        let generator = Self {
            rhythm,
            rate: match rhythm {
                // Clients ask as soon as they are answered.
                Rhythm::Closed { .. } => 0.0,
                _ => spec.take("rate", 100.0, 1e-6, 1e9)?,
            },
            end: (spec.take("seconds", 60.0, 1e-3, forever)? * 1e6) as u64,
            tenants: (1..=tenants).map(|n| f64::from(n).powf(-skew)).collect(),
            models: spec.take("models", 1, 1, 100_000)?,
            keys: spec.take("keys", 1, 0, 100_000)?,
            priorities: spec.take("priorities", 1, 1, 100)?,
            input: spec.take("input", 100.0, 1.0, 1e9)?,
            output: spec.take("output", 1.0, 0.0, 1e9)?,
            modesty: spec.take("modesty", 1.0, 1.0, 1e6)?,
            deadline: (spec.take("deadline-ms", 0.0, 0.0, 1e9)? * 1000.0) as u64,
            prefixes: spec.take("prefixes", 0, 0, 1_000_000_000)?,
            blocks: spec.take("blocks", 8, 1, MAX_BLOCKS)?,
        };
        spec.end()?;
        Ok(generator)
    }

    /// The requests that it makes of a seed: the same whenever they are asked for.
    #[must_use]
    pub fn jobs(&self, seed: u64) -> Jobs {
        Jobs {
            of: self.clone(),
            arrivals: Random::new(seed, 1),
            shapes: Random::new(seed, 2),
            now: 0.0,
            busy: false,
            turn: 0.0,
            made: 0,
        }
    }
}

// === impl Jobs ===

impl Jobs {
    fn step(&mut self) {
        let second = 1e6;
        match self.of.rhythm {
            Rhythm::Poisson => self.now += self.arrivals.exponential(second / self.of.rate),
            Rhythm::Bursty { factor, period } => loop {
                // Half the time each, so that the mean of the two rates is the rate.
                let quiet = 2.0 * self.of.rate / (1.0 + factor);
                let rate = if self.busy { quiet * factor } else { quiet };
                let next = self.now + self.arrivals.exponential(second / rate);
                if next < self.turn {
                    self.now = next;
                    return;
                }
                // What is left of the wait is forgotten: it has no memory.
                self.now = self.now.max(self.turn);
                self.turn = self.now + self.arrivals.exponential(period * second);
                self.busy = !self.busy;
            },
            Rhythm::Diurnal { amplitude, period } => loop {
                // Thinning (Lewis and Shedler, 1979).
                let most = self.of.rate * (1.0 + amplitude);
                self.now += self.arrivals.exponential(second / most);
                let phase = self.now / (period * second) * std::f64::consts::TAU;
                let rate = self.of.rate * (1.0 + amplitude * phase.sin());
                if self.arrivals.part() * most < rate {
                    return;
                }
            },
            // They begin within the time that they think, and are all there then.
            Rhythm::Closed { clients, think } => {
                self.now = match self.made < clients {
                    true => think as f64 * f64::from(self.made) / f64::from(clients),
                    false => f64::INFINITY,
                };
            }
        }
    }
}

impl Iterator for Jobs {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        self.step();
        self.made = self.made.saturating_add(1);
        let at = self.now as u64;
        if at >= self.of.end {
            return None;
        }
        let of = &self.of;
        let random = &mut self.shapes;
        // From half to one and a half of the mean: no request is nothing, none is endless.
        let mut around = |mean: f64| (mean * (0.5 + random.part())).round() as u32;
        let (input, output) = (around(of.input).max(1), around(of.output));
        let model = 1 + random.below(u64::from(of.models)) as u32;
        let tenant = 1 + random.weighted(&of.tenants) as u32;
        let modest = of.modesty > 1.0 && tenant.is_multiple_of(2);
        Some(Job {
            at,
            model,
            tenant,
            guess: modest.then(|| (f64::from(output) / of.modesty).round() as u32),
            batch_key: match of.keys {
                0 => 0,
                keys => 1 + random.below(u64::from(keys)) as u32,
            },
            priority: random.below(u64::from(of.priorities)) as i32,
            input,
            output,
            deadline: (of.deadline > 0).then_some(of.deadline),
            prefix: match of.prefixes {
                0 => 0,
                prefixes => 1 + random.below(prefixes),
            },
            blocks: of.blocks,
            again: match of.rhythm {
                Rhythm::Closed { think, .. } => Some(Again {
                    after: think,
                    until: of.end,
                }),
                _ => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rhythm_has_its_rate_and_repeats_itself() {
        for kind in ["poisson", "bursty", "diurnal"] {
            let generator = Generator::read(&format!("{kind}:rate=500,seconds=120")).unwrap();
            let jobs: Vec<Job> = generator.jobs(3).collect();
            let rate = jobs.len() as f64 / 120.0;
            assert!((400.0..600.0).contains(&rate), "{kind}: {rate}");
            assert!(jobs.windows(2).all(|pair| pair[0].at <= pair[1].at));
            assert_eq!(jobs, generator.jobs(3).collect::<Vec<_>>());
            assert_ne!(jobs, generator.jobs(4).collect::<Vec<_>>());
        }
    }

    #[test]
    fn clients_of_a_closed_load_come_once_and_ask_again() {
        let generator = Generator::read("closed:clients=8,think-us=400,seconds=2").unwrap();
        let jobs: Vec<Job> = generator.jobs(3).collect();
        let at: Vec<u64> = jobs.iter().map(|job| job.at).collect();
        assert_eq!(at, [0, 50, 100, 150, 200, 250, 300, 350]);
        let again = Again {
            after: 400,
            until: 2_000_000,
        };
        assert!(jobs.iter().all(|job| job.again == Some(again)));
        assert!(Generator::read("closed:rate=3").is_err());
    }

    #[test]
    fn bursts_are_burstier() {
        let spread = |text: &str| {
            let jobs = Generator::read(text).unwrap().jobs(1);
            let mut seconds = vec![0.0_f64; 200];
            for job in jobs {
                seconds[(job.at / 1_000_000) as usize] += 1.0;
            }
            let mean = seconds.iter().sum::<f64>() / 200.0;
            seconds.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 200.0 / mean
        };
        assert!(
            spread("bursty:rate=100,seconds=200") > 5.0 * spread("poisson:rate=100,seconds=200")
        );
    }

    #[test]
    fn tenants_ask_unequally_and_beginnings_are_shared() {
        let text = "poisson:rate=1000,seconds=10,tenants=3,skew=1,prefixes=5,blocks=4,priorities=2";
        let jobs: Vec<Job> = Generator::read(text).unwrap().jobs(1).collect();
        let of = |tenant| jobs.iter().filter(|job| job.tenant == tenant).count();
        assert!(of(1) > of(2) && of(2) > of(3) && of(3) > 1000);
        assert!(jobs.iter().all(|job| job.prefix_blocks().len() == 4));
        assert!(Generator::read("poisson:rat=1").is_err());
        assert!(Generator::read("sometimes").is_err());
    }
}
