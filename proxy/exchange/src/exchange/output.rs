//! What a frontend sends, on its way to the client.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tollgate_plugin::types;
use tollgate_wire::{failure::Failure, grpc, piece::Piece};

use super::{Ended, Exchange, Stop, drive, refuse};
use crate::{
    context::REQUEST_ID,
    failures,
    outgoing::{self, Sending},
    pieces::{BadSegment, pieces},
};

impl Exchange<'_> {
    pub(super) fn response_head(&self, head: types::ResponseHead) -> Result<Response<()>, Stop> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(head.status)
            .ok()
            .filter(|status| status.as_u16() >= 200)
            .ok_or_else(|| self.nonsense(format!("it answers with status {}", head.status)))?;
        for header in head.headers {
            match (
                HeaderName::from_bytes(header.name.as_bytes()),
                HeaderValue::from_str(&header.value),
            ) {
                (Ok(name), Ok(value)) => {
                    response.headers_mut().append(name, value);
                }
                _ => return Err(self.nonsense(format!("it sends a bad header {:?}", header.name))),
            }
        }
        Ok(response)
    }

    pub(super) fn resolve(&mut self, segments: Vec<types::Segment>) -> Result<Vec<Piece>, Stop> {
        pieces(&mut self.sources, segments)
            .map_err(|bad: BadSegment| Stop::Guest(self.guest.condemn(bad.to_string())))
    }

    /// Output, checked and pinned; as one gRPC message if it is `framed`.
    pub(super) fn ready(
        &mut self,
        segments: Vec<types::Segment>,
        framed: bool,
    ) -> Result<Sending, Stop> {
        let pieces = self.resolve(segments)?;
        outgoing::writer(pieces, framed).map_err(|failure| {
            // A value that the client's form cannot carry is nobody's bad argument.
            Stop::Failed(Failure::upstream_invalid(failure.message))
        })
    }

    pub(super) async fn send_all(&mut self, mut sending: Sending) -> Result<(), Stop> {
        loop {
            let next = {
                let next = sending.next();
                drive(&mut self.jobs, &mut self.backlog, next).await
            };
            match next {
                None => return Ok(()),
                Some(Ok(bytes)) => self.give(bytes).await,
                Some(Err(_)) => return Err(Stop::Broken("its source broke off")),
            }
        }
    }

    /// Bytes for the client, and for the record; the jobs go on while they wait for room.
    pub(super) async fn give(&mut self, bytes: Bytes) {
        self.asked.record.sent(bytes.len());
        let data = self.responder.data(bytes);
        drive(&mut self.jobs, &mut self.backlog, data).await;
    }

    pub(super) fn flush_head(&mut self, length: Option<u64>) {
        if self.responder.begun() {
            return;
        }
        let mut head = self.head.take().unwrap_or_else(|| {
            let mut head = Response::new(());
            if self.asked.is_grpc {
                head.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/grpc"),
                );
            }
            head
        });
        if let Some(length) = length {
            head.headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.begin_response(head);
    }

    pub(super) fn begin_response(&mut self, mut head: Response<()>) {
        head.headers_mut()
            .insert(REQUEST_ID, self.asked.trace.request_id.clone());
        self.asked.tell_left(&mut head);
        // Its frontend words the failure of another plugin's, and does not name it.
        let culprit = self.asked.record.culprit();
        let status = culprit.and_then(|plugin| failures::proxy_status(&plugin));
        head.headers_mut().extend(status);
        self.asked.record.status(head.status().as_u16());
        self.responder.head(head);
    }

    pub(super) fn grpc_end(&mut self, end: types::ResponseEnd) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let code = end.code.unwrap_or(grpc::code::UNKNOWN);
        self.asked.record.grpc_status(code);
        let mut trailers = failures::grpc_status(code, end.message.as_deref().unwrap_or_default());
        for header in end.trailers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(header.name.as_bytes()),
                HeaderValue::from_str(&header.value),
            ) {
                trailers.append(name, value);
            }
        }
        if self.responder.begun() {
            self.responder.trailers(trailers);
        } else {
            self.begin_response(failures::trailers_only(trailers));
        }
    }

    pub(super) async fn end(&mut self, stopped: Stop) -> Ended {
        let label = match &stopped {
            Stop::Done => None,
            Stop::Guest(_) => Some("plugin-failed"),
            Stop::Failed(failure) => Some(failure.label()),
            Stop::Broken(_) => Some("broken"),
        };
        if let Some(label) = label {
            self.step.fail(label);
            for account in &mut self.accounts {
                account.failed(label);
            }
        }
        match stopped {
            Stop::Done => {}
            Stop::Guest(error) if !self.responder.begun() => {
                // It may run once more, and is charged then.
                for metered in &mut self.metered {
                    metered.grant.failed();
                }
                return Ended::Lost(error);
            }
            Stop::Guest(error) => {
                self.asked.record.failed("plugin-failed");
                self.asked.record.blame(error.plugin());
                self.fail_begun(&failures::of_plugin(&error));
            }
            Stop::Failed(failure) => {
                self.asked.record.failed(failure.label());
                if self.responder.begun() {
                    self.fail_begun(&failure);
                } else {
                    refuse(self.asked, &failure, &mut self.responder).await;
                }
            }
            Stop::Broken(why) => {
                self.asked.record.failed("broken");
                if self.responder.begun() {
                    self.fail_begun(&Failure::upstream_unavailable(why));
                } else {
                    let failure = Failure::upstream_unavailable(why);
                    refuse(self.asked, &failure, &mut self.responder).await;
                }
            }
        }
        Ended::Done
    }

    /// An error after the response has begun: gRPC has trailers for it, HTTP has only
    /// the breaking off.
    pub(super) fn fail_begun(&mut self, failure: &Failure) {
        if self.asked.is_grpc {
            self.asked.record.grpc_status(failure.grpc());
            self.responder
                .trailers(failures::grpc_status(failure.grpc(), &failure.message));
        } else {
            self.responder.broken(failure.label());
        }
    }
}
