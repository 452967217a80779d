"""grpcurl as a client: reflection, health, and the calls that the documents show."""

import json

from checks import check, equal, expect, skip
from grpcurl_tool import main

SERVICE = "fmaas.GenerationService"
# As the documents write it: neither a model nor parameters.
DOCUMENTED = '{"requests": [{"text": "At what temperature does water boil?"}]}'


@check
def services_are_listed(cx):
    listed = cx.ok("list").split()
    for name in (SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"):
        expect(name in listed, f"{name} is not listed", listed)


@check
def methods_are_listed(cx):
    listed = cx.ok("list", SERVICE).split()
    wanted = ["Generate", "GenerateStream", "ModelInfo", "Tokenize"]
    equal(sorted(listed), [f"{SERVICE}.{name}" for name in wanted], "methods")


@check
def a_service_is_described(cx):
    text = cx.ok("describe", SERVICE)
    expect("rpc GenerateStream" in text and "returns ( stream" in text, "no stream in it", text)


@check
def a_message_is_described(cx):
    text = cx.ok("describe", "fmaas.GenerationRequest")
    expect("string text = 2;" in text, "no field of number 2", text)
    text = cx.ok("describe", "fmaas.StopReason")
    expect("STOP_SEQUENCE = 5;" in text, "no value of number 5", text)


@check
def an_unknown_symbol_is_not_found(cx):
    cx.refused("not found", "describe", "fmaas.Nothing")


@check
def the_server_is_healthy(cx):
    for service in ("", SERVICE):
        data = json.dumps({"service": service})
        equal(cx.answers("grpc.health.v1.Health/Check", data=data), [{"status": "SERVING"}], "health")


@check
def an_unknown_service_has_no_health(cx):
    if cx.given.direct:
        skip("the server answers otherwise")
    cx.refused("Code: NotFound", "grpc.health.v1.Health/Check", data='{"service": "nobody"}')


@check
def the_documented_call_is_answered(cx):
    if cx.given.direct and not cx.given.only:
        skip("without a limit the model talks until its context is full")
    for proto in (False, True):
        answer = cx.answers(f"{SERVICE}/Generate", data=DOCUMENTED, proto=proto)[0]
        equal(len(answer["responses"]), 1, "number of responses")
        expect(answer["responses"][0].get("generated_token_count", 0) > 0, "nothing", answer)


@check
def a_batch_is_answered_with_and_without_reflection(cx):
    data = json.dumps({
        "model_id": cx.model,
        "requests": [{"text": "The ferry"}, {"text": "A gate"}],
        "params": {"method": "GREEDY", "stopping": {"max_new_tokens": 6}},
    })
    found = []
    for proto in (False, True):
        responses = cx.answers(f"{SERVICE}/Generate", data=data, proto=proto)[0]["responses"]
        # A worker may draw a seed anew, though greedy generation has no use for it.
        found.append([{**response, "seed": None} for response in responses])
    equal(found[0], found[1], "answer without reflection")
    equal(len(found[0]), 2, "number of responses")


@check
def a_stream_is_printed_message_by_message(cx):
    params = {"stopping": {"max_new_tokens": 6}}
    single = {"model_id": cx.model, "request": {"text": "The ferry"}, "params": params}
    messages = cx.answers(f"{SERVICE}/GenerateStream", data=json.dumps(single))
    expect(len(messages) > 2, "not piece by piece", messages)
    batch = {"model_id": cx.model, "requests": [{"text": "The ferry"}], "params": params}
    whole = cx.answers(f"{SERVICE}/Generate", data=json.dumps(batch))[0]["responses"][0]
    equal("".join(message.get("text", "") for message in messages), whole["text"], "text")
    equal(messages[-1].get("stop_reason"), whole["stop_reason"], "stop_reason")


@check
def bad_values_are_invalid_arguments(cx):
    data = json.dumps({
        "model_id": cx.model,
        "requests": [{"text": "x"}],
        "params": {"stopping": {"max_new_tokens": 2, "min_new_tokens": 4}},
    })
    problem = cx.refused("Code: InvalidArgument", f"{SERVICE}/Generate", data=data)
    expect("min_new_tokens must be <= max_new_tokens" in problem, "another message", problem)


@check
def calls_need_a_token(cx):
    if not cx.given.token:
        skip("no --token")
    # With the .proto file, so that it is the call that is refused.
    named = {"data": DOCUMENTED, "proto": True, "token": False}
    cx.refused("Code: Unauthenticated", f"{SERVICE}/Generate", **named)


@check
def an_unknown_authority_is_refused(cx):
    if not cx.given.ca:
        skip("no --ca")
    cx.refused("certificate", "list", trusted=False)


if __name__ == "__main__":
    main(__doc__, "generation.proto")
