"""grpcurl as a client of `inference.GRPCInferenceService`, without a .proto file: by reflection.

It needs the model `addsub` (FP32 INPUT0, INPUT1 of [n, m]; OUTPUT0 is the sum and OUTPUT1 the
difference), as tests/real/triton.sh serves it. `--model` is what it is called here.
"""

import base64
import json
import struct

from checks import check, equal, expect, skip
from grpcurl_tool import main

SERVICE = "inference.GRPCInferenceService"


def tensors(a, b):
    """Typed inputs of one row."""
    return [
        {"name": name, "datatype": "FP32", "shape": [1, len(data)],
         "contents": {"fp32_contents": data}}
        for name, data in (("INPUT0", a), ("INPUT1", b))
    ]


def floats(raw):
    data = base64.b64decode(raw)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


@check
def the_service_is_listed(cx):
    expect(SERVICE in cx.ok("list").split(), "it is not listed")
    methods = [line.rsplit(".", 1)[1] for line in cx.ok("list", SERVICE).split()]
    for name in ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata",
                 "ModelInfer", "ModelStreamInfer", "RepositoryIndex"):
        expect(name in methods, f"{name} is not listed", methods)


@check
def it_is_described(cx):
    text = cx.ok("describe", SERVICE)
    expect("rpc ModelStreamInfer ( stream" in text, "no stream in it", text)
    text = cx.ok("describe", "inference.ModelInferRequest")
    expect("raw_input_contents = 7" in text, "no field of number 7", text)


@check
def all_is_live_and_ready(cx):
    equal(cx.answers(f"{SERVICE}/ServerLive"), [{"live": True}], "live")
    equal(cx.answers(f"{SERVICE}/ServerReady"), [{"ready": True}], "ready")
    data = json.dumps({"name": cx.model})
    equal(cx.answers(f"{SERVICE}/ModelReady", data=data), [{"ready": True}], "the model")


@check
def metadata_are_told(cx):
    [server] = cx.answers(f"{SERVICE}/ServerMetadata")
    expect(server["name"] and server["extensions"], "nothing of the server", server)
    [model] = cx.answers(f"{SERVICE}/ModelMetadata", data=json.dumps({"name": cx.model}))
    equal(model["name"], cx.model, "the name")
    equal({it["name"] for it in model["inputs"]}, {"INPUT0", "INPUT1"}, "the inputs")
    equal({it["datatype"] for it in model["outputs"]}, {"FP32"}, "the datatypes")


@check
def the_index_names_the_model(cx):
    [index] = cx.answers(f"{SERVICE}/RepositoryIndex")
    equal([it["state"] for it in index["models"] if it["name"] == cx.model], ["READY"], "the state")


@check
def tensors_are_added(cx):
    data = {"model_name": cx.model, "id": "one", "inputs": tensors([1.5, 2], [0.25, 4])}
    [answer] = cx.answers(f"{SERVICE}/ModelInfer", data=json.dumps(data))
    equal((answer["model_name"], answer["id"]), (cx.model, "one"), "name and id")
    found = dict(zip((it["name"] for it in answer["outputs"]), answer["raw_output_contents"]))
    equal(floats(found["OUTPUT0"]), [1.75, 6.0], "the sum")
    equal(floats(found["OUTPUT1"]), [1.25, -2.0], "the difference")


@check
def a_stream_answers_each_request(cx):
    several = "\n".join(
        json.dumps({"model_name": cx.model, "id": str(n), "inputs": tensors([n], [1])})
        for n in range(3)
    )
    answers = cx.answers(f"{SERVICE}/ModelStreamInfer", data=several)
    ids = sorted(answer["infer_response"]["id"] for answer in answers)
    equal(ids, ["0", "1", "2"], "the answers")


@check
def an_unknown_model_is_refused(cx):
    data = json.dumps({"model_name": "nobody", "inputs": tensors([1], [1])})
    problem = cx.refused("Code: ", f"{SERVICE}/ModelInfer", data=data)
    expect("nobody" in problem, "the error does not name the model", problem)


@check
def calls_need_a_token(cx):
    if not cx.given.token:
        skip("no --token")
    named = {"data": "{}", "proto": True, "token": False}
    cx.refused("Code: Unauthenticated", f"{SERVICE}/ServerLive", **named)


if __name__ == "__main__":
    main(__doc__.splitlines()[0], "inference.proto")
