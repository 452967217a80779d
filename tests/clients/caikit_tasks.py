"""A caikit client: http.client for REST, grpcio with stubs made from proto/caikit for gRPC.

What either surface answers is compared with the other, so that `--url` and `--grpc` must lead to
the same models.
"""

import http.client
import json
import os
import ssl
import urllib.parse

# The library tells of refused certificates by itself, which here is what is wanted.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402

import stubs  # noqa: E402
from checks import arguments, check, equal, expect, run, skip  # noqa: E402

PROMPT = "The ferry crosses the"
ENDED = {"MAX_TOKENS", "EOS_TOKEN", "STOP_SEQUENCE", "TOKEN_LIMIT"}
TASK = "/api/v1/task/"
NLP = "caikit.runtime.Nlp.NlpService"
INFO = "caikit.runtime.info.InfoService"
DOCUMENTS = [{"text": "A bridge.", "n": 1}, {"_text": "A ferry."}, {"other": True}]

nlp, _ = stubs.load("caikit/nlp_service.proto")
info, _ = stubs.load("caikit/info_service.proto")


def close(found, wanted, what):
    """Equal, but for numbers that went through single precision."""
    if isinstance(wanted, dict):
        equal(set(found), set(wanted), f"members of {what}")
        for name in wanted:
            close(found[name], wanted[name], f"{what}.{name}")
    elif isinstance(wanted, list):
        equal(len(found), len(wanted), f"length of {what}")
        for one, other in zip(found, wanted):
            close(one, other, what)
    elif isinstance(wanted, float):
        expect(abs(found - wanted) < 1e-5, f"{what} is {found!r}, not {wanted!r}")
    else:
        equal(found, wanted, what)


class Context:
    def __init__(self, given):
        self.given = given
        self.model = given.model
        self.embedder = given.embedding_model
        self.url = urllib.parse.urlsplit(given.url)
        self.channel = None
        if given.grpc:
            self.channel = self.connect()

    def connect(self):
        if not self.given.ca:
            return grpc.insecure_channel(self.given.grpc)
        roots = open(self.given.ca, "rb").read()
        return grpc.secure_channel(self.given.grpc, grpc.ssl_channel_credentials(roots))

    def embedding(self):
        if not self.embedder:
            skip("no --embedding-model")
        return self.embedder

    def send(self, method, path, body=None, headers=None, token=True):
        """Status, headers and text of a REST answer."""
        place = (self.url.hostname, self.url.port)
        if self.url.scheme == "https":
            trusted = ssl.create_default_context(cafile=self.given.ca)
            connection = http.client.HTTPSConnection(*place, timeout=120, context=trusted)
        else:
            connection = http.client.HTTPConnection(*place, timeout=120)
        headers = {"content-type": "application/json"} if headers is None else dict(headers)
        if token and self.given.token:
            headers["authorization"] = f"Bearer {self.given.token}"
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method, self.url.path + path, text, headers)
        answer = connection.getresponse()
        read = answer.read().decode()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, read

    def task(self, name, model, inputs, **parameters):
        """The result of a task over REST."""
        body = {"model_id": model, "inputs": inputs}
        # A task that has none refuses the member.
        body |= {"parameters": parameters} if parameters else {}
        status, headers, text = self.send("POST", TASK + name, body)
        equal(status, 200, f"status of {name} ({text})")
        equal(headers["content-type"], "application/json", "media type")
        return json.loads(text)

    def refused(self, status, name, body, **named):
        found, headers, text = self.send("POST", TASK + name, body, **named)
        equal(found, status, f"status ({text})")
        return headers, json.loads(text)

    def stream(self, body):
        """Names and data of a stream's events."""
        name = "server-streaming-text-generation"
        status, headers, text = self.send("POST", TASK + name, body)
        equal(status, 200, f"status ({text})")
        equal(headers["content-type"], "text/event-stream; charset=utf-8", "media type")
        expect(text.endswith("\r\n\r\n"), "not ended as HTTP's lines are", text[-9:])
        events = []
        for event in text.split("\r\n\r\n")[:-1]:
            lines = [line for line in event.split("\r\n") if not line.startswith(":")]
            if lines:
                fields = dict(line.split(": ", 1) for line in lines)
                events.append((fields["event"], json.loads(fields["data"])))
        return events

    def call(self, method, message, model=None, token=True, metadata=()):
        """The answer of a gRPC method, or the answers of one that streams."""
        if not self.channel:
            skip("no --grpc")
        service, file = (INFO, info) if method.startswith("Get") else (NLP, nlp)
        found = file.DESCRIPTOR.services_by_name[service.rsplit(".", 1)[1]].methods_by_name[method]
        output = stubs.class_of(found.output_type)
        kind = stubs.class_of(found.input_type)
        metadata = list(metadata)
        if model:
            metadata.append(("mm-model-id", model))
        if token and self.given.token:
            metadata.append(("authorization", f"Bearer {self.given.token}"))
        make = self.channel.unary_stream if found.server_streaming else self.channel.unary_unary
        ask = make(f"/{service}/{method}", kind.SerializeToString, output.FromString)
        answer = ask(json_format.ParseDict(message, kind()), timeout=120, metadata=metadata)
        return list(answer) if found.server_streaming else answer

    def fails(self, code, method, message, **named):
        try:
            answer = self.call(method, message, **named)
        except grpc.RpcError as problem:
            equal(problem.code(), code, f"status ({problem.details()})")
            return problem.details()
        return expect(False, "no failure", answer)


def values(vector):
    arm = vector.WhichOneof("data")
    return [float(value) for value in getattr(vector, arm).values] if arm else None


@check
def models_are_listed(cx):
    status, _, text = cx.send("GET", "/info/models", headers={})
    equal(status, 200, "status")
    models = {model["name"]: model for model in json.loads(text)["models"]}
    expect(cx.model in models, "the model is not listed", list(models))
    equal(models[cx.model]["loaded"], True, "loaded")
    members = {"model_path", "name", "size", "metadata", "loaded", "module_id", "module_metadata"}
    equal(set(models[cx.model]), members, "members")
    status, _, text = cx.send("GET", f"/info/models?model_ids={cx.model}", headers={})
    equal([model["name"] for model in json.loads(text)["models"]], [cx.model], "models")
    listed = {model.name: model for model in cx.call("GetModelsInfo", {}).models}
    equal(set(listed), set(models), "models over gRPC")
    equal(listed[cx.model].module_id, models[cx.model]["module_id"], "module_id")
    chosen = cx.call("GetModelsInfo", {"model_ids": [cx.model]}).models
    equal([model.name for model in chosen], [cx.model], "models")


@check
def an_unknown_model_is_not_loaded(cx):
    status, headers, text = cx.send("GET", "/info/models?model_ids=nope", headers={})
    equal(status, 404, "status")
    expect("content-type" not in headers, "a media type", headers)
    equal(json.loads(text)["details"], "Model nope is not loaded", "details")
    cx.fails(grpc.StatusCode.NOT_FOUND, "GetModelsInfo", {"model_ids": ["nope"]})


@check
def the_version_is_told(cx):
    for path in ["/info/version"] + ([] if cx.given.direct else ["/info/runtime"]):
        status, _, text = cx.send("GET", path, headers={})
        equal(status, 200, f"status of {path}")
        equal(set(json.loads(text)), {"runtime_version", "python_packages"}, "members")
    answer = cx.call("GetRuntimeInfo", {})
    equal(answer.runtime_version, json.loads(text)["runtime_version"], "runtime_version")


@check
def the_server_is_healthy(cx):
    status, headers, text = cx.send("GET", "/health", headers={})
    equal((status, text), (200, "OK"), "health")
    equal(headers["content-type"], "text/plain; charset=utf-8", "media type")


@check
def text_is_generated(cx):
    result = cx.task("text-generation", cx.model, PROMPT, max_new_tokens=6)
    members = {"generated_text", "generated_tokens", "finish_reason", "producer_id",
               "input_token_count", "seed", "tokens", "input_tokens"}
    equal(set(result), members, "members")
    expect(result["finish_reason"] in ENDED, "no reason", result["finish_reason"])
    expect(0 < result["generated_tokens"] <= 6, "too many tokens", result)
    expect(result["input_token_count"] > 0, "no input", result)
    message = cx.call(
        "TextGenerationTaskPredict", {"text": PROMPT, "max_new_tokens": 6}, model=cx.model
    )
    equal(message.generated_text, result["generated_text"], "text over gRPC")
    equal(message.generated_tokens, result["generated_tokens"], "count over gRPC")
    reason = message.DESCRIPTOR.fields_by_name["finish_reason"].enum_type
    name = reason.values_by_number[message.finish_reason].name
    equal(name, result["finish_reason"], "reason over gRPC")


@check
def a_default_length_is_twenty(cx):
    result = cx.task("text-generation", cx.model, "word " * 40)
    equal(result["generated_tokens"], 20, "tokens")


@check
def the_prompt_may_stand_before_the_text(cx):
    plain = cx.task("text-generation", cx.model, PROMPT, max_new_tokens=4)
    whole = cx.task(
        "text-generation", cx.model, PROMPT, max_new_tokens=4, preserve_input_text=True
    )
    equal(whole["generated_text"], PROMPT + plain["generated_text"], "text")


@check
def tokens_are_listed(cx):
    given = {"max_new_tokens": 4, "generated_tokens": True, "token_logprobs": True}
    result = cx.task("text-generation", cx.model, PROMPT, **given)
    equal(len(result["tokens"]), result["generated_tokens"], "number of tokens")
    expect(all(token["logprob"] <= 0 for token in result["tokens"]), "odd", result["tokens"])
    message = cx.call("TextGenerationTaskPredict", {"text": PROMPT} | given, model=cx.model)
    equal([t.text for t in message.tokens], [t["text"] for t in result["tokens"]], "tokens")
    bare = cx.task("text-generation", cx.model, PROMPT, max_new_tokens=4)
    expect(not bare["tokens"], "tokens that nobody asked for", bare["tokens"])


@check
def text_stops_at_a_sequence(cx):
    whole = cx.task("text-generation", cx.model, PROMPT, max_new_tokens=8)["generated_text"]
    words = whole.split()
    expect(len(words) > 1, "too little to stop in", whole)
    stop = words[1]
    for include in (False, True):
        result = cx.task("text-generation", cx.model, PROMPT, max_new_tokens=8,
                         stop_sequences=[stop], include_stop_sequence=include)
        equal(result["finish_reason"], "STOP_SEQUENCE", "reason")
        end = whole.index(stop)
        wanted = whole[: end + len(stop)] if include else whole[:end]
        equal(result["generated_text"].rstrip(), wanted.rstrip(), "text")


@check
def sampling_is_asked_for_by_name(cx):
    given = {"max_new_tokens": 4, "decoding_method": "SAMPLING", "temperature": 0.7, "top_k": 5,
             "top_p": 0.9, "seed": 18446744073709551615}
    result = cx.task("text-generation", cx.model, PROMPT, **given)
    equal(result["seed"], 18446744073709551615, "seed")
    body = {"model_id": cx.model, "inputs": PROMPT, "parameters": {"temperature": 0.7}}
    _, error = cx.refused(400, "text-generation", body)
    expect("aren't applicable in greedy decoding mode" in error["details"], "odd", error)


@check
def a_stream_comes_piece_by_piece(cx):
    body = {"model_id": cx.model, "inputs": PROMPT, "parameters": {"max_new_tokens": 6}}
    whole = cx.task("text-generation", cx.model, PROMPT, max_new_tokens=6)
    events = cx.stream(body)
    equal({name for name, _ in events}, {"message"}, "names")
    pieces = [data for _, data in events]
    equal("".join(piece["generated_text"] for piece in pieces), whole["generated_text"], "text")
    counts = [piece["details"]["generated_tokens"] for piece in pieces]
    equal(counts, sorted(counts), "counts in order")
    equal(counts[-1], whole["generated_tokens"], "count")
    equal(pieces[0]["details"]["input_token_count"], whole["input_token_count"], "input count")
    equal(pieces[-1]["details"]["finish_reason"], whole["finish_reason"], "reason")
    for piece in pieces[:-1]:
        equal(piece["details"]["finish_reason"], "NOT_FINISHED", "reason of a piece")
    messages = cx.call("ServerStreamingTextGenerationTaskPredict",
                       {"text": PROMPT, "max_new_tokens": 6}, model=cx.model)
    equal("".join(m.generated_text for m in messages), whole["generated_text"], "text over gRPC")
    equal(messages[-1].details.generated_tokens, whole["generated_tokens"], "count over gRPC")
    expect(messages[-1].details.finish_reason != 0, "no reason over gRPC")


@check
def a_stream_tells_an_unknown_model_as_an_event(cx):
    [(name, error)] = cx.stream({"model_id": "no-such-model", "inputs": "a"})
    equal((name, error["code"]), ("error", 404), "event")
    equal(set(error), {"details", "code", "id"}, "members")
    message = {"text": "a"}
    for method in ("TextGenerationTaskPredict", "ServerStreamingTextGenerationTaskPredict"):
        cx.fails(grpc.StatusCode.NOT_FOUND, method, message, model="no-such-model")


@check
def texts_are_embedded(cx):
    model = cx.embedding()
    one = cx.task("embedding", model, "A ferry.")
    many = cx.task("embedding-tasks", model, ["A ferry.", "A bridge."])
    vectors = [vector["data"]["values"] for vector in many["results"]["vectors"]]
    close(vectors[0], one["result"]["data"]["values"], "vector")
    expect(many["input_token_count"] > one["input_token_count"], "no more tokens", many)
    message = cx.call("EmbeddingTaskPredict", {"text": "A ferry."}, model=model)
    equal(values(message.result), vectors[0], "vector over gRPC")
    equal(message.result.WhichOneof("data"), "data_npfloat32sequence", "form")
    message = cx.call("EmbeddingTasksPredict", {"texts": ["A ferry.", "A bridge."]}, model=model)
    equal([values(vector) for vector in message.results.vectors], vectors, "vectors over gRPC")
    equal(message.input_token_count, many["input_token_count"], "count over gRPC")


@check
def sentences_are_compared(cx):
    model, others = cx.embedding(), ["A ferry.", "A bridge."]
    inputs = {"source_sentence": "A ferry.", "sentences": others}
    one = able(cx, "sentence-similarity", model, inputs)["result"]["scores"]
    expect(abs(one[0] - 1) < 1e-5 and one[1] < 1, "odd scores", one)
    inputs = {"source_sentences": others, "sentences": others}
    rows = [row["scores"] for row in cx.task("sentence-similarity-tasks", model, inputs)["results"]]
    close(rows[0], one, "row")
    expect(abs(rows[0][1] - rows[1][0]) < 1e-5, "not symmetric", rows)
    message = cx.call("SentenceSimilarityTaskPredict",
                      {"source_sentence": "A ferry.", "sentences": others}, model=model)
    close(list(message.result.scores), one, "scores over gRPC")
    message = cx.call("SentenceSimilarityTasksPredict", inputs, model=model)
    close([list(row.scores) for row in message.results], rows, "rows over gRPC")


def able(cx, task, model, inputs, **parameters):
    """A result, where there is a worker that can."""
    body = {"model_id": model, "inputs": inputs, "parameters": parameters}
    status, _, text = cx.send("POST", TASK + task, body)
    if status == 501:
        skip(json.loads(text)["details"])
    equal(status, 200, f"status ({text})")
    return json.loads(text)


@check
def documents_are_ranked(cx):
    model = cx.embedding()
    inputs = {"query": "A ferry.", "documents": DOCUMENTS}
    result = able(cx, "rerank", model, inputs)["result"]
    equal(result["query"], "A ferry.", "query")
    best = result["scores"][0]
    equal((best["index"], best["document"]), (1, DOCUMENTS[1]), "best")
    scores = [score["score"] for score in result["scores"]]
    equal(scores, sorted(scores, reverse=True), "order")
    equal({score["index"] for score in result["scores"]}, {0, 1, 2}, "documents")
    bare = cx.task("rerank", model, inputs, top_n=1, return_documents=False, return_query=False,
                   return_text=False)["result"]
    wanted = {"query": None, "scores": [
        {"document": None, "index": 1, "score": scores[0], "text": None}]}
    close(bare, wanted, "bare result")
    many = cx.task("rerank-tasks", model, {"queries": ["A ferry.", "A bridge."],
                                           "documents": DOCUMENTS}, return_text=False)
    places = [[score["index"] for score in row["scores"]] for row in many["results"]]
    equal(places[0], [score["index"] for score in result["scores"]], "places")
    equal([row["query"] for row in many["results"]], ["A ferry.", "A bridge."], "queries")
    message = cx.call("RerankTaskPredict", inputs, model=model)
    found = [score.index for score in message.result.scores]
    equal(found, places[0], "places over gRPC")
    equal(json_format.MessageToDict(message.result.scores[0].document), DOCUMENTS[1], "document")
    message = cx.call("RerankTasksPredict", {"queries": ["A ferry.", "A bridge."],
                                             "documents": DOCUMENTS}, model=model)
    equal([[score.index for score in row.scores] for row in message.results], places, "places")


@check
def tokens_are_counted(cx):
    result = cx.task("tokenization", cx.model, PROMPT)
    equal(set(result), {"results", "token_count"}, "members")
    expect(result["token_count"] > 0, "nothing", result)
    message = cx.call("TokenizationTaskPredict", {"text": PROMPT}, model=cx.model)
    equal(message.token_count, result["token_count"], "count over gRPC")


@check
def bodies_are_checked(cx):
    for body, kind, loc in [
        ({"model_id": cx.model, "inputs": "a", "x": 1}, "extra_forbidden", ["x"]),
        ({"model_id": cx.model, "inputs": 5}, "string_type", ["inputs"]),
        ({"model_id": 5, "inputs": "a"}, "string_type", ["model_id"]),
        ({"model_id": cx.model, "inputs": "a", "parameters": {"max_new_tokens": 1.5}},
         "int_from_float", ["parameters", "max_new_tokens"]),
        ({"model_id": cx.model, "inputs": "a", "parameters": {"foo": 1}},
         "extra_forbidden", ["parameters", "foo"]),
        ("{bad", "json_invalid", []),
        ("[1]", "model_type", []),
    ]:
        headers, error = cx.refused(422, "text-generation", body)
        equal(headers["content-type"], "application/json", "media type")
        problem = error["additional_info"][0]
        equal((problem["type"], problem["loc"]), (kind, loc), "problem")
        equal(error["details"], problem["msg"], "details")
        equal(error["code"], 422, "code")


@check
def numbers_may_be_strings(cx):
    result = cx.task("text-generation", cx.model, PROMPT, max_new_tokens="3")
    equal(result["generated_tokens"], 3, "tokens")


@check
def a_text_must_say_something(cx):
    body = {"model_id": cx.model, "inputs": ""}
    headers, error = cx.refused(400, "text-generation", body)
    expect("missing 1 required positional argument: 'text'" in error["details"], "odd", error)
    expect("content-type" not in headers, "a media type", headers)


@check
def the_media_type_is_exactly_json(cx):
    body = {"model_id": cx.model, "inputs": "a"}
    for media_type in ("application/json; charset=utf-8", "application/x-www-form-urlencoded"):
        named = {"headers": {"content-type": media_type}}
        _, error = cx.refused(415, "text-generation", body, **named)
        equal(error, {"detail": f"Unsupported media type: {media_type}."}, "body")


@check
def paths_and_methods_are_told_apart(cx):
    _, error = cx.refused(404, "no-such-task", {})
    equal(error, {"detail": "Not Found"}, "body")
    status, headers, text = cx.send("GET", TASK + "embedding", headers={})
    equal((status, json.loads(text)), (405, {"detail": "Method Not Allowed"}), "answer")


@check
def an_unknown_model_is_not_found(cx):
    body = {"model_id": "no-such-model", "inputs": "a"}
    headers, error = cx.refused(404, "text-generation", body)
    expect("no-such-model" in error["details"], "another", error)
    equal((error["code"], len(error["id"])), (404, 32), "code and id")


@check
def hostile_metadata_reaches_nobody(cx):
    if cx.given.direct:
        skip("the runtime believes it")
    message = cx.call("TextGenerationTaskPredict", {"text": PROMPT, "max_new_tokens": 2},
                      model=cx.model, metadata=[("x-route-info", "127.0.0.1:1")])
    expect(message.generated_tokens > 0, "nothing", message)


@check
def calls_need_a_token(cx):
    if not cx.given.token:
        skip("no --token")
    body = {"model_id": cx.model, "inputs": "a"}
    headers, error = cx.refused(401, "text-generation", body, token=False)
    equal(set(error), {"details", "code", "id"}, "members")
    cx.fails(grpc.StatusCode.UNAUTHENTICATED, "TextGenerationTaskPredict", {"text": "a"},
             model=cx.model, token=False)


if __name__ == "__main__":
    given = arguments(__doc__).parse_args()
    if not given.url:
        raise SystemExit("--url is needed")
    run(given, Context(given))
