"""Writes down what a real caikit runtime answers, as record.py does of the other servers.

    tests/real/caikit.sh &
    target/venv/bin/python tests/real/record_caikit.py

Everything is asked over both surfaces: `rest-NAME.json` and `grpc-NAME.json` in
tests/transcripts/caikit. What the models of that script say is fixed, identifiers are not.
"""

import argparse
import pathlib
import types

import record  # beside this file; it knows where the clients' helpers are
import grpc

import stubs

GENERATOR, EMBEDDER = "generator", "embedder"
TEXT = "Which ferry crosses the wide, wide water?"
DETAIL = {
    "preserve_input_text": True, "input_tokens": True, "generated_tokens": True,
    "token_logprobs": True, "token_ranks": True,
}
SAMPLED = {
    "decoding_method": "SAMPLING", "temperature": 0.75, "top_k": 5, "top_p": 0.5,
    "typical_p": 0.25, "seed": 7, "repetition_penalty": 1.25, "max_time": 2.5,
    "exponential_decay_length_penalty": {"start_index": 2, "decay_factor": 1.5},
}
DOCUMENTS = [{"text": "A bridge.", "n": 1}, {"_text": "A ferry."}, {"other": None}]
PAIR = ["A ferry.", "A bridge."]

# name, what it shows, task (REST), method (gRPC), model, inputs as REST writes them, their names
# as gRPC does, parameters
BOTH = [
    ("generate", "A text at once.", "text-generation", "TextGenerationTaskPredict", GENERATOR,
     TEXT, "text", {}),
    ("generate-short", "A limit of new tokens, and a cut of the input.", "text-generation",
     "TextGenerationTaskPredict", GENERATOR, TEXT, "text",
     {"max_new_tokens": 2, "truncate_input_tokens": 3}),
    ("generate-detail", "All that can be told of tokens.", "text-generation",
     "TextGenerationTaskPredict", GENERATOR, TEXT, "text", DETAIL),
    ("generate-stop", "Ended by a stop sequence.", "text-generation", "TextGenerationTaskPredict",
     GENERATOR, TEXT, "text", {"stop_sequences": ["the"], "include_stop_sequence": True}),
    ("generate-sampled", "Every parameter of sampling.", "text-generation",
     "TextGenerationTaskPredict", GENERATOR, TEXT, "text", SAMPLED),
    ("generate-letters", "Letters of many scripts, quotes and controls.", "text-generation",
     "TextGenerationTaskPredict", GENERATOR, "fähre \"渡し\" 😀 \u0001 \\ \u2028", "text", {}),
    ("stream", "A stream.", "server-streaming-text-generation",
     "ServerStreamingTextGenerationTaskPredict", GENERATOR, TEXT, "text", {}),
    ("stream-detail", "A stream with all that can be told of tokens.",
     "server-streaming-text-generation", "ServerStreamingTextGenerationTaskPredict", GENERATOR,
     TEXT, "text", DETAIL | {"max_new_tokens": 3}),
    ("embedding", "One vector.", "embedding", "EmbeddingTaskPredict", EMBEDDER, PAIR[0], "text",
     {}),
    ("embedding-cut", "One vector of a text that is cut.", "embedding", "EmbeddingTaskPredict",
     EMBEDDER, TEXT, "text", {"truncate_input_tokens": 2}),
    ("embedding-uncut", "One vector of a text that is not cut, however long it is.", "embedding",
     "EmbeddingTaskPredict", EMBEDDER, "word " * 70, "text", {"truncate_input_tokens": -1}),
    ("embedding-tasks", "Several vectors.", "embedding-tasks", "EmbeddingTasksPredict", EMBEDDER,
     PAIR, "texts", {}),
    ("similarity", "One sentence and others.", "sentence-similarity",
     "SentenceSimilarityTaskPredict", EMBEDDER,
     {"source_sentence": PAIR[0], "sentences": PAIR}, None, {}),
    ("similarity-tasks", "Several sentences and others.", "sentence-similarity-tasks",
     "SentenceSimilarityTasksPredict", EMBEDDER,
     {"source_sentences": PAIR, "sentences": PAIR}, None, {}),
    ("rerank", "A ranking with all that it can give back.", "rerank", "RerankTaskPredict",
     EMBEDDER, {"query": PAIR[0], "documents": DOCUMENTS}, None, {}),
    ("rerank-bare", "A ranking of places and scores, of the best.", "rerank", "RerankTaskPredict",
     EMBEDDER, {"query": PAIR[0], "documents": DOCUMENTS}, None,
     {"top_n": 1, "return_documents": False, "return_query": False, "return_text": False}),
    ("rerank-tasks", "Several queries.", "rerank-tasks", "RerankTasksPredict", EMBEDDER,
     {"queries": PAIR, "documents": DOCUMENTS}, None, {"top_n": 2}),
    ("tokenization", "Tokens and where they stand.", "tokenization", "TokenizationTaskPredict",
     EMBEDDER, "fähre 😀 渡し", "text", {}),
    ("tokenization-count", "The count alone.", "tokenization", "TokenizationTaskPredict",
     GENERATOR, TEXT, "text", {}),
    ("error-model", "A model that is not there.", "text-generation", "TextGenerationTaskPredict",
     "no-such-model", TEXT, "text", {}),
    ("error-model-stream", "A model that is not there, in a stream.",
     "server-streaming-text-generation", "ServerStreamingTextGenerationTaskPredict",
     "no-such-model", TEXT, "text", {}),
    ("error-greedy", "Sampling that was not asked for by name.", "text-generation",
     "TextGenerationTaskPredict", GENERATOR, TEXT, "text", {"temperature": 0.5}),
    ("error-too-long", "A text that is too long for the model.", "embedding",
     "EmbeddingTaskPredict", EMBEDDER, "word " * 70, "text", {}),
    ("error-no-documents", "Nothing to rank.", "rerank", "RerankTaskPredict", EMBEDDER,
     {"query": PAIR[0], "documents": []}, None, {}),
]

JSON = {"content-type": "application/json"}
GENERATE = "/api/v1/task/text-generation"


def given(**more):
    return {"model_id": GENERATOR, "inputs": TEXT} | more


# name, what it shows, method, path, body, headers
REST = [
    ("models", "The list of models.", "GET", "/info/models", None, {}),
    ("models-one", "One model of the list.", "GET", "/info/models?model_ids=embedder", None, {}),
    ("models-unknown", "A model that is not there.", "GET", "/info/models?model_ids=nope", None,
     {}),
    ("version", "The runtime's version.", "GET", "/info/version", None, {}),
    ("health", "A healthy runtime.", "GET", "/health", None, {}),
    ("error-nameless", "No model.", "POST", GENERATE, {"inputs": TEXT}, JSON),
    ("error-empty", "A text without a letter.", "POST", GENERATE, given(inputs=""), JSON),
    ("error-extra", "Members that nobody knows.", "POST", GENERATE, given(x=1, y={}), JSON),
    ("error-inputs", "A text that is a number.", "POST", GENERATE, given(inputs=5), JSON),
    ("error-parameters", "Parameters of other types.", "POST", GENERATE,
     given(parameters={"foo": 1, "max_new_tokens": "x", "min_new_tokens": 1.5, "seed": [],
                       "temperature": "warm", "stop_sequences": ["a", 3],
                       "input_tokens": "maybe"}), JSON),
    ("error-not-json", "No JSON.", "POST", GENERATE, "{bad", JSON),
    ("error-not-an-object", "JSON that is no object.", "POST", GENERATE, "[1]", JSON),
    ("error-documents", "Documents that are texts.", "POST", "/api/v1/task/rerank",
     {"model_id": EMBEDDER, "inputs": {"query": "a", "documents": ["x"], "y": 1}}, JSON),
    ("error-no-parameters", "Parameters of a task that has none.", "POST",
     "/api/v1/task/tokenization",
     {"model_id": EMBEDDER, "inputs": "a", "parameters": {}}, JSON),
    ("error-media-type", "A parameter in the media type.", "POST", GENERATE, given(),
     {"content-type": "application/json; charset=utf-8"}),
    ("lenient", "Numbers as strings, and truths in other words.", "POST", GENERATE,
     given(parameters={"max_new_tokens": "3", "min_new_tokens": 1.0, "preserve_input_text": "on",
                       "generated_tokens": 1}), JSON),
    ("error-path", "A path that is not there.", "GET", "/info/runtime", None, {}),
    ("error-method", "A method that is not there.", "GET", GENERATE, None, {}),
]


def message(inputs, name, parameters):
    return ({name: inputs} if name else dict(inputs)) | parameters


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:18180")
    parser.add_argument("--grpc", default="127.0.0.1:18185")
    parser.add_argument("--out", type=pathlib.Path, default=record.ROOT / "tests" / "transcripts")
    arguments = parser.parse_args()
    folder = arguments.out / "caikit"

    def rest(name, about, *request):
        record.write(folder, f"rest-{name}", about, record.rest(arguments.url, *request))

    for name, about, method, path, body, headers in REST:
        rest(name, about, method, path, body, headers)
    nlp, _ = stubs.load("caikit/nlp_service.proto")
    service = nlp.DESCRIPTOR.services_by_name["NlpService"]
    with grpc.insecure_channel(arguments.grpc) as plain:
        for name, about, task, method, model, inputs, argument, parameters in BOTH:
            body = {"model_id": model, "inputs": inputs}
            body |= {"parameters": parameters} if parameters else {}
            rest(name, about, "POST", f"/api/v1/task/{task}", body, JSON)
            found = service.methods_by_name[method]
            kinds = types.SimpleNamespace(
                request=stubs.class_of(found.input_type), answer=stubs.class_of(found.output_type)
            )
            channel = grpc.intercept_channel(plain, Named(model))
            exchange = record.call(channel, kinds, f"/{service.full_name}/{method}",
                                   message(inputs, argument, parameters), "request", "answer",
                                   found.server_streaming)
            exchange["request"]["model"] = model
            record.write(folder, f"grpc-{name}", about, exchange)


class Named(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Says in each call's metadata which model it is for."""

    def __init__(self, model):
        self.metadata = [("mm-model-id", model)]

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(details._replace(metadata=self.metadata), request)

    def intercept_unary_stream(self, continuation, details, request):
        return continuation(details._replace(metadata=self.metadata), request)


if __name__ == "__main__":
    main()
