"""Clients: a request becomes a call, and what is said to the call becomes an answer."""

from common import Refused, dumps, event, invalid, loads, upstream_invalid, whole
from wit_world.exports import frontend
from wit_world.imports import body, inference, types

MEMBERS = {"model", "prompt", "max_tokens", "temperature", "stream"}


class Exchange(frontend.Exchange):
    """A client's request."""

    def __init__(self, context, head):
        self.request = None
        self.begun = self.over = False
        self.reset()

    def reset(self):
        self.text, self.finish, self.usage = "", None, {"input": 0, "output": 0}

    def step(self, inputs):
        actions = []
        for it in inputs:
            if self.over:
                break
            try:
                self.input(it, actions)
            except Refused as refused:
                self.over = True
                actions += self.broken(refused.failure)
        return actions

    def broken(self, failure):
        if not self.begun:
            return [frontend.Action_Refuse(failure), frontend.Action_Finish()]
        told = {"error": {"kind": "upstream-invalid", "message": failure.message}}
        data = [types.Segment_Inline(event("error", told))]
        return [frontend.Action_Data(data), frontend.Action_Finish()]

    def input(self, it, actions):
        match it:
            case frontend.Input_Body(progress) if self.request is None:
                if progress.end:
                    actions.append(frontend.Action_Call(self.read(progress)))
                else:
                    actions.append(frontend.Action_Need(whole(progress.source)))
            case frontend.Input_Dispatched(dispatched):
                self.reset()
                call = self.call(dispatched.way.value.model)
                actions.append(
                    frontend.Action_Materialise(frontend.Materialised(0, call))
                )
            case frontend.Input_Events(events):
                for said in events:
                    self.event(said.event, actions)
            case frontend.Input_Cut(_):
                raise invalid("the request broke off")

    def read(self, progress):
        raw = body.read(progress.source, 0, progress.available)
        self.request = request = loads(raw, invalid)
        unknown = sorted(request.keys() - MEMBERS)
        if unknown:
            raise invalid(f"unknown member `{unknown[0]}`")
        if not isinstance(request.get("prompt"), str):
            raise invalid("`prompt` must be a string")
        return frontend.Intent(
            id=0,
            task=inference.TaskKind_Generate(),
            model=request.get("model"),
            version=None,
            streaming=bool(request.get("stream")),
            cost=frontend.Cost(len(request["prompt"]) // 4, request.get("max_tokens", 64)),
            affinity=frontend.Affinity_None_(),
            repeatable=True,
            priority=0,
        )

    def call(self, model):
        request = self.request
        self.model = request.get("model") or model
        settings = inference.Settings(
            sampling=inference.Sampling(
                False, request.get("temperature"), *[None] * 9
            ),
            stopping=inference.Stopping(
                request.get("max_tokens", 64), None, [], False, None
            ),
            detail=inference.Detail(False, False, False, False, False, 0),
            n=1,
            truncate=None,
            constraint=None,
            adapter=None,
            extras=[],
        )
        prompt = inference.Prompt_Text(types.Text_Inline(request["prompt"]))
        task = inference.Task_Generate(inference.Generate([prompt], settings))
        streaming = bool(request.get("stream"))
        return inference.Call(model, None, streaming, task, [])

    def event(self, said, actions):
        match said:
            case inference.Event_Delta(delta) if self.request.get("stream"):
                if delta.text:
                    self.piece(None, {"text": delta.text}, actions)
            case inference.Event_Delta(delta):
                self.text += delta.text
            case inference.Event_Finished(finished):
                done = isinstance(
                    finished.reason,
                    (
                        inference.FinishReason_EndOfSequence,
                        inference.FinishReason_StopSequence,
                    ),
                )
                self.finish = "done" if done else "length"
                self.count(finished)
            case inference.Event_Usage(usage):
                self.count(usage)
            case inference.Event_Failed(failure):
                self.over = True
                actions += self.broken(failure)
            case inference.Event_End():
                self.end(actions)

    def count(self, told):
        if told.input_tokens is not None:
            self.usage["input"] = told.input_tokens
        if told.output_tokens is not None:
            self.usage["output"] = told.output_tokens

    def piece(self, name, data, actions):
        if not self.begun:
            self.begun = True
            actions.append(self.head("text/event-stream"))
        segment = types.Segment_Inline(event(name, data))
        actions.append(frontend.Action_Data([segment]))

    def head(self, content_type):
        header = types.Header("content-type", content_type)
        return frontend.Action_Head(types.ResponseHead(200, [header]))

    def end(self, actions):
        if self.finish is None:
            raise upstream_invalid("the worker gave no reason for its end")
        self.over = True
        last = {"finish": self.finish, "usage": self.usage}
        if self.request.get("stream"):
            self.piece("end", last, actions)
        else:
            answer = {"model": self.model, "text": self.text, **last}
            actions.append(self.head("application/json"))
            actions.append(frontend.Action_Data([types.Segment_Inline(dumps(answer))]))
        actions.append(frontend.Action_Finish())
