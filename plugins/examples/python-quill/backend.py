"""Workers: a call becomes a request, and its answer becomes events."""

import json

from common import Refused, dumps, invalid, loads, upstream_invalid, whole
from wit_world.exports import backend
from wit_world.imports import body, inference, types


class Attempt(backend.Attempt):
    """A request to a worker."""

    def __init__(self, context, worker, members):
        (self.call,) = members
        self.status = 200
        self.read, self.lines = 0, b""
        self.complete = self.over = False

    def step(self, inputs):
        actions = []
        for it in inputs:
            if self.over:
                break
            try:
                self.input(it, actions)
            except Refused as refused:
                self.tell([inference.Event_Failed(refused.failure)], actions)
                self.finish(actions)
        return actions

    def tell(self, events, actions):
        if events:
            told = [backend.MemberEvent(0, event) for event in events]
            actions.append(backend.Action_Events(told))

    def finish(self, actions):
        self.over = True
        actions.append(backend.Action_Finish())

    def input(self, it, actions):
        match it:
            case backend.Input_Start():
                actions.append(backend.Action_Request(self.request()))
            case backend.Input_Head(head):
                self.status = head.status
            case backend.Input_Bytes(progress):
                if self.status == 200 and self.call.streaming:
                    self.tell(self.stream(progress), actions)
                elif progress.end:
                    raw = body.read(progress.source, 0, progress.available)
                    self.tell(self.answer(raw), actions)
                else:
                    actions.append(backend.Action_Need(whole(progress.source)))
            case backend.Input_End(_):
                if not self.complete:
                    raise upstream_invalid("the worker's answer is not complete")
                self.tell([inference.Event_End()], actions)
                self.finish(actions)
            case backend.Input_Cut(_):
                kind = types.FailureKind_UpstreamUnavailable()
                raise Refused(kind, "the worker broke off its answer")
            case backend.Input_Left(_):
                self.finish(actions)

    def request(self):
        match self.call.task:
            case inference.Task_Generate(inference.Generate([inference.Prompt_Text(text)], asked)):
                pass
            case _:
                raise Refused(types.FailureKind_Unsupported(), "one prompt, as text")
        if isinstance(text, types.Text_Held):
            raw = body.read(text.value.at.source, text.value.at.offset, text.value.at.len)
            prompt = json.loads(raw) if isinstance(text.value.written, types.Encoding_JsonString) else raw.decode()
        else:
            prompt = text.value
        sampling, stopping = asked.sampling, asked.stopping
        unsaid = [
            sampling.top_k, sampling.top_p, sampling.typical_p, sampling.min_p, sampling.seed,
            sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty,
            sampling.length_penalty, stopping.min_tokens, stopping.time_limit_ms,
            asked.truncate, asked.constraint, asked.adapter,
        ]  # fmt: skip
        if any(it is not None for it in unsaid) or stopping.stop_sequences or asked.extras or asked.n != 1:
            raise invalid("workers of this protocol cannot honour all of these settings")
        wanted = {
            "model": self.call.model,
            "prompt": prompt,
            "max_tokens": stopping.max_tokens,
            "temperature": 0.0 if sampling.greedy else sampling.temperature,
        }
        wanted = {name: value for name, value in wanted.items() if value is not None}
        wanted["stream"] = self.call.streaming
        return backend.Request(
            backend.Surface_Rest(backend.RestSurface("POST", "/quill/v1/write")),
            [types.Header("content-type", "application/json")],
            [types.Segment_Inline(dumps(wanted))],
            True,
        )

    def answer(self, raw):
        if self.status != 200:
            raise upstream_invalid(f"the worker answered with status {self.status}")
        answer = loads(raw, upstream_invalid)
        if not isinstance(answer.get("text"), str):
            raise upstream_invalid("an answer without text")
        return [self.delta(answer["text"]), *self.last(answer)]

    def stream(self, progress):
        raw = body.read(progress.source, self.read, progress.available - self.read)
        self.read += len(raw)
        *events, self.lines = (self.lines + raw).split(b"\n\n")
        said = []
        for it in events:
            fields = dict(line.split(b": ", 1) for line in it.split(b"\n") if b": " in line)
            data = loads(fields.get(b"data", b""), upstream_invalid)
            if fields.get(b"event") == b"error":
                raise upstream_invalid("the worker failed within its stream")
            if data.get("text"):
                said.append(self.delta(data["text"]))
            if "finish" in data:
                said += self.last(data)
        return said

    def delta(self, text):
        return inference.Event_Delta(inference.Delta(0, text, [], None, []))

    def last(self, told):
        self.complete = True
        reason = (
            inference.FinishReason_EndOfSequence()
            if told.get("finish") == "done"
            else inference.FinishReason_MaxTokens()
        )
        usage = told.get("usage") or {}
        return [
            inference.Event_Finished(inference.Finished(0, reason, None, None, None, None)),
            inference.Event_Usage(
                inference.Usage(usage.get("input"), usage.get("output"), None, [])
            ),
        ]
