use tollgate_sdk_worker::inference::LengthPenalty;

use super::*;
use crate::bpe::FIRST_MERGE;

const SIZE: usize = 300;

fn settings() -> Sampling {
    Sampling {
        greedy: false,
        temperature: None,
        top_k: None,
        top_p: None,
        typical_p: None,
        min_p: None,
        seed: None,
        repetition_penalty: None,
        frequency_penalty: None,
        presence_penalty: None,
        length_penalty: None,
    }
}

/// Four tokens and the end mark can come.
fn probabilities() -> Vec<f64> {
    let mut probabilities = vec![0.0; SIZE];
    for (token, probability) in [(10, 0.4), (11, 0.3), (12, 0.15), (13, 0.05)] {
        probabilities[token] = probability;
    }
    probabilities[usize::from(END)] = 0.1;
    probabilities
}

struct Said {
    generated: Vec<u32>,
    prompted: Vec<bool>,
    length: u32,
    may_end: bool,
}

fn silent() -> Said {
    Said {
        generated: vec![0; SIZE],
        prompted: vec![false; SIZE],
        length: 0,
        may_end: true,
    }
}

fn shares(sampling: Sampling, said: &Said) -> Vec<f64> {
    let sampler = Sampler::new(&sampling).expect("valid settings");
    let past = Past {
        generated: &said.generated,
        prompted: &said.prompted,
        length: said.length,
        may_end: said.may_end,
    };
    let mut dice = Dice::new(7, 0);
    let mut counts = vec![0.0; SIZE];
    for _ in 0..4_000 {
        counts[usize::from(sampler.choose(&probabilities(), &past, &mut dice))] += 1.0 / 4_000.0;
    }
    counts
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.03
}

#[test]
fn without_wishes_tokens_come_as_often_as_the_model_says() {
    let shares = shares(settings(), &silent());
    for (share, probability) in shares.iter().zip(probabilities()) {
        assert!(near(*share, probability), "{share} {probability}");
    }
}

#[test]
fn greedy_takes_the_best_and_temperature_zero_is_greedy() {
    for sampling in [
        Sampling {
            greedy: true,
            ..settings()
        },
        Sampling {
            temperature: Some(0.0),
            ..settings()
        },
        Sampling {
            top_k: Some(1),
            ..settings()
        },
        Sampling {
            top_p: Some(0.3),
            ..settings()
        },
        Sampling {
            min_p: Some(1.0),
            ..settings()
        },
    ] {
        assert!(near(shares(sampling, &silent())[10], 1.0));
    }
}

#[test]
fn greedy_ignores_what_cuts_the_tail_but_not_the_penalties() {
    let mut said = silent();
    said.generated[10] = 1;
    let greedy = Sampling {
        greedy: true,
        temperature: Some(100.0),
        ..settings()
    };
    assert_eq!(shares(greedy, &said)[10] as f32, 1.0);
    let penal = Sampling {
        presence_penalty: Some(1.0),
        ..greedy
    };
    assert_eq!(shares(penal, &said)[11] as f32, 1.0);
}

#[test]
fn temperature_sharpens_and_flattens() {
    let cold = shares(
        Sampling {
            temperature: Some(0.5),
            ..settings()
        },
        &silent(),
    );
    // Squares: 0.16 of 0.16 + 0.09 + 0.0225 + 0.0025 + 0.01.
    assert!(near(cold[10], 0.561), "{}", cold[10]);
    let hot = shares(
        Sampling {
            temperature: Some(1e6),
            ..settings()
        },
        &silent(),
    );
    assert!(near(hot[13], 0.2), "{}", hot[13]);
}

#[test]
fn each_cut_keeps_what_its_definition_says() {
    let kept = |sampling: Sampling| -> Vec<usize> {
        let shares = shares(sampling, &silent());
        (0..SIZE).filter(|&token| shares[token] > 0.0).collect()
    };
    assert_eq!(
        kept(Sampling {
            top_k: Some(2),
            ..settings()
        }),
        [10, 11]
    );
    assert_eq!(
        kept(Sampling {
            top_p: Some(0.71),
            ..settings()
        }),
        [10, 11, 12]
    );
    assert_eq!(
        kept(Sampling {
            min_p: Some(0.3),
            ..settings()
        }),
        [10, 11, 12]
    );
    // The entropy is 1.39 nats; the surprise of 11 (1.20) is nearest, then that of 10
    // (0.92) and 12 (1.90).
    assert_eq!(
        kept(Sampling {
            typical_p: Some(0.2),
            ..settings()
        }),
        [11]
    );
    assert_eq!(
        kept(Sampling {
            typical_p: Some(0.6),
            ..settings()
        }),
        [10, 11]
    );
}

#[test]
fn penalties_push_down_what_has_been_said() {
    let mut said = silent();
    said.generated[10] = 3;
    said.prompted[11] = true;
    let plain = shares(settings(), &said);
    let repetition = shares(
        Sampling {
            repetition_penalty: Some(2.0),
            ..settings()
        },
        &said,
    );
    assert!(repetition[10] < plain[10] && repetition[11] < plain[11]);
    let frequency = shares(
        Sampling {
            frequency_penalty: Some(1.0),
            ..settings()
        },
        &said,
    );
    let presence = shares(
        Sampling {
            presence_penalty: Some(1.0),
            ..settings()
        },
        &said,
    );
    assert!(frequency[10] < presence[10] && presence[10] < plain[10]);
    assert!(frequency[11] > plain[11], "the prompt does not count here");
}

#[test]
fn the_end_waits_for_the_least_length_and_is_hastened_by_the_length_penalty() {
    let mut said = silent();
    said.may_end = false;
    assert_eq!(shares(settings(), &said)[usize::from(END)] as f32, 0.0);
    said.may_end = true;
    said.length = 30;
    let length_penalty = Some(LengthPenalty {
        start_index: 5,
        decay_factor: 1.5,
    });
    let hastened = shares(
        Sampling {
            length_penalty,
            ..settings()
        },
        &said,
    );
    assert!(near(hastened[usize::from(END)], 1.0));
    said.length = 5;
    assert!(near(
        shares(
            Sampling {
                length_penalty,
                ..settings()
            },
            &said
        )[10],
        0.4
    ));
}

#[test]
fn values_out_of_their_domain_are_refused_by_name() {
    let wrong = [
        (
            "temperature",
            Sampling {
                temperature: Some(-1.0),
                ..settings()
            },
        ),
        (
            "temperature",
            Sampling {
                temperature: Some(f64::NAN),
                ..settings()
            },
        ),
        (
            "top_p",
            Sampling {
                top_p: Some(0.0),
                ..settings()
            },
        ),
        (
            "top_p",
            Sampling {
                top_p: Some(1.1),
                ..settings()
            },
        ),
        (
            "typical_p",
            Sampling {
                typical_p: Some(2.0),
                ..settings()
            },
        ),
        (
            "min_p",
            Sampling {
                min_p: Some(-0.1),
                ..settings()
            },
        ),
        (
            "repetition_penalty",
            Sampling {
                repetition_penalty: Some(0.0),
                ..settings()
            },
        ),
        (
            "frequency_penalty",
            Sampling {
                frequency_penalty: Some(3.0),
                ..settings()
            },
        ),
        (
            "presence_penalty",
            Sampling {
                presence_penalty: Some(f64::INFINITY),
                ..settings()
            },
        ),
    ];
    for (name, sampling) in wrong {
        let failure = Sampler::new(&sampling).err().expect(name);
        assert_eq!(failure.param.as_deref(), Some(name));
    }
}

#[test]
fn dice_are_the_same_for_a_seed_and_unlike_for_streams() {
    let throw = |seed, stream| {
        let mut dice = Dice::new(seed, stream);
        (0..8).map(|_| dice.next()).collect::<Vec<_>>()
    };
    assert_eq!(throw(1, 2), throw(1, 2));
    assert_ne!(throw(1, 0), throw(1, 1));
    assert_ne!(throw(1, 1), throw(2, 1));
    assert!(usize::from(FIRST_MERGE) < SIZE);
}
