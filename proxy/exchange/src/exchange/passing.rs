//! A call that is passed: the request spliced, the response blind, tapped or filtered.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tollgate_dispatch::{health::Outcome as Health, pool::Assignment};
use tollgate_plugin::{GuestError, frontend, types};
use tollgate_telemetry::Step;
use tollgate_wire::{failure::Failure, grpc, source::Source};

use super::{Call, Exchange, Happened, Stage, Stop, drive};
use crate::{
    attempt::{self, Member},
    calling, context,
    house::Reach,
    limits::Metered,
    pass,
    reading::{Read, Reader, progress_of},
    spans, tasks,
};

/// A response that no guest looks at, and the place at its worker that it takes.
pub(super) struct Blind {
    call: u32,
    body: tollgate_upstream::Incoming,
    _assignment: Assignment<Member>,
}

impl Exchange<'_> {
    /// Sends the client's request on, and waits for the response's head. Gives what is left to be
    /// copied of a response that no guest looks at.
    pub(super) async fn pass(&mut self, it: frontend::Passed) -> Result<Option<Box<Blind>>, Stop> {
        let asked = self.asked;
        let Some(call) = self.calls.get_mut(&it.id) else {
            return Ok(None);
        };
        let Stage::Offered {
            assignment: slot,
            passable: true,
        } = &mut call.stage
        else {
            return Err(self.nonsense(format!("it passes call {}, which cannot be", it.id)));
        };
        let Some(assignment) = slot.take() else {
            return Ok(None);
        };
        let Some(station) = asked.house.station(assignment.worker().id()) else {
            return Ok(None);
        };
        let Reach::Network(upstream) = &station.reach else {
            return Ok(None);
        };
        let upstream = upstream.clone();
        let mode = it.response;
        let mut step = Step::default();
        if self.step.is_on() {
            let resolved = call.resolved.as_ref();
            let served_as = resolved.and_then(|it| calling::served_as(it, &station.handle));
            let model = served_as.as_deref().unwrap_or_default();
            let task = tasks::name(&call.ask.task);
            step = spans::request(&self.step.under(), &station, task, model);
        }
        let head = pass::request_head(asked, &it, &step);
        if step.is_on()
            && let Some(account) = self.account(it.id)
        {
            account.request = step;
        }
        let head = head.map_err(|reason| Stop::Guest(self.guest.condemn(reason)))?;
        let edits = it
            .edits
            .into_iter()
            .map(|edit| {
                Ok(tollgate_wire::edit::Edit {
                    offset: edit.offset,
                    len: edit.len,
                    with: self.resolve(edit.replacement)?,
                })
            })
            .collect::<Result<Vec<_>, Stop>>()?;
        let source = self.sources.get(0).ok().cloned();
        let retained = source.as_ref().is_none_or(|source| {
            let progress = source.progress();
            progress.end && progress.available <= asked.route.spec.limits.retry_body
        });
        let body = pass::body(source.as_ref(), edits, asked.is_grpc).map_err(|bad| match bad {
            pass::BadPass::Edit(reason) => Stop::Guest(self.guest.condemn(reason)),
            pass::BadPass::Failed(failure) => Stop::Failed(failure),
        })?;
        if let (Some(source), false) = (&source, retained) {
            // Streamed through: what has been sent is not kept.
            source.release(u64::MAX);
        }
        // Boxed: it is the largest thing that a request ever waits for, and over with the head.
        // Inside the exchange it would take its room for as long as the response streams.
        let sending = async move { upstream.send(head, body).await }.boxed();
        let response = drive(&mut self.jobs, &mut self.backlog, sending).await;
        let Some(call) = self.calls.get_mut(&it.id) else {
            return Ok(None);
        };
        call.repeatable &= retained;
        call.stage = Stage::Offered {
            assignment: Some(assignment),
            passable: true,
        };
        match response {
            Err(error) => {
                let failed = attempt::send_failed(&error);
                if let Some(account) = self.account(it.id) {
                    account.failed(failed.failure.label());
                }
                self.elsewhere(it.id, failed.failure);
                Ok(None)
            }
            Ok(response) => self.passed(it.id, mode, response),
        }
    }

    fn passed(
        &mut self,
        id: u32,
        mode: frontend::ResponseMode,
        response: tollgate_upstream::Response,
    ) -> Result<Option<Box<Blind>>, Stop> {
        let Some(call) = self.calls.get_mut(&id) else {
            return Ok(None);
        };
        let Stage::Offered { assignment, .. } = &mut call.stage else {
            return Ok(None);
        };
        let Some(assignment) = assignment.take() else {
            return Ok(None);
        };
        let status = response.head.status.as_u16();
        if let Some(account) = self.account(id) {
            account.answered(status);
        }
        assignment.batch().first_output();
        if status >= 400
            && let Some(metered) = Metered::of(&mut self.metered, id)
        {
            metered.grant.failed();
        }
        // It answers, and cannot serve this model now.
        assignment.met(if status == 503 {
            Health::Garbled
        } else {
            Health::Answered
        });
        if matches!(mode, frontend::ResponseMode::Blind) {
            let head = pass::response_head(response.head, true);
            self.begin_response(head);
            return Ok(Some(Box::new(Blind {
                call: id,
                body: response.body,
                _assignment: assignment,
            })));
        }
        let tapped = matches!(mode, frontend::ResponseMode::Tap);
        let reader = Reader::new(response.body, &response.head.headers, self.limit);
        // Also what a guest is shown is without the headers that were for this hop: a guest
        // that sends the head on as it saw it sends nothing on that was not for the client.
        let head = pass::response_head(response.head, false);
        let headers = if tapped {
            let manifest = self.asked.claimed.frontend.manifest();
            context::tapped(head.headers(), &manifest.read_headers)
        } else {
            context::visible(head.headers())
        };
        if tapped {
            self.begin_response(head);
        }
        let source = reader.source().cloned().map(|source| {
            let id = self.number(&source);
            (id, source)
        });
        self.inputs
            .push(frontend::Input::UpstreamHead(types::ResponseHead {
                status,
                headers,
            }));
        if let Some(call) = self.calls.get_mut(&id) {
            call.heard = true;
            call.stage = Stage::Shown {
                _assignment: assignment,
                source,
                tapped,
            };
        }
        self.read_upstream(id, Box::new(reader), types::Want::More);
        Ok(None)
    }

    /// How far a call has got.
    fn stage(&mut self, id: u32) -> Option<&mut Stage> {
        self.calls.get_mut(&id).map(|call| &mut call.stage)
    }

    pub(super) fn number(&mut self, source: &Source) -> u32 {
        let id = self.next_source;
        self.next_source += 1;
        self.sources.insert(id, source.clone());
        id
    }

    /// A blind response: no guest, no look.
    pub(super) async fn copy(&mut self, mut blind: Box<Blind>) -> Result<(), Stop> {
        loop {
            let next = {
                let next = blind.body.data();
                drive(&mut self.jobs, &mut self.backlog, next).await
            };
            match next {
                Some(Ok(bytes)) => self.give(bytes).await,
                Some(Err(_)) => return Err(Stop::Broken("the worker broke off")),
                None => break,
            }
        }
        match blind.body.trailers().await {
            Ok(Some(trailers)) => {
                if let Some(code) = crate::reading::end_of(&trailers).code {
                    self.asked.record.grpc_status(code);
                    self.ended_with(blind.call, Some(code));
                }
                self.responder.trailers(trailers);
            }
            Ok(None) => {}
            Err(_) => return Err(Stop::Broken("the worker broke off")),
        }
        Err(Stop::Done)
    }

    /// Whether what goes out is the worker's answer as it came, which needs no guest, and the
    /// plugin's configuration says that it goes on without one. What a filter sends is its own: what
    /// it had taken and not yet sent cannot be known.
    pub(super) fn may_go_on(&self) -> bool {
        let tapped = |call: &Call| matches!(call.stage, Stage::Shown { tapped: true, .. });
        self.asked.claimed.frontend.is_bypassed()
            && (self.tapped_out || self.calls.values().any(|it| tapped(it)))
    }

    /// The guest is gone: what it would have been shown only goes through.
    pub(super) async fn go_on(&mut self, error: &GuestError) -> Stop {
        let asked = self.asked;
        tracing::warn!(
            plugin = error.plugin(),
            request = asked.context.request_id,
            "a response goes on without its plugin"
        );
        asked.claimed.frontend.bypassed();
        // What the guest was shown last and could not let go of any more.
        for source in self.calls.values().filter_map(|it| it.source()) {
            if let Ok(source) = self.sources.get(source) {
                source.release(source.progress().available);
            }
        }
        loop {
            let inputs = std::mem::take(&mut self.inputs);
            self.needs.clear();
            self.settle_sources(&inputs);
            if self.tapped_out {
                return Stop::Done;
            }
            let happened = match self.backlog.pop_front() {
                Some(happened) => Some(happened),
                None => self.jobs.next().await,
            };
            match happened {
                Some(Happened::Upstream(id, reader, read)) => {
                    if let Err(stop) = self.upstream(id, reader, read).await {
                        return stop;
                    }
                }
                Some(_) => {}
                None => return Stop::Broken("nothing more can come of it"),
            }
        }
    }

    pub(super) fn read_upstream(
        &mut self,
        id: u32,
        mut reader: Box<Reader<tollgate_upstream::Incoming>>,
        want: types::Want,
    ) {
        self.begin_job(
            async move {
                let read = reader.next(&want).await;
                Happened::Upstream(id, reader, read)
            }
            .boxed(),
        );
    }

    pub(super) async fn upstream(
        &mut self,
        id: u32,
        mut reader: Box<Reader<tollgate_upstream::Incoming>>,
        read: Read,
    ) -> Result<(), Stop> {
        let Some(Stage::Shown { source, tapped, .. }) = self.stage(id) else {
            return Ok(());
        };
        let tapped = *tapped;
        let current = source.clone();
        let mut through: Vec<Bytes> = Vec::new();
        match read {
            Read::Bytes(chunks) => {
                if let Some((source_id, source)) = &current {
                    self.inputs.push(frontend::Input::UpstreamBytes(progress_of(
                        *source_id, source,
                    )));
                }
                through = chunks;
            }
            Read::Message(message) => {
                let source_id = self.number(&message);
                if tapped {
                    Box::pin(self.tapped_message(&mut reader, &message)).await?;
                }
                self.inputs
                    .push(frontend::Input::UpstreamMessage(frontend::GrpcMessage {
                        progress: progress_of(source_id, &message),
                    }));
                if let Some(Stage::Shown { source, .. }) = self.stage(id) {
                    *source = Some((source_id, message));
                }
            }
            Read::MoreOfMessage => {
                if let Some((source_id, source)) = &current {
                    self.inputs
                        .push(frontend::Input::UpstreamMessage(frontend::GrpcMessage {
                            progress: progress_of(*source_id, source),
                        }));
                }
            }
            Read::End(end) => {
                self.calls.remove(&id);
                self.ended_with(id, end.code);
                if tapped {
                    if self.asked.is_grpc {
                        self.grpc_end(end.clone());
                    }
                    self.tapped_out = true;
                }
                self.inputs.push(frontend::Input::UpstreamEnd(end));
                return Ok(());
            }
            Read::Cut(cut) => {
                self.calls.remove(&id);
                if let Some(account) = self.account(id) {
                    account.failed("broken");
                }
                if tapped {
                    return Err(broke_off(&reader));
                }
                self.inputs.push(frontend::Input::Cut(cut));
                return Ok(());
            }
        }
        if tapped {
            self.through(through).await;
        }
        let want = current
            .and_then(|(id, _)| self.needs.get(&id).map(|need| need.until))
            .unwrap_or(types::Want::More);
        self.read_upstream(id, reader, want);
        Ok(())
    }

    /// A message that goes through as it is, framed anew. It arrives only while its reader
    /// is asked, and is kept whole: the guest is shown it when it has gone through.
    async fn tapped_message(
        &mut self,
        reader: &mut Reader<tollgate_upstream::Incoming>,
        message: &Source,
    ) -> Result<(), Stop> {
        let total = message.progress().total.unwrap_or_default();
        message.widen(total);
        let length = u32::try_from(total).unwrap_or(u32::MAX);
        self.through(vec![Bytes::copy_from_slice(&grpc::prefix(length))])
            .await;
        let mut sent = 0;
        loop {
            let progress = message.progress();
            let fresh = message.chunks(sent, progress.available - sent);
            sent = progress.available;
            self.through(fresh.unwrap_or_default()).await;
            if progress.end {
                return Ok(());
            }
            let next = reader.next(&types::Want::More);
            let read = drive(&mut self.jobs, &mut self.backlog, next).await;
            if !matches!(read, Read::MoreOfMessage) {
                return Err(broke_off(reader));
            }
        }
    }

    /// A passed response has ended, for gRPC with this status.
    fn ended_with(&mut self, id: u32, code: Option<u32>) {
        if let (Some(code), Some(account)) = (code, self.account(id)) {
            account.ended_with(code);
        }
    }

    async fn through(&mut self, chunks: Vec<Bytes>) {
        for bytes in chunks {
            self.give(bytes).await;
        }
    }
}

/// How an exchange ends whose passed response was cut.
fn broke_off(reader: &Reader<tollgate_upstream::Incoming>) -> Stop {
    match reader.failure() {
        Some(failure) => Stop::Failed(Failure::upstream_invalid(format!(
            "the worker's answer cannot be passed on: {}",
            failure.message
        ))),
        None => Stop::Broken("the worker broke off"),
    }
}
