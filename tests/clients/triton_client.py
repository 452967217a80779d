"""Triton's own Python client, over HTTP and gRPC, against a server of the Open Inference Protocol.

It needs the models `addsub` (FP32 INPUT0, INPUT1 of [n, m]; OUTPUT0 is the sum and OUTPUT1 the
difference) and, for streams, `stream` (BYTES text_input of [1]; one text_output for each word), as
tests/real/triton.sh serves them. `--model` is what the first is called here.
"""

import json
import queue
import ssl
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient._plugin import InferenceServerClientPlugin
from tritonclient.utils import InferenceServerException

import checks
from checks import check, equal, expect, raises

# Elements of one input of the large request: 16 MiB of FP32.
LARGE = 4 << 20


class Bearer(InferenceServerClientPlugin):
    """Puts the token onto every call, as the client's own plugins do."""

    def __init__(self, token):
        self.token = token

    def __call__(self, request):
        request.headers["authorization"] = f"Bearer {self.token}"


class Context:
    def __init__(self, given):
        self.model = given.model
        self.stream = given.stream_model
        self.direct = given.direct
        self.token = given.token
        self.url = given.url.rstrip("/")
        self.trust = ssl.create_default_context(cafile=given.ca) if given.ca else None
        address = urllib.parse.urlsplit(self.url)
        secure = {"ssl": True, "ssl_context_factory": lambda: self.trust} if given.ca else {}
        self.http = over_http.InferenceServerClient(
            address.netloc + address.path, network_timeout=120, connection_timeout=120, **secure
        )
        secure = {"ssl": True, "root_certificates": given.ca} if given.ca else {}
        self.grpc = over_grpc.InferenceServerClient(given.grpc, **secure)
        if given.token:
            for client in (self.http, self.grpc):
                client.register_plugin(Bearer(given.token))

    def post(self, path, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = dict(headers or {})
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=120, context=self.trust) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, dict(answer.headers), answer.read()


def inputs(kind, a, b, **named):
    all = []
    for name, value in (("INPUT0", a), ("INPUT1", b)):
        tensor = kind.InferInput(name, value.shape, "FP32")
        tensor.set_data_from_numpy(value, **named)
        all.append(tensor)
    return all


def pair(elements=8):
    a = np.arange(elements, dtype=np.float32).reshape(1, -1)
    b = np.full((1, elements), 0.1, dtype=np.float32)
    return a, b


def added(result, a, b):
    expect(np.array_equal(result.as_numpy("OUTPUT0"), a + b), "the sum is another one")
    expect(np.array_equal(result.as_numpy("OUTPUT1"), a - b), "the difference is another one")


@check
def http_says_that_all_is_ready(context):
    """Liveness, readiness, and readiness of a model with and without its version."""
    expect(context.http.is_server_live(), "not live")
    expect(context.http.is_server_ready(), "not ready")
    expect(context.http.is_model_ready(context.model), "the model is not ready")
    expect(context.http.is_model_ready(context.model, "1"), "version 1 is not ready")
    expect(not context.http.is_model_ready("nobody"), "a model of no name is ready")


@check
def grpc_says_that_all_is_ready(context):
    """The same over gRPC."""
    expect(context.grpc.is_server_live(), "not live")
    expect(context.grpc.is_server_ready(), "not ready")
    expect(context.grpc.is_model_ready(context.model), "the model is not ready")
    expect(context.grpc.is_model_ready(context.model, "1"), "version 1 is not ready")


@check
def metadata_is_the_same_over_both(context):
    """Metadata of the server and of the model."""
    expect(context.http.get_server_metadata()["extensions"], "no extensions")
    expect(context.grpc.get_server_metadata().name, "no name")
    http = context.http.get_model_metadata(context.model)
    grpc = context.grpc.get_model_metadata(context.model, as_json=True)
    equal(http["name"], context.model, "the name")
    equal(grpc["name"], context.model, "the name over gRPC")
    shapes = [[str(size) for size in tensor["shape"]] for tensor in http["inputs"]]
    equal([tensor["shape"] for tensor in grpc["inputs"]], shapes, "the shapes")
    equal(http["versions"], grpc["versions"], "the versions")


@check
def index_names_the_model(context):
    """The repository's index."""
    http = {model["name"]: model["state"] for model in context.http.get_model_repository_index()}
    equal(http.get(context.model), "READY", "the state")
    grpc = {model.name: model.state for model in context.grpc.get_model_repository_index().models}
    equal(grpc.get(context.model), "READY", "the state over gRPC")


@check
def http_binary_both_ways(context):
    """What the client does by default: raw tensors in and out."""
    a, b = pair()
    added(context.http.infer(context.model, inputs(over_http, a, b), request_id="one"), a, b)


@check
def http_json_both_ways(context):
    """JSON in and out, and the two mixed."""
    a, b = pair()
    for binary in (False, True):
        outputs = [
            over_http.InferRequestedOutput("OUTPUT0", binary_data=binary),
            over_http.InferRequestedOutput("OUTPUT1", binary_data=False),
        ]
        given = inputs(over_http, a, b, binary_data=not binary)
        added(context.http.infer(context.model, given, outputs=outputs, request_id="x"), a, b)


@check
def http_with_a_version_and_an_id(context):
    """The version goes into the path, the id comes back."""
    a, b = pair()
    result = context.http.infer(
        context.model, inputs(over_http, a, b), model_version="1", request_id="seven"
    )
    answer = result.get_response()
    equal(answer["id"], "seven", "the id")
    equal(answer["model_name"], context.model, "the model's name")
    equal(answer["model_version"], "1", "the version")


@check
def http_compressed(context):
    """Requests by gzip and deflate."""
    a, b = pair(1000)
    for encoding in ("gzip", "deflate"):
        result = context.http.infer(
            context.model, inputs(over_http, a, b), request_compression_algorithm=encoding
        )
        added(result, a, b)


@check
def http_answers_of_one_output(context):
    """Only what was asked for."""
    a, b = pair()
    outputs = [over_http.InferRequestedOutput("OUTPUT1", binary_data=True)]
    result = context.http.infer(context.model, inputs(over_http, a, b), outputs=outputs)
    equal([it["name"] for it in result.get_response()["outputs"]], ["OUTPUT1"], "the outputs")


@check
def grpc_raw(context):
    """What the client does by default."""
    a, b = pair()
    result = context.grpc.infer(context.model, inputs(over_grpc, a, b), request_id="g")
    added(result, a, b)
    equal(result.get_response().id, "g", "the id")
    equal(result.get_response().model_name, context.model, "the model's name")


@check
def grpc_compressed(context):
    """Messages by gzip."""
    a, b = pair(1000)
    given = inputs(over_grpc, a, b)
    added(context.grpc.infer(context.model, given, compression_algorithm="gzip"), a, b)


@check
def grpc_typed_contents(context):
    """Elements in `contents` instead of raw bytes."""
    request = over_grpc.service_pb2.ModelInferRequest(model_name=context.model)
    for name in ("INPUT0", "INPUT1"):
        tensor = request.inputs.add(name=name, datatype="FP32", shape=[1, 3])
        tensor.contents.fp32_contents.extend([1.5, 2.5, 3.5])
    named = [("authorization", f"Bearer {context.token}")] if context.token else []
    answer = context.grpc._client_stub.ModelInfer(request, metadata=named)
    raw = np.frombuffer(answer.raw_output_contents[0], dtype=np.float32)
    equal(raw.tolist(), [3.0, 5.0, 7.0], "the sum")


@check
def large_tensors_over_both(context):
    """Two inputs and two outputs of 16 MiB each."""
    a, b = pair(LARGE)
    added(context.http.infer(context.model, inputs(over_http, a, b)), a, b)
    added(context.grpc.infer(context.model, inputs(over_grpc, a, b)), a, b)


@check
def nan_and_infinity_go_by_binary(context):
    """Values that JSON has not, by raw tensors; as JSON they are a clear error."""
    a = np.array([[np.nan, np.inf, -np.inf]], dtype=np.float32)
    b = np.ones((1, 3), dtype=np.float32)
    result = context.http.infer(context.model, inputs(over_http, a, b)).as_numpy("OUTPUT0")
    expect(np.array_equal(result, a, equal_nan=True), "other values came back", result)
    if context.direct:
        return
    outputs = [over_http.InferRequestedOutput("OUTPUT0", binary_data=False)]
    try:
        context.http.infer(context.model, inputs(over_http, a, b), outputs=outputs)
    except InferenceServerException as problem:
        expect("JSON" in str(problem), "the error does not say why", problem)
    except json.JSONDecodeError:
        # Passed on, the answer is the server's own: with words that JSON has not.
        pass


@check
def what_curl_sends(context):
    """The form content type, with the model's name in the body too."""
    tensor = {"shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]}
    body = {
        "model_name": context.model,
        "inputs": [{"name": "INPUT0"} | tensor, {"name": "INPUT1"} | tensor],
    }
    headers = {"content-type": "application/x-www-form-urlencoded"}
    status, _, answer = context.post(f"/v2/models/{context.model}/infer", body, headers)
    equal(status, 200, "the status")
    outputs = {it["name"]: it["data"] for it in json.loads(answer)["outputs"]}
    equal(outputs, {"OUTPUT0": [2.0, 4.0], "OUTPUT1": [0.0, 0.0]}, "the outputs")


@check
def errors_have_the_key_error(context):
    """An unknown model, a bad shape, no JSON, and shared memory."""
    a, b = pair()
    problem = raises(
        InferenceServerException, context.http.infer, "nobody", inputs(over_http, a, b)
    )
    expect(problem.status() in ("400", "404"), "an unknown model", problem.status())
    problem = raises(
        InferenceServerException, context.grpc.infer, "nobody", inputs(over_grpc, a, b)
    )
    expect(
        problem.status() in ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"),
        "an unknown model over gRPC",
        problem.status(),
    )
    path = f"/v2/models/{context.model}/infer"
    short = {"name": "INPUT0", "shape": [1, 3], "datatype": "FP32", "data": [1.0]}
    for body in (b"{", {"inputs": [short, short | {"name": "INPUT1"}]}, {"inputs": 1}):
        status, _, answer = context.post(path, body)
        expect(status >= 400, "a bad request was answered", body, status)
        expect(json.loads(answer)["error"], "no error", answer)
    if context.direct:
        return
    tensor = over_http.InferInput("INPUT0", [1, 2], "FP32")
    tensor.set_shared_memory("region", 8)
    problem = raises(InferenceServerException, context.http.infer, context.model, [tensor])
    expect("shared memory" in str(problem), "shared memory was not refused", problem)


@check
def stream_of_inferences(context):
    """Many requests in one stream, answered by their ids."""
    results = queue.Queue()
    context.grpc.start_stream(lambda result, error: results.put((result, error)))
    a, b = pair()
    try:
        for number in range(20):
            given = inputs(over_grpc, a + number, b)
            context.grpc.async_stream_infer(context.model, given, request_id=str(number))
        context.grpc.async_stream_infer("nobody", inputs(over_grpc, a, b), request_id="odd")
        seen = {}
        for _ in range(21):
            result, error = results.get(timeout=60)
            if error is None:
                seen[result.get_response().id] = result
            else:
                expect("nobody" in str(error), "the error does not name the model", error)
    finally:
        context.grpc.stop_stream()
    equal(sorted(seen, key=int), [str(number) for number in range(20)], "the answers")
    for number, result in seen.items():
        added(result, a + int(number), b)


@check
def stream_of_a_decoupled_model(context):
    """One request, as many answers as there are words."""
    if not context.stream:
        checks.skip("no model for streams")
    results = queue.Queue()
    context.grpc.start_stream(lambda result, error: results.put((result, error)))
    given = over_grpc.InferInput("text_input", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"so long and thanks"], dtype=object))
    try:
        context.grpc.async_stream_infer(context.stream, [given], request_id="words")
        words = []
        for _ in range(4):
            result, error = results.get(timeout=60)
            if error is not None and "decoupled" in str(error):
                checks.skip("the worker is spoken to in a form that has no streams")
            expect(error is None, "an error", error)
            words.append(result.as_numpy("text_output")[0].decode())
    finally:
        context.grpc.stop_stream()
    equal(words, ["so", "long", "and", "thanks"], "the words")


@check
def generate_streams_words(context):
    """`generate_stream`: an event for each answer."""
    if not context.stream:
        checks.skip("no model for streams")
    path = f"/v2/models/{context.stream}/generate_stream"
    status, headers, answer = context.post(path, {"text_input": "a b c", "stream": True})
    if status == 501:
        checks.skip("the worker's models are not said to generate text")
    equal(status, 200, "the status")
    kind = {name.lower(): value for name, value in headers.items()}["content-type"]
    expect(kind.startswith("text/event-stream"), "the content type", kind)
    events = [
        json.loads(line[5:]) for line in answer.decode().splitlines() if line.startswith("data:")
    ]
    equal([event["text_output"] for event in events if event["text_output"]], ["a", "b", "c"], "words")
    equal({event["model_name"] for event in events}, {context.stream}, "the model's name")


@check
def statistics_and_configuration(context):
    """Passed through where the worker speaks the same form; else refused as not to be had."""
    try:
        stats = context.http.get_inference_statistics(context.model)
        expect(stats["model_stats"], "no statistics")
        equal(context.http.get_model_config(context.model)["backend"], "python", "the backend")
    except InferenceServerException as problem:
        equal(problem.status(), "501", "the status")
    try:
        expect(context.grpc.get_inference_statistics(context.model).model_stats, "no statistics")
        expect(context.grpc.get_model_config(context.model).config.name, "no configuration")
    except InferenceServerException as problem:
        equal(problem.status(), "StatusCode.UNIMPLEMENTED", "the status")


if __name__ == "__main__":
    parser = checks.arguments(__doc__.splitlines()[0])
    parser.add_argument("--stream-model", help="a model that answers word by word")
    given = parser.parse_args()
    checks.run(given, Context(given))
