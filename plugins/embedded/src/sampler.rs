//! Which token comes next.
//!
//! In this order: the marks that may not come are taken out; repetition, frequency,
//! presence and length penalties change the logarithms; greedy takes the best; else
//! temperature, top-k, min-p, typical-p and top-p (nucleus) cut the tail, and the dice
//! are thrown. What is reported as a token's logprob is the model's own, before all of
//! that.

use tollgate_sdk_worker::inference::Sampling;
use tollgate_sdk_worker::types::Failure;

use crate::bpe::END;
use crate::refusal::invalid;

/// Checked settings. What is off has the value that changes nothing.
#[derive(Clone)]
pub struct Sampler {
    greedy: bool,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    typical_p: f64,
    min_p: f64,
    repetition: f64,
    frequency: f64,
    presence: f64,
    /// Start and factor of the growth of the end mark's chance.
    length: Option<(u32, f64)>,
}

/// What has been said so far, as penalties see it.
pub struct Past<'a> {
    /// How often each token has been generated, by id.
    pub generated: &'a [u32],
    /// Whether a token stands in the prompt, by id.
    pub prompted: &'a [bool],
    /// Number of tokens generated.
    pub length: u32,
    /// The answer may end here.
    pub may_end: bool,
}

impl Sampler {
    /// # Errors
    /// When a value is out of its domain; the failure names it.
    pub fn new(sampling: &Sampling) -> Result<Self, Failure> {
        let temperature = within("temperature", sampling.temperature, 1.0, 0.0, f64::MAX)?;
        let share = |name, value| within(name, value, 1.0, f64::MIN_POSITIVE, 1.0);
        let top_p = share("top_p", sampling.top_p)?;
        let typical_p = share("typical_p", sampling.typical_p)?;
        let min_p = within("min_p", sampling.min_p, 0.0, 0.0, 1.0)?;
        let repetition = within(
            "repetition_penalty",
            sampling.repetition_penalty,
            1.0,
            f64::MIN_POSITIVE,
            f64::MAX,
        )?;
        let frequency = within(
            "frequency_penalty",
            sampling.frequency_penalty,
            0.0,
            -2.0,
            2.0,
        )?;
        let presence = within(
            "presence_penalty",
            sampling.presence_penalty,
            0.0,
            -2.0,
            2.0,
        )?;
        let length = match &sampling.length_penalty {
            None => None,
            Some(penalty) => {
                let factor = within("length_penalty", Some(penalty.decay_factor), 1.0, 1.0, 10.0)?;
                Some((penalty.start_index, factor))
            }
        };
        Ok(Sampler {
            greedy: sampling.greedy || temperature == 0.0,
            temperature,
            top_k: match sampling.top_k {
                None | Some(0) => usize::MAX,
                Some(k) => k as usize,
            },
            top_p,
            typical_p,
            min_p,
            repetition,
            frequency,
            presence,
            length,
        })
    }

    /// Chooses a token. `probabilities` are the model's, by id, and at least one that
    /// may come is above zero.
    pub fn choose(&self, probabilities: &[f64], past: &Past<'_>, dice: &mut Dice) -> u16 {
        let mut scored: Vec<(u16, f64)> = probabilities
            .iter()
            .zip(0u16..)
            .filter(|&(&probability, token)| probability > 0.0 && (token != END || past.may_end))
            .map(|(&probability, token)| (token, self.penalized(token, probability.ln(), past)))
            .collect();
        // Best first; equal ones by id, so that the order is total.
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.greedy {
            return scored[0].0;
        }
        let best = scored[0].1;
        for (_, score) in &mut scored {
            *score = ((*score - best) / self.temperature).exp();
        }
        scored.truncate(self.top_k);
        if self.min_p > 0.0 {
            // The best one weighs exactly 1 here.
            scored.retain(|&(_, weight)| weight >= self.min_p);
        }
        if self.typical_p < 1.0 {
            self.keep_typical(&mut scored);
        }
        if self.top_p < 1.0 {
            keep_share(&mut scored, self.top_p);
        }
        draw(&scored, dice)
    }

    fn penalized(&self, token: u16, mut score: f64, past: &Past<'_>) -> f64 {
        let at = usize::from(token);
        let times = past.generated[at];
        if times > 0 || past.prompted[at] {
            // Logarithms of probabilities are never above zero (Keskar et al. 2019
            // multiply such scores).
            score *= self.repetition;
        }
        if times > 0 {
            score -= self.frequency * f64::from(times) + self.presence;
        }
        if token == END
            && let Some((start, factor)) = self.length
            && past.length > start
        {
            let grown = factor.powi(i32::try_from(past.length - start).unwrap_or(i32::MAX));
            score += score.abs() * (grown - 1.0).min(1e6);
        }
        score
    }

    /// Keeps those whose surprise is nearest to the expected one (Meister et al. 2023).
    fn keep_typical(&self, scored: &mut Vec<(u16, f64)>) {
        let total: f64 = scored.iter().map(|&(_, weight)| weight).sum();
        let surprise = |weight: f64| -(weight / total).ln();
        let entropy: f64 = scored
            .iter()
            .filter(|&&(_, weight)| weight > 0.0)
            .map(|&(_, weight)| weight / total * surprise(weight))
            .sum();
        let distance = |weight: f64| (surprise(weight) - entropy).abs();
        scored.sort_by(|a, b| distance(a.1).total_cmp(&distance(b.1)).then(a.0.cmp(&b.0)));
        keep_share(scored, self.typical_p);
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
}

fn within(
    name: &str,
    value: Option<f64>,
    default: f64,
    low: f64,
    high: f64,
) -> Result<f64, Failure> {
    match value {
        None => Ok(default),
        Some(value) if value >= low && value <= high => Ok(value),
        Some(value) => Err(invalid(
            name,
            format!("{name} is {value}: out of its range"),
        )),
    }
}

/// Keeps the fewest from the front that together have this share; at least one.
fn keep_share(scored: &mut Vec<(u16, f64)>, share: f64) {
    let total: f64 = scored.iter().map(|&(_, weight)| weight).sum();
    let mut sum = 0.0;
    let enough = scored.iter().position(|&(_, weight)| {
        sum += weight;
        sum >= share * total
    });
    if let Some(last) = enough {
        scored.truncate(last + 1);
    }
}

fn draw(scored: &[(u16, f64)], dice: &mut Dice) -> u16 {
    let total: f64 = scored.iter().map(|&(_, weight)| weight).sum();
    let mut left = dice.unit() * total;
    for &(token, weight) in scored {
        left -= weight;
        if left < 0.0 {
            return token;
        }
    }
    // Rounding has left a crumb: it belongs to the best.
    scored[0].0
}

/// SplitMix64 (Steele, Lea and Flood 2014): a seed, and everything follows.
#[derive(Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Equal seeds and streams give equal numbers; the streams of one seed are unlike.
    #[must_use]
    pub fn new(seed: u64, stream: u32) -> Self {
        let mut dice = Dice { state: seed };
        if stream > 0 {
            dice.state = dice.next() ^ u64::from(stream).wrapping_mul(0xD1B5_4A32_D192_ED03);
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// At least 0 and below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
