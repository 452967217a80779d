//! A frontend as a plugin would write it, stepped as the host steps it.

use super::*;
use crate::{
    frontend::{CallEvent, Dispatched, GrpcMessage, ResponseMode, TranslateTo},
    inference::{Task, TaskKind},
    testing::Memory,
    types::{Other, ResponseEnd, ResponseHead, Segment},
};

/// Says of every event what it was; reads a whole body, passes to workers named `same`.
#[derive(Default)]
struct Echo {
    passes: u32,
    calls: u32,
    keeps: bool,
}

impl Ask for Echo {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        if !progress.end {
            return Ok(Read::Need(actions::whole(progress.source)));
        }
        let model = bytes.read_all(progress.source, 0, progress.available);
        let model = String::from_utf8(model).map_err(|_| failure::invalid("no text", None))?;
        Ok(Read::Call(actions::intent(
            CALL,
            TaskKind::ServerReady,
            Some(model),
        )))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        match to.model.as_str() {
            "same" => {}
            "never" => return Err(failure::invalid("not here", None)),
            _ => return Ok(None),
        }
        self.passes += 1;
        Ok(Some(Passed {
            id: CALL,
            path: None,
            query: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            edits: Vec::new(),
            response: ResponseMode::Filter,
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        self.calls += 1;
        Ok(Call {
            model,
            version: None,
            streaming: false,
            task: Task::ServerReady,
            extensions: Vec::new(),
        })
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Ready(true) => out.push(said("ready")),
            Event::Ready(false) => return Err(failure::upstream_invalid("odd")),
            Event::End => out.push(Action::Finish),
            _ => {}
        }
        Ok(())
    }

    fn upstream(
        &mut self,
        _: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match input {
            Input::UpstreamHead(head) => out.push(Action::Head(head)),
            Input::UpstreamEnd(_) => out.push(Action::Finish),
            _ => {}
        }
        Ok(())
    }

    fn keeps(&self) -> Vec<Need> {
        self.keeps
            .then(|| actions::keep(9, 4))
            .into_iter()
            .collect()
    }

    fn broken(&self, failure: Failure) -> Vec<Action> {
        vec![said(&failure.message), Action::Finish]
    }
}

fn said(text: &str) -> Action {
    Action::Data(vec![Segment::Inline(text.as_bytes().to_vec())])
}

fn body(available: u64, end: bool) -> Input {
    Input::Body(Progress {
        source: 0,
        available,
        total: None,
        end,
    })
}

fn pass(model: &str) -> Input {
    Input::Dispatched(Dispatched {
        call: CALL,
        way: Way::Pass(PassTo {
            model: model.to_owned(),
            dialect: "echo".to_owned(),
            options: String::new(),
        }),
    })
}

fn translate(model: &str) -> Input {
    let model = model.to_owned();
    Input::Dispatched(Dispatched {
        call: CALL,
        way: Way::Translate(TranslateTo { model }),
    })
}

fn events(events: impl IntoIterator<Item = Event>) -> Input {
    let event = |event| CallEvent { call: CALL, event };
    Input::Events(events.into_iter().map(event).collect())
}

fn failed() -> Event {
    Event::Failed(failure::upstream_unavailable("gone"))
}

/// One whose request was `me` and has become a call.
fn asked() -> OneCall<Echo> {
    let mut one = OneCall::new(Echo::default());
    let memory = Memory::default().with(0, "me");
    let out = one.step(&memory, vec![body(2, true)]);
    assert!(matches!(&out[..], [Action::Call(intent)] if intent.model.as_deref() == Some("me")));
    one
}

fn step(one: &mut OneCall<Echo>, inputs: Vec<Input>) -> Vec<Action> {
    one.step(&Memory::default(), inputs)
}

#[test]
fn a_request_is_read_until_it_is_a_call_and_no_further() {
    let mut one = OneCall::new(Echo::default());
    let memory = Memory::default().with(0, "model");
    assert_eq!(
        one.step(&memory, vec![body(3, false)]),
        [Action::Need(actions::whole(0))]
    );
    let out = one.step(&memory, vec![body(5, true), body(5, true)]);
    assert!(matches!(&out[..], [Action::Call(_)]), "one call: {out:?}");
    let progress = memory.progress(0);
    let message = Input::Message(GrpcMessage { progress });
    assert_eq!(one.step(&memory, vec![message, Input::MessagesEnd]), []);
}

#[test]
fn what_cannot_be_read_is_refused_and_nothing_follows() {
    let mut one = OneCall::new(Echo::default());
    let memory = Memory::default().with(0, [0xff]);
    assert_eq!(
        one.step(&memory, vec![body(1, true), body(1, true)]),
        actions::refuse(failure::invalid("no text", None))
    );
    assert_eq!(one.step(&memory, vec![body(1, true)]), []);
}

#[test]
fn another_worker_may_be_found_while_nothing_was_sent() {
    let mut one = asked();
    let out = step(&mut one, vec![pass("same")]);
    assert!(matches!(&out[..], [Action::Pass(_)]));
    // The same dialect, and yet it is taken apart there.
    for input in [translate("other"), pass("other")] {
        let out = step(&mut one, vec![input]);
        assert!(matches!(&out[..], [Action::Materialise(it)] if it.call.model == "other"));
    }
    assert_eq!((one.ask.passes, one.ask.calls), (1, 2));
    assert_eq!(
        step(&mut one, vec![pass("never")]),
        actions::refuse(failure::invalid("not here", None))
    );
}

#[test]
fn an_unknown_way_is_a_failure_of_the_hosts() {
    let way = Way::Other(Other {
        name: "sideways".to_owned(),
        payload: Vec::new(),
    });
    let input = Input::Dispatched(Dispatched { call: CALL, way });
    assert_eq!(
        step(&mut asked(), vec![input]),
        actions::refuse(unknown_way("sideways"))
    );
}

#[test]
fn events_and_passed_answers_end_the_exchange() {
    let mut one = asked();
    let told = [Event::Ready(true), Event::End];
    assert_eq!(
        step(&mut one, vec![translate("other"), events(told)])[1..],
        [said("ready"), Action::Finish]
    );
    assert_eq!(step(&mut one, vec![events([failed()])]), []);

    // Nor does anything follow what ended it in the same step.
    let told = [Event::End, failed(), Event::Ready(true)];
    assert_eq!(
        step(&mut asked(), vec![translate("other"), events(told)])[1..],
        [Action::Finish]
    );

    let mut one = asked();
    let head = ResponseHead {
        status: 200,
        headers: Vec::new(),
    };
    let end = ResponseEnd {
        code: None,
        message: None,
        trailers: Vec::new(),
    };
    let answer = vec![
        pass("same"),
        Input::UpstreamHead(head.clone()),
        Input::UpstreamEnd(end),
    ];
    assert_eq!(
        step(&mut one, answer)[1..],
        [Action::Head(head), Action::Finish]
    );
}

#[test]
fn a_failure_is_the_hosts_to_tell_until_something_was_sent() {
    assert_eq!(
        step(&mut asked(), vec![translate("other"), events([failed()])])[1..],
        actions::refuse(failure::upstream_unavailable("gone"))
    );
    let mut one = asked();
    let told = [Event::Ready(true), failed(), Event::End];
    assert_eq!(
        step(&mut one, vec![translate("other"), events(told)])[1..],
        [said("ready"), said("gone"), Action::Finish]
    );
    // So is what the answer itself finds wrong.
    let mut one = asked();
    step(&mut one, vec![events([Event::Ready(true)])]);
    assert_eq!(
        step(&mut one, vec![events([Event::Ready(false)])]),
        [said("odd"), Action::Finish]
    );
}

#[test]
fn a_cut_is_the_requests_or_the_workers() {
    let kind = |mut one: OneCall<Echo>, cut| match &step(&mut one, vec![Input::Cut(cut)])[..] {
        [Action::Refuse(failure), Action::Finish] => failure.kind.clone(),
        other => panic!("{other:?}"),
    };
    let new = || OneCall::new(Echo::default());
    assert_eq!(kind(new(), Cut::Limit), FailureKind::PayloadTooLarge);
    assert_eq!(kind(new(), Cut::Closed), FailureKind::InvalidArgument);
    assert_eq!(kind(new(), Cut::Deadline), FailureKind::DeadlineExceeded);
    assert_eq!(kind(asked(), Cut::Limit), FailureKind::UpstreamUnavailable);
    assert_eq!(kind(asked(), Cut::Deadline), FailureKind::DeadlineExceeded);
}

#[test]
fn what_is_kept_is_asked_for_in_every_step_but_the_last() {
    let mut one = asked();
    one.ask.keeps = true;
    let keep = Action::Need(actions::keep(9, 4));
    assert_eq!(step(&mut one, vec![]), [keep]);
    assert_eq!(step(&mut one, vec![events([Event::End])]), [Action::Finish]);
}
