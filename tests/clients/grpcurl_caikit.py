"""grpcurl as a client of `caikit.runtime.Nlp.NlpService`, without a .proto file, as the documents
call it: by reflection.

`--model` generates, `--embedding-model` makes vectors.
"""

import json

from checks import check, equal, expect, skip
from grpcurl_tool import main

NLP = "caikit.runtime.Nlp.NlpService"
INFO = "caikit.runtime.info.InfoService"


def ask(cx, method, message, model):
    cx.header = f"mm-model-id: {model}"
    try:
        return cx.answers(f"{NLP}/{method}", data=json.dumps(message))
    finally:
        cx.header = None


def embedder(cx):
    if not cx.given.embedding_model:
        skip("no --embedding-model")
    return cx.given.embedding_model


@check
def services_are_listed(cx):
    listed = cx.ok("list").split()
    for name in (NLP, INFO):
        expect(name in listed, f"{name} is not listed", listed)
    methods = {line.rsplit(".", 1)[1] for line in cx.ok("list", NLP).split()}
    for name in ("EmbeddingTaskPredict", "EmbeddingTasksPredict", "SentenceSimilarityTaskPredict",
                 "SentenceSimilarityTasksPredict", "RerankTaskPredict", "RerankTasksPredict",
                 "TextGenerationTaskPredict", "ServerStreamingTextGenerationTaskPredict"):
        expect(name in methods, f"{name} is not listed", methods)


@check
def messages_are_described(cx):
    text = cx.ok("describe", f"{NLP}.EmbeddingTaskPredict")
    expect("EmbeddingTaskRequest" in text, "another message", text)
    text = cx.ok("describe", "caikit_data_model.caikit_nlp.EmbeddingResult")
    expect("result" in text, "no field for the vector", text)


@check
def models_are_listed(cx):
    [answer] = cx.answers(f"{INFO}/GetModelsInfo")
    expect(cx.model in [it["name"] for it in answer["models"]], "it is not listed", answer)
    [answer] = cx.answers(f"{INFO}/GetRuntimeInfo")
    expect(answer["runtime_version"], "no version", answer)


@check
def text_is_generated(cx):
    message = {"text": "The ferry crosses the", "max_new_tokens": 5}
    [whole] = ask(cx, "TextGenerationTaskPredict", message, cx.model)
    expect(whole["generated_text"], "nothing", whole)
    pieces = ask(cx, "ServerStreamingTextGenerationTaskPredict", message, cx.model)
    text = "".join(piece.get("generated_text", "") for piece in pieces)
    equal(text, whole["generated_text"], "the stream's text")


@check
def a_text_is_embedded(cx):
    [answer] = ask(cx, "EmbeddingTaskPredict", {"text": "A ferry."}, embedder(cx))
    arms = [it for name, it in answer["result"].items() if name.startswith("data")]
    expect(len(arms) == 1 and arms[0]["values"], "no vector", answer)


@check
def documents_are_ranked(cx):
    message = {"query": "A ferry.", "documents": [{"text": "A bridge."}, {"text": "A ferry."}]}
    [answer] = ask(cx, "RerankTaskPredict", message, embedder(cx))
    scores = answer["result"]["scores"]
    equal(scores[0].get("index"), "1", "the best")
    equal(scores[0]["document"], {"text": "A ferry."}, "its document")


@check
def sentences_are_compared(cx):
    message = {"source_sentence": "A ferry.", "sentences": ["A ferry.", "A bridge."]}
    [answer] = ask(cx, "SentenceSimilarityTaskPredict", message, embedder(cx))
    scores = answer["result"]["scores"]
    expect(len(scores) == 2 and scores[0] > scores[1], "odd scores", scores)


@check
def an_unknown_model_is_not_found(cx):
    cx.header = "mm-model-id: nobody"
    try:
        cx.refused("Code: NotFound", f"{NLP}/EmbeddingTaskPredict", data='{"text": "a"}')
    finally:
        cx.header = None


@check
def calls_need_a_token(cx):
    if not cx.given.token:
        skip("no --token")
    named = {"data": "{}", "proto": True, "token": False}
    cx.refused("Code: Unauthenticated", f"{INFO}/GetRuntimeInfo", **named)


if __name__ == "__main__":
    main(__doc__.splitlines()[0], "caikit/info_service.proto")
