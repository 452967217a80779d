//! Calls in a worker component: steps while it answers `more` and the client keeps up.

use std::sync::Arc;

use tokio::time::Instant;
use tollgate_plugin::{Generation, Session, Sources, inference, serving, types};
use tollgate_wire::{convert, failure::Failure};

use crate::{
    attempt::{self, Member},
    courtesy::Courtesy,
    events::{EventSender, Pushed, Said},
    failures,
};

/// Runs members one after the other; a pool gives components batches of one.
pub(crate) async fn run(
    generation: Option<Arc<Generation>>,
    context: types::Context,
    deadline: Instant,
    members: Vec<Member>,
    first_output: impl Fn(),
) {
    for member in members {
        let Some(generation) = &generation else {
            fail(
                &member.events,
                &Failure::internal("the worker's plugin is not there"),
            );
            continue;
        };
        let Member {
            mut call,
            sources,
            events,
            link: _,
        } = member;
        if let Err(failure) = inline_texts(&mut call, &sources) {
            fail(&events, &failure);
            continue;
        }
        let bytes = sources.arrived();
        let served = serve(generation, bytes, &context, &call, &events, &first_output);
        let failed = match tokio::time::timeout_at(deadline, served).await {
            Ok(served) => served.err(),
            Err(_) => Some(Failure::deadline_exceeded(
                "the deadline passed before the worker was done",
            )),
        };
        generation.ended(failed.is_some());
        if let Some(failure) = failed {
            fail(&events, &failure);
        }
    }
}

fn fail(events: &EventSender, failure: &Failure) {
    events.push(said(inference::Event::Failed(failures::to_guest(failure))));
}

fn said(event: inference::Event) -> Said {
    Said {
        event,
        sources: Arc::default(),
        pins: Vec::new(),
    }
}

/// Numbers of the items that a generation call asks for.
fn items(call: &inference::Call) -> Vec<u32> {
    let count = match &call.task {
        inference::Task::Generate(it) => {
            (it.prompts.len() as u64).saturating_mul(u64::from(it.settings.n))
        }
        inference::Task::Chat(it) => u64::from(it.settings.n),
        _ => 0,
    };
    (0..u32::try_from(count.min(65_536)).unwrap_or(0)).collect()
}

async fn serve(
    generation: &Generation,
    bytes: u64,
    context: &types::Context,
    call: &inference::Call,
    events: &EventSender,
    first_output: &impl Fn(),
) -> Result<(), Failure> {
    let failed = |error: tollgate_plugin::GuestError| failures::of_plugin(&error);
    let new = || Session::new(generation, bytes, context, call);
    let session = Courtesy::default()
        .call(bytes, false, new)
        .map_err(failed)?;
    // A guest has no clock: the host ends a call that has a limit of its own.
    let out_of_time = attempt::time_limit(call).map(|limit| Instant::now() + limit);
    let mut open = items(call);
    loop {
        if out_of_time.is_some_and(|at| Instant::now() >= at) {
            for item in open {
                events.push(said(inference::Event::Finished(inference::Finished {
                    item,
                    reason: inference::FinishReason::TimeLimit,
                    stop_sequence: None,
                    input_tokens: None,
                    output_tokens: None,
                    seed: None,
                })));
            }
            events.push(said(inference::Event::End));
            return Ok(());
        }
        events.room().await;
        events.begin_step();
        if events.left() {
            return Ok(());
        }
        // A step may compute for milliseconds: the thread's other tasks move on.
        let stepped = tokio::task::block_in_place(|| session.step()).map_err(failed)?;
        first_output();
        for event in stepped.events {
            if let inference::Event::Finished(finished) = &event {
                open.retain(|item| *item != finished.item);
            }
            let over = matches!(event, inference::Event::End | inference::Event::Failed(_));
            let pushed = events.push(said(event));
            if over || pushed != Pushed::Queued {
                return Ok(());
            }
        }
        if matches!(stepped.progress, serving::Progress::Done) {
            return Err(Failure::upstream_invalid("the worker ended without an end"));
        }
        tokio::task::yield_now().await;
    }
}

/// Texts that lie with the host are written out: a component in the proxy has no other
/// way to see them.
///
/// # Errors
/// When one is not what its encoding says.
pub(crate) fn inline_texts(call: &mut inference::Call, sources: &Sources) -> Result<(), Failure> {
    use inference::Task;
    let text = |text: &mut types::Text| -> Result<(), Failure> {
        if let types::Text::Held(held) = text {
            *text = types::Text::Inline(read_text(held, sources)?);
        }
        Ok(())
    };
    let prompts = |prompts: &mut [inference::Prompt]| {
        prompts.iter_mut().try_for_each(|prompt| match prompt {
            inference::Prompt::Text(it) => text(it),
            inference::Prompt::Tokens(_) => Ok(()),
        })
    };
    match &mut call.task {
        Task::Generate(it) => prompts(&mut it.prompts),
        Task::Embed(it) => prompts(&mut it.inputs),
        Task::Chat(it) => it
            .messages
            .iter_mut()
            .flat_map(|message| &mut message.content)
            .try_for_each(|content| match content {
                inference::Content::Text(it) => text(it),
                inference::Content::Part(_) => Ok(()),
            }),
        Task::Rerank(it) => {
            text(&mut it.query)?;
            it.documents
                .iter_mut()
                .try_for_each(|document| text(&mut document.text))
        }
        Task::Similarity(it) => {
            text(&mut it.source)?;
            it.sentences.iter_mut().try_for_each(text)
        }
        Task::Tokenize(it) => it.inputs.iter_mut().try_for_each(text),
        _ => Ok(()),
    }
}

/// A held text, as UTF-8.
fn read_text(held: &types::Held, sources: &Sources) -> Result<String, Failure> {
    let bad = |problem: String| Failure::invalid_argument(problem);
    let source = sources
        .get(held.at.source)
        .map_err(|misuse| Failure::plugin_failed(misuse.to_string()))?;
    let bytes = source
        .read(held.at.offset, held.at.len)
        .map_err(|problem| Failure::internal(problem.to_string()))?;
    let from = tollgate_plugin::encoding(&held.written)
        .map_err(|misuse| Failure::plugin_failed(misuse.to_string()))?;
    let plain = convert::convert(
        &bytes,
        &from,
        &convert::Encoding::Plain,
        tollgate_plugin::CONVERTED,
    )
    .map_err(|problem| bad(problem.to_string()))?;
    String::from_utf8(plain.to_vec()).map_err(|_| bad("a text is not UTF-8".into()))
}

/// Vectors that lie with the host are written out, for whom has no access to it.
///
/// # Errors
/// When one is not what its encoding says.
pub(crate) fn inline_vectors(
    event: &mut inference::Event,
    sources: &Sources,
) -> Result<(), Failure> {
    let inference::Event::Embeddings(all) = event else {
        return Ok(());
    };
    for embedding in all {
        let inference::Vector::Held(held) = &embedding.values else {
            continue;
        };
        let source = sources
            .get(held.at.source)
            .map_err(|misuse| Failure::plugin_failed(misuse.to_string()))?;
        let bytes = source
            .read(held.at.offset, held.at.len)
            .map_err(|problem| Failure::internal(problem.to_string()))?;
        let bad = |problem: String| Failure::upstream_invalid(problem);
        let from = tollgate_plugin::encoding(&held.written)
            .map_err(|misuse| Failure::plugin_failed(misuse.to_string()))?;
        let to = match from {
            convert::Encoding::Base64 | convert::Encoding::JsonString => convert::Encoding::Plain,
            _ => convert::Encoding::Tensor(tollgate_wire::tensor::Datatype::Fp32),
        };
        let little = convert::convert(&bytes, &from, &to, tollgate_plugin::CONVERTED)
            .map_err(|problem| bad(problem.to_string()))?;
        let floats = little
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        embedding.values = inference::Vector::Floats(floats);
    }
    Ok(())
}
