//! The scheduler's driver under histories that the bytes choose; what must be so is the property
//! tests' own [`world`].

use arbitrary::{Result, Unstructured};

use world::{Op, Wish, World};

#[path = "../../../proxy/dispatch/tests/world/mod.rs"]
mod world;

/// Most operations of a history.
const LONGEST: usize = 100;

pub(crate) fn driver(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(few) = u.arbitrary() else { return };
    let mut world = World::new(if few { 3 } else { 4096 });
    for _ in 0..LONGEST {
        let Ok(op) = op(&mut u) else { break };
        world.apply(&op);
        world.check_decisions();
        if world.driver.gauges().fallback {
            world.check_work_conserving(0);
        }
    }
    world.check_none_lost();
}

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    if u.is_empty() {
        return Err(arbitrary::Error::NotEnoughData);
    }
    Ok(match u.int_in_range(0..=31_u8)? {
        0..=7 => Op::Arrive(wish(u)?, u.int_in_range(1..=3)?),
        8 => Op::Arrive(wish(u)?, u.int_in_range(20..=99)?),
        9..=11 => Op::Cancel(u.arbitrary::<u16>()?.into()),
        12..=16 => Op::Finish(u.arbitrary::<u16>()?.into()),
        17..=19 => Op::Fail(u.arbitrary::<u16>()?.into(), u.arbitrary()?, u.arbitrary()?),
        20..=22 => Op::Worker(
            u.int_in_range(1..=5)?,
            u.ratio(4, 5)?,
            u.int_in_range(0..=3)?,
            u.int_in_range(0..=4)?,
            list(u, 3)?,
        ),
        23 => Op::Gone(u.int_in_range(1..=5)?),
        24..=27 => Op::Tick(u.int_in_range(0..=299)?),
        28 | 29 => Op::Hostile(
            u.arbitrary()?,
            u.ratio(1, 2)?.then(|| u.int_in_range(0..=19)).transpose()?,
        ),
        30 => Op::Honest,
        _ => Op::FallBack,
    })
}

fn wish(u: &mut Unstructured<'_>) -> Result<Wish> {
    Ok(Wish {
        model: u.int_in_range(0..=3)?,
        batch_key: u.int_in_range(0..=2)?,
        eligible: list(u, 5)?,
        priority: u.int_in_range(-1..=1)?,
        patience: u
            .ratio(1, 2)?
            .then(|| u.int_in_range(0..=499))
            .transpose()?,
        bytes: u.int_in_range(0..=99)?,
    })
}

/// Up to three numbers from 1 to the last.
fn list(u: &mut Unstructured<'_>, last: u32) -> Result<Vec<u32>> {
    (0..u.int_in_range(0..=3_u8)?)
        .map(|_| u.int_in_range(1..=last))
        .collect()
}
