"""Writes down what real servers answer, as transcripts that plugins can be held to.

    tests/real/tgis.sh &          # both servers in one process
    target/venv/bin/python tests/real/record.py

One JSON file an exchange in tests/transcripts/{openai,tgis}; its README describes the format. All
generation is greedy, so text, counts and reasons come out the same each time; identifiers and
times do not.
"""

import argparse
import http.client
import json
import pathlib
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402

import stubs  # noqa: E402

MODEL = "tiny-llama"
JSON = {"content-type": "application/json"}
# Servers tell paths of files, in errors and in lists; whose machine it was is nobody's business.
HOME = str(pathlib.Path.home())
# Headers that say something about the protocol; the rest is about that day.
KEPT = {"content-type", "transfer-encoding", "retry-after", "allow"}

GREEDY = {"model": MODEL, "prompt": "Hello world", "max_tokens": 8, "temperature": 0}
TALK = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a licence?"},
    ],
    "max_tokens": 8,
    "temperature": 0,
}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
CONTINUOUS = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}

# name, what it shows, method, path, body (JSON, or the text itself), headers
OPENAI = [
    ("models", "The list of models.", "GET", "/v1/models", None, {}),
    ("version", "The server's version.", "GET", "/version", None, {}),
    ("health", "A healthy server answers with nothing.", "GET", "/health", None, {}),
    ("completion", "A completion.", "POST", "/v1/completions", GREEDY, JSON),
    ("completion-unnamed", "A completion without `model`.", "POST", "/v1/completions",
     {k: v for k, v in GREEDY.items() if k != "model"}, JSON),
    ("completion-default-length", "16 tokens where nothing is said.", "POST", "/v1/completions",
     {k: v for k, v in GREEDY.items() if k != "max_tokens"}, JSON),
    ("completion-batch", "Several prompts: one choice each, counts added up.", "POST",
     "/v1/completions", GREEDY | {"prompt": ["Hello world", "The licence", "You may"]}, JSON),
    ("completion-tokens", "A prompt of token ids.", "POST", "/v1/completions",
     GREEDY | {"prompt": [44, 72, 358, 82, 1711]}, JSON),
    ("completion-twice", "Two choices.", "POST", "/v1/completions", GREEDY | {"n": 2}, JSON),
    ("completion-echo", "The prompt before the text.", "POST", "/v1/completions",
     GREEDY | {"echo": True}, JSON),
    ("completion-logprobs", "Log probabilities of the output.", "POST", "/v1/completions",
     GREEDY | {"logprobs": 2}, JSON),
    ("completion-prompt-logprobs", "Log probabilities of the input.", "POST", "/v1/completions",
     GREEDY | {"prompt_logprobs": 0}, JSON),
    ("completion-stop", "Ended by a stop sequence, which is left out.", "POST", "/v1/completions",
     GREEDY | {"max_tokens": 24, "stop": [" cust"]}, JSON),
    ("completion-stop-included", "Ended by a stop sequence, which stays.", "POST",
     "/v1/completions",
     GREEDY | {"max_tokens": 24, "stop": [" cust"], "include_stop_str_in_output": True}, JSON),
    ("completion-extras", "Unknown members are ignored.", "POST", "/v1/completions",
     GREEDY | {"user": "somebody", "no_such_member": {"a": 1}}, JSON),
    ("completion-stream", "A stream without usage.", "POST", "/v1/completions",
     GREEDY | {"stream": True}, JSON),
    ("completion-stream-usage", "A stream with a last chunk of usage.", "POST",
     "/v1/completions", GREEDY | USAGE, JSON),
    ("completion-stream-continuous", "A stream with usage in every chunk.", "POST",
     "/v1/completions", GREEDY | CONTINUOUS, JSON),
    ("completion-stream-logprobs", "A stream with log probabilities.", "POST",
     "/v1/completions", GREEDY | CONTINUOUS | {"logprobs": 1}, JSON),
    ("completion-stream-batch", "Two prompts in one stream, interleaved.", "POST",
     "/v1/completions", GREEDY | CONTINUOUS | {"prompt": ["Hello world", "The licence"]}, JSON),
    ("completion-stream-stop", "A stream ended by a stop sequence.", "POST", "/v1/completions",
     GREEDY | USAGE | {"max_tokens": 24, "stop": [" cust"]}, JSON),
    ("chat", "A chat.", "POST", "/v1/chat/completions", TALK, JSON),
    ("chat-parts", "Content as a list of parts.", "POST", "/v1/chat/completions",
     TALK | {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is"},
                                                       {"type": "text", "text": "a licence?"}]}]},
     JSON),
    ("chat-completion-tokens", "`max_completion_tokens` wins over `max_tokens`.", "POST",
     "/v1/chat/completions", TALK | {"max_completion_tokens": 3}, JSON),
    ("chat-logprobs", "A chat with log probabilities.", "POST", "/v1/chat/completions",
     TALK | {"logprobs": True, "top_logprobs": 2}, JSON),
    ("chat-stream", "A chat, streamed.", "POST", "/v1/chat/completions", TALK | {"stream": True},
     JSON),
    ("chat-stream-usage", "A chat, streamed, with usage.", "POST", "/v1/chat/completions",
     TALK | USAGE, JSON),
    ("tokenize", "Tokens of a text.", "POST", "/tokenize",
     {"model": MODEL, "prompt": "Hello world"}, JSON),
    ("tokenize-texts", "Tokens with their texts.", "POST", "/tokenize",
     {"model": MODEL, "prompt": "Hello wörld", "return_token_strs": True}, JSON),
    ("tokenize-chat", "Tokens of a conversation.", "POST", "/tokenize",
     {"model": MODEL, "messages": TALK["messages"]}, JSON),
    ("detokenize", "Text of tokens.", "POST", "/detokenize",
     {"model": MODEL, "tokens": [44, 72, 358, 82, 1711]}, JSON),
    ("media-type-parameter", "A media type with a parameter is accepted.", "POST",
     "/v1/completions", GREEDY, {"content-type": "application/json; charset=utf-8"}),
    ("error-media-type", "Another media type is refused.", "POST", "/v1/completions", GREEDY,
     {"content-type": "application/x-www-form-urlencoded"}),
    ("error-no-media-type", "No media type is refused.", "POST", "/v1/completions", GREEDY, {}),
    ("error-not-json", "Not JSON.", "POST", "/v1/completions", "{", JSON),
    ("error-unknown-model", "A model that is not there.", "POST", "/v1/completions",
     GREEDY | {"model": "nobody"}, JSON),
    ("error-unknown-model-chat", "The same of a chat, streamed.", "POST", "/v1/chat/completions",
     TALK | {"model": "nobody", "stream": True}, JSON),
    ("error-type", "A member of the wrong type.", "POST", "/v1/completions",
     GREEDY | {"max_tokens": "many"}, JSON),
    ("error-range", "A value out of its range.", "POST", "/v1/completions",
     GREEDY | {"temperature": -1}, JSON),
    ("error-no-prompt", "Neither prompt nor messages.", "POST", "/v1/completions",
     {"model": MODEL}, JSON),
    ("error-no-messages", "A chat without messages.", "POST", "/v1/chat/completions",
     {"model": MODEL}, JSON),
    ("error-too-long", "More tokens than the model takes.", "POST", "/v1/completions",
     GREEDY | {"max_tokens": 5000}, JSON),
    ("error-stream-options", "`stream_options` without `stream`.", "POST", "/v1/completions",
     GREEDY | {"stream_options": {"include_usage": True}}, JSON),
    ("error-embeddings", "Embeddings of a model that generates.", "POST", "/v1/embeddings",
     {"model": MODEL, "input": "Hello"}, JSON),
    ("error-path", "A path that is not there.", "GET", "/v1/nothing", None, {}),
    ("error-method", "A method that is not there.", "GET", "/v1/completions", None, {}),
    ("metrics", "What a probe reads.", "GET", "/metrics", None, {}),
]

STOP8 = {"stopping": {"max_new_tokens": 8}}
DETAIL = {
    "input_text": True, "generated_tokens": True, "input_tokens": True, "token_logprobs": True,
    "token_ranks": True, "top_n_tokens": 2,
}


def batch(*texts, **params):
    return {"requests": [{"text": t} for t in texts], "params": STOP8 | params}


def single(text="Hello world", **params):
    return {"request": {"text": text}, "params": STOP8 | params}


# name, what it shows, method, message (JSON of protocol buffers, original names)
TGIS = [
    ("generate", "One prompt.", "Generate", batch("Hello world")),
    ("generate-named", "With a model's name, which the server ignores.", "Generate",
     {"model_id": "whoever"} | batch("Hello world")),
    ("generate-documented", "As the documents show it: no parameters at all, so that the "
     "server's limit holds.", "Generate", {"requests": [{"text": "Hello world"}]}),
    ("generate-batch", "Three prompts.", "Generate", batch("Hello world", "The licence", "You may")),
    ("generate-empty", "No prompt: an empty answer.", "Generate", {}),
    ("generate-detail", "All that can be told of tokens.", "Generate",
     batch("Hello world", response=DETAIL)),
    ("generate-stop", "Ended by a stop sequence, which stays in the text when nothing is said.",
     "Generate",
     batch("Hello world", stopping={"max_new_tokens": 24, "stop_sequences": [" cust"]})),
    ("generate-stop-excluded", "Ended by a stop sequence, which is left out.", "Generate",
     batch("Hello world", stopping={"max_new_tokens": 24, "stop_sequences": [" cust"],
                                    "include_stop_sequence": False})),
    ("generate-truncated", "The input cut to three tokens.", "Generate",
     batch("Hello wide world", truncate_input_tokens=3)),
    ("generate-cold", "Sampling at temperature 0.0, written down: greedy.", "Generate",
     batch("Hello world", method="SAMPLE", sampling={"temperature": 0.0, "seed": 7})),
    ("generate-seed", "Sampling with a seed, which is reported.", "Generate",
     batch("Hello world", method="SAMPLE", sampling={"temperature": 0.7, "seed": 7})),
    ("stream", "A stream.", "GenerateStream", single()),
    ("stream-stop", "A stream ended by a stop sequence.", "GenerateStream",
     single(stopping={"max_new_tokens": 24, "stop_sequences": [" cust"],
                      "include_stop_sequence": False})),
    ("stream-detail", "A stream with all that can be told of tokens.", "GenerateStream",
     single(response=DETAIL)),
    ("stream-text", "A stream with the prompt before the text.", "GenerateStream",
     single(response={"input_text": True})),
    ("tokenize", "Counts.", "Tokenize",
     {"requests": [{"text": "Hello world"}, {"text": "The licence"}]}),
    ("tokenize-offsets", "Tokens and where they stand.", "Tokenize",
     {"requests": [{"text": "Hello wörld"}], "return_tokens": True, "return_offsets": True}),
    ("tokenize-truncated", "The last two tokens.", "Tokenize",
     {"requests": [{"text": "Hello world"}], "return_tokens": True, "truncate_input_tokens": 2}),
    ("model-info", "Kind and limits of the model.", "ModelInfo", {"model_id": MODEL}),
    ("error-top-p", "Out of range.", "Generate",
     batch("Hello world", method="SAMPLE", sampling={"top_p": 2.0})),
    ("error-too-many", "More new tokens than the server allows.", "Generate",
     batch("Hello world", stopping={"max_new_tokens": 5000})),
    ("error-minimum", "A minimum above the maximum.", "Generate",
     batch("Hello world", stopping={"max_new_tokens": 4, "min_new_tokens": 8})),
    ("error-too-long", "A prompt longer than the model takes.", "Generate", batch("a " * 1030)),
    ("error-detail", "Detail of tokens that were not asked for.", "Generate",
     batch("Hello world", response={"token_logprobs": True})),
    ("error-stops", "Seven stop sequences.", "Generate",
     batch("Hello world", stopping={"stop_sequences": list("abcdefg")})),
    ("error-stream-top-p", "Out of range, in a stream.", "GenerateStream",
     single(method="SAMPLE", sampling={"top_p": 2.0})),
    ("error-stream-empty", "A stream without a request.", "GenerateStream", {}),
]


def rest(base, method, path, body, headers):
    parts = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)
    text = body if body is None or isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    data = b"" if text is None else text.encode()
    if text is not None:
        connection.putheader("content-length", str(len(data)))
    connection.endheaders(data)
    answer = connection.getresponse()
    request = {"method": method, "path": path, "headers": headers}
    if text is not None:
        request["body"] = text
    return {
        "request": request,
        "response": {
            "status": answer.status,
            "headers": {k.lower(): v for k, v in answer.getheaders() if k.lower() in KEPT},
            "body": answer.read().decode().replace(HOME, "/home/somebody"),
        },
    }


def same(data):
    return data


def call(channel, pb2, path, message, request_type, response_type, streams):
    request = json_format.ParseDict(message, getattr(pb2, request_type)())
    raw = request.SerializeToString()
    make = channel.unary_stream if streams else channel.unary_unary
    method = make(path, request_serializer=same, response_deserializer=same)
    messages, code, told = [], 0, ""
    try:
        if streams:
            for data in method(raw, timeout=300):
                messages.append(data)
        else:
            messages.append(method(raw, timeout=300))
    except grpc.RpcError as problem:
        code, told = problem.code().value[0], problem.details()

    def shown(kind, data):
        parsed = getattr(pb2, kind).FromString(data)
        return json_format.MessageToDict(parsed, preserving_proto_field_name=True)

    return {
        "request": {
            "path": path,
            "messages": [raw.hex()],
            "shown": [shown(request_type, raw)],
        },
        "response": {
            "messages": [data.hex() for data in messages],
            "shown": [shown(response_type, data) for data in messages],
            "code": code,
            "message": told,
        },
    }


def write(folder, name, about, exchange):
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about} | exchange, ensure_ascii=False, indent=2)
    (folder / f"{name}.json").write_text(text + "\n")
    print(f"{folder.name}/{name}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--url", default="http://127.0.0.1:18100")
    arguments.add_argument("--grpc", default="127.0.0.1:18133")
    arguments.add_argument("--out", type=pathlib.Path, default=ROOT / "tests" / "transcripts")
    given = arguments.parse_args()

    for name, about, method, path, body, headers in OPENAI:
        write(given.out / "openai", name, about, rest(given.url, method, path, body, headers))

    pb2, _ = stubs.load("generation.proto")
    service = pb2.DESCRIPTOR.services_by_name["GenerationService"]
    with grpc.insecure_channel(given.grpc) as channel:
        for name, about, method, message in TGIS:
            described = service.methods_by_name[method]
            path = f"/{service.full_name}/{method}"
            exchange = call(channel, pb2, path, message, described.input_type.name,
                            described.output_type.name, method == "GenerateStream")
            write(given.out / "tgis", name, about, exchange)


if __name__ == "__main__":
    main()
