//! Streams that are opened and kept open, so that what one costs can be looked at.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    fault::{Fault, Trouble},
    lane::Lane,
    options::Plan,
    record::{Brought, Recorder},
};

/// Streams that are being opened at once: the receiver's backlog of connections is short.
const OPENING: usize = 128;

/// Told of a held stream's first text.
pub(super) struct Opened {
    /// What has come, and when; given on once.
    sender: mpsc::Sender<Result<(Brought, Instant), Fault>>,
}

impl Opened {
    pub(super) fn first(&self, brought: Brought, now: Instant) {
        // There is room for every stream; and nobody listens any more when the load is over.
        let _ = self.sender.try_send(Ok((brought, now)));
    }
}

/// Opens a stream on every lane, prints the report, and keeps them open.
pub(super) async fn run(plan: Plan, time: Duration) -> io::Result<()> {
    let plan = Arc::new(plan);
    let start = Instant::now();
    let (lanes, _) = Lane::all(&plan);
    let count = lanes.len();
    let (sender, mut receiver) = mpsc::channel(2 * count);
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut tasks = JoinSet::new();
    for mut lane in lanes {
        let (sender, opening) = (sender.clone(), opening.clone());
        tasks.spawn(async move {
            let Ok(permit) = opening.acquire().await else {
                return;
            };
            let opened = Opened {
                sender: sender.clone(),
            };
            // Given back by whoever hears of the first text.
            permit.forget();
            let fault = match lane.keep(&opened).await {
                Ok(end) => Fault::new(Trouble::Ended, format!("{end:?}")),
                Err(fault) => fault,
            };
            let _ = sender.try_send(Err(fault));
        });
    }
    let recorder = Mutex::new(Recorder::new(plan.kinds.len()));
    let mut heard = 0;
    while heard < count {
        let Ok(Some(event)) = timeout(plan.timeout, receiver.recv()).await else {
            let detail = format!("no first token in {:?}", plan.timeout);
            let fault = Fault::new(Trouble::Timeout, detail);
            recorder.lock().failed(&fault, (count - heard) as u64);
            break;
        };
        heard += 1;
        opening.add_permits(1);
        match event {
            Ok((brought, now)) => recorder.lock().opened(brought, now),
            Err(fault) => recorder.lock().failed(&fault, 1),
        }
    }
    let names: Vec<_> = plan.kinds.iter().map(|kind| kind.name.clone()).collect();
    recorder.into_inner().report(&names, start).print()?;
    let mut broken = 0_usize;
    let watch = async {
        while let Some(event) = receiver.recv().await {
            broken += usize::from(event.is_err());
        }
    };
    let _ = timeout(time, watch).await;
    tasks.shutdown().await;
    if broken > 0 {
        return Err(io::Error::other(format!(
            "{broken} held streams ended by themselves"
        )));
    }
    Ok(())
}
