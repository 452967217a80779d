//! A backend as a plugin would write it, stepped as the host steps it.

use super::*;
use crate::{
    backend::RestSurface,
    inference::{FinishReason, Task},
    neutral,
    testing::{Answer, Pace, Worker, WorkerOutcome, same_at_every_pace},
    types::Cut,
};

/// Words of a body, each a delta; `.` ends the answer.
#[derive(Default)]
struct Words {
    read: u64,
    finished: bool,
}

impl Job for Words {
    fn request(&mut self, _: &dyn Bytes) -> Result<Request, Failure> {
        Ok(Request {
            surface: Surface::Rest(RestSurface {
                method: "POST".to_owned(),
                path: "/words".to_owned(),
            }),
            headers: Vec::new(),
            body: Vec::new(),
            end: true,
        })
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        let window = bytes.read_all(progress.source, self.read, progress.available - self.read);
        for byte in &window {
            match byte {
                b'!' => return Err(failure::upstream_invalid("shouting")),
                b'.' => {
                    self.finished = true;
                    said.push(neutral::finished(FinishReason::EndOfSequence));
                }
                byte => said.push(neutral::delta(char::from(*byte))),
            }
        }
        self.read += window.len() as u64;
        Ok(None)
    }

    fn complete(&mut self, said: &mut Vec<Event>) -> Result<bool, Failure> {
        said.push(neutral::usage(None, Some(self.read)));
        Ok(self.finished)
    }

    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        failure::from_http(status, String::from_utf8_lossy(body))
    }
}

fn calls(count: usize) -> Vec<Call> {
    vec![neutral::call("m".to_owned(), Task::ServerReady); count]
}

fn play(answer: Answer, pace: Pace) -> WorkerOutcome {
    let attempt = OneAttempt::new(calls(1), |_| Ok(Words::default()));
    Worker::answering(answer).play(Box::new(attempt), pace)
}

fn failed(outcome: &WorkerOutcome) -> &Failure {
    match outcome.events.last().map(|it| &it.event) {
        Some(Event::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_told_as_it_comes_at_every_pace() {
    let body = "abc.";
    let outcome = same_at_every_pace(body.len(), |pace| {
        play(Answer::rest(201, "text/plain", body), pace)
    });
    assert_eq!(
        outcome.of(0),
        [
            neutral::delta("abc"),
            neutral::finished(FinishReason::EndOfSequence),
            neutral::usage(None, Some(4)),
            Event::End,
        ]
    );
    assert!(outcome.finished);
}

#[test]
fn an_answer_that_is_not_complete_or_cannot_be_read_is_a_failure() {
    let short = play(Answer::rest(200, "text/plain", "ab"), Pace::Whole);
    assert_eq!(failed(&short).kind, FailureKind::UpstreamInvalid);
    let odd = play(Answer::rest(200, "text/plain", "a!b."), Pace::Whole);
    assert_eq!(failed(&odd).message, "shouting");
    assert!(odd.finished);
    let cut = Answer::rest(200, "text/plain", "ab.").cut(Cut::Closed);
    assert_eq!(
        failed(&play(cut, Pace::Whole)).kind,
        FailureKind::UpstreamUnavailable
    );
}

#[test]
fn a_refusal_is_the_jobs_to_read_at_every_pace() {
    let body = "busy";
    let outcome = same_at_every_pace(body.len(), |pace| {
        play(Answer::rest(503, "text/plain", body), pace)
    });
    assert_eq!(failed(&outcome).message, "busy");
    assert_eq!(failed(&outcome).kind, failure::from_http(503, "").kind);
}

#[test]
fn what_cannot_be_asked_is_told_without_a_request() {
    let memory = crate::testing::Memory::default();
    for (members, make) in [(1, Err("no such task")), (2, Ok(()))] {
        let mut attempt = OneAttempt::new(calls(members), |_| match make {
            Ok(()) => Ok(Words::default()),
            Err(why) => Err(failure::of(FailureKind::Unsupported, why)),
        });
        let out = attempt.step(&memory, vec![Input::Start]);
        assert!(
            matches!(&out[..], [Action::Events(_), Action::Finish]),
            "{out:?}"
        );
        assert_eq!(attempt.step(&memory, vec![Input::Start]), []);
    }
}

#[test]
fn a_caller_that_has_gone_is_told_nothing() {
    let memory = crate::testing::Memory::default();
    let mut attempt = OneAttempt::new(calls(1), |_| Ok(Words::default()));
    let out = attempt.step(&memory, vec![Input::Start, Input::Left(0)]);
    assert!(matches!(&out[..], [Action::Request(_), Action::Finish]));
}

#[test]
fn a_grpc_answer_ends_with_its_status() {
    /// The same, asked over gRPC.
    struct Asked(Words);
    impl Job for Asked {
        fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure> {
            Ok(Request {
                surface: Surface::Grpc("words.Words/Say".to_owned()),
                ..self.0.request(bytes)?
            })
        }
        fn read(
            &mut self,
            bytes: &dyn Bytes,
            progress: &Progress,
            said: &mut Vec<Event>,
        ) -> Result<Option<Need>, Failure> {
            self.0.read = 0;
            self.0.read(bytes, progress, said)
        }
        fn complete(&mut self, said: &mut Vec<Event>) -> Result<bool, Failure> {
            self.0.complete(said)
        }
    }
    let play = |answer: Answer| {
        let attempt = OneAttempt::new(calls(1), |_| Ok(Asked(Words::default())));
        Worker::answering(answer).play(Box::new(attempt), Pace::Whole)
    };
    let good = play(Answer::grpc(vec![b"a".to_vec(), b".".to_vec()], 0, None));
    assert_eq!(good.of(0).last(), Some(&Event::End));
    let refused = play(Answer::grpc(Vec::new(), 8, Some("full")));
    assert_eq!(failed(&refused).message, "full");
    let mut mute = Answer::grpc(vec![b".".to_vec()], 0, None);
    mute.end = Ok(ResponseEnd {
        code: None,
        message: None,
        trailers: Vec::new(),
    });
    assert_eq!(failed(&play(mute)).kind, FailureKind::UpstreamInvalid);
}
