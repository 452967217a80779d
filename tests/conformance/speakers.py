"""A client of each protocol, which asks for a task and tells what came back in one form for all.

A text is `{"text", "input", "output", "reason"}`: tokens read and written, and why it ended, `limit`,
`end` or `stop` (a stop sequence). What a protocol cannot tell is left out, and then not compared.
"""

import json

import openai_cases
import tensor_cases
import tgis_cases
from cell import Refusal

LIMIT, END, STOP = "limit", "end", "stop"
NAMED = {"MAX_TOKENS": LIMIT, "TOKEN_LIMIT": LIMIT, "EOS_TOKEN": END, "STOP_SEQUENCE": STOP}


def text(said, input_tokens=None, output_tokens=None, reason=None):
    told = {"text": said, "input": input_tokens, "output": output_tokens, "reason": reason}
    return {name: value for name, value in told.items() if value is not None}


class OpenAi:
    """Completions, embeddings, rerank, score, tokenize."""

    def __init__(self, url, model, token=None, ca=None):
        self.target = openai_cases.Target(url, model, token, ca)

    def ended(self, choice):
        if choice["finish_reason"] != "stop":
            return {"length": LIMIT}.get(choice["finish_reason"], choice["finish_reason"])
        return STOP if isinstance(choice.get("stop_reason"), str) else END

    def generate(self, prompt, limit, stop, streamed):
        fields = {"prompt": prompt, "max_tokens": limit, "temperature": 0, "stop": stop or None}
        return self.told(self.ask("/v1/completions", fields, streamed), streamed)

    def chat(self, messages, limit, stop, streamed):
        fields = {"messages": messages, "max_tokens": limit, "temperature": 0, "stop": stop or None}
        return self.told(self.ask("/v1/chat/completions", fields, streamed), streamed)

    def ask(self, path, fields, streamed):
        if streamed:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return self.target.ask(path, fields, streamed)

    def told(self, answer, streamed):
        pieces = answer if streamed else [answer]
        choices = [choice for piece in pieces for choice in piece["choices"]]
        usage = next((piece["usage"] for piece in reversed(pieces) if piece.get("usage")), {})
        last = next(choice for choice in reversed(choices) if choice.get("finish_reason"))

        def words(choice):
            inner = choice.get("delta" if streamed else "message")
            return (choice.get("text") if inner is None else inner.get("content")) or ""

        said = "".join(map(words, choices))
        counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
        return text(said, *counts, self.ended(last))

    def batch(self, prompts, limit):
        fields = {"prompt": prompts, "max_tokens": limit, "temperature": 0}
        answer = self.target.ask("/v1/completions", fields, False)
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [text(choice["text"], reason=self.ended(choice)) for choice in choices]

    def embed(self, texts):
        answer = self.target.ask("/v1/embeddings", {"input": texts}, False)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return {"vectors": [row["embedding"] for row in rows], "input": answer["usage"]["prompt_tokens"]}

    def rerank(self, query, documents, path="/rerank"):
        answer = self.target.ask(path, {"query": query, "documents": documents}, False)
        return {row["index"]: row["relevance_score"] for row in answer["results"]}

    def similarity(self, source, sentences):
        answer = self.target.ask("/score", {"text_1": source, "text_2": sentences}, False)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return [row["score"] for row in rows]

    def tokenize(self, words):
        return self.target.ask("/tokenize", {"prompt": words}, False)["count"]


class Tgis:
    """fmaas.GenerationService."""

    def __init__(self, address, model, token=None, ca=None):
        self.target = tgis_cases.Target(address, model, token, ca)

    def params(self, limit, stop):
        return {"stopping": {"max_new_tokens": limit, "stop_sequences": stop, "include_stop_sequence": False}}

    def one(self, answer):
        return text(
            answer["text"], answer["input"], answer["generated"], NAMED.get(answer["reason"], answer["reason"])
        )

    def generate(self, prompt, limit, stop, streamed):
        params = self.params(limit, stop)
        if streamed:
            kind = tgis_cases.pb.SingleGenerationRequest
            fields = {"request": {"text": prompt}, "params": params}
            return self.one(tgis_cases.gathered(self.target.call("GenerateStream", kind, fields)))
        kind = tgis_cases.pb.BatchedGenerationRequest
        fields = {"requests": [{"text": prompt}], "params": params}
        return self.one(tgis_cases.plain(self.target.call("Generate", kind, fields).responses[0]))

    def batch(self, prompts, limit):
        kind = tgis_cases.pb.BatchedGenerationRequest
        fields = {"requests": [{"text": prompt} for prompt in prompts], "params": self.params(limit, [])}
        answer = self.target.call("Generate", kind, fields)
        return [self.one(tgis_cases.plain(one)) for one in answer.responses]

    def tokenize(self, words):
        kind = tgis_cases.pb.BatchedTokenizeRequest
        answer = self.target.call("Tokenize", kind, {"requests": [{"text": words}]})
        return answer.responses[0].token_count


class Caikit:
    """The caikit runtime's tasks, over either surface."""

    def __init__(self, target, model):
        self.target, self.model = target, model

    def task(self, name, method, inputs, argument, parameters=()):
        return self.target.task(name, method, self.model, inputs, argument, dict(parameters))

    def generate(self, prompt, limit, stop, streamed):
        parameters = {"max_new_tokens": limit}
        if stop:
            # Left alone, the module's own habit would decide.
            parameters |= {"stop_sequences": stop, "include_stop_sequence": False}
        name, method = "text-generation", "TextGenerationTaskPredict"
        if streamed:
            name, method = f"server-streaming-{name}", f"ServerStreaming{method}"
        answer = self.task(name, method, prompt, "text", parameters)
        if isinstance(answer, list):
            raise Refusal(answer[1], "an error event")
        if not streamed:
            number = answer.get("input_token_count"), answer.get("generated_tokens")
            counts = [None if count is None else int(count) for count in number]
            said, reason = answer["generated_text"], answer["finish_reason"]
        else:
            end = answer["end"]
            counts = [int(count) for count in [*answer["input"], end["generated_tokens"] or 0]]
            said, reason = answer["text"], end["finish_reason"]
        return text(said, *counts, NAMED.get(reason, reason))

    def embed(self, texts):
        answer = self.task("embedding-tasks", "EmbeddingTasksPredict", texts, "texts")
        rows = answer["results"]["vectors"]
        return {"vectors": [values(row) for row in rows], "input": int(answer["input_token_count"])}

    def embed_one(self, words):
        answer = self.task("embedding", "EmbeddingTaskPredict", words, "text")
        return {"vectors": [values(answer["result"])], "input": int(answer["input_token_count"])}

    def rerank(self, query, documents):
        inputs = {"query": query, "documents": [{"text": document} for document in documents]}
        answer = self.task("rerank", "RerankTaskPredict", inputs, None)
        return scored(answer["result"])

    def rerank_tasks(self, queries, documents):
        inputs = {"queries": queries, "documents": [{"text": document} for document in documents]}
        answer = self.task("rerank-tasks", "RerankTasksPredict", inputs, None)
        return [scored(one) for one in answer["results"]]

    def similarity(self, source, sentences):
        inputs = {"source_sentence": source, "sentences": sentences}
        answer = self.task("sentence-similarity", "SentenceSimilarityTaskPredict", inputs, None)
        return answer["result"]["scores"]

    def similarities(self, sources, sentences):
        inputs = {"source_sentences": sources, "sentences": sentences}
        answer = self.task("sentence-similarity-tasks", "SentenceSimilarityTasksPredict", inputs, None)
        return [one["scores"] for one in answer["results"]]

    def tokenize(self, words):
        answer = self.task("tokenization", "TokenizationTaskPredict", words, "text")
        return int(answer["token_count"])


def values(row):
    """A vector: over gRPC its form is the member that it stands in."""
    row = row.get("data", row)
    forms = [form for form in row.values() if isinstance(form, dict)]
    return (forms[0] if forms else row)["values"]


def scored(result):
    # A message leaves a zero out.
    return {int(one.get("index", 0)): one.get("score", 0.0) for one in result["scores"]}


class Generate:
    """Triton's generate extension, as its vLLM backend fills it."""

    FLAGS = ("exclude_input_in_output", "return_finish_reason", "return_num_input_tokens", "return_num_output_tokens")

    def __init__(self, url, model, token=None, ca=None):
        self.target, self.model = tensor_cases.Rest(url, token, ca), model

    def generate(self, prompt, limit, stop, streamed):
        body = {"text_input": prompt, "stream": streamed, "parameters": {"temperature": 0, "max_tokens": limit}}
        if stop:
            # What Triton takes in parameters are plain values: a list would have to be a tensor's.
            body["parameters"]["stop"] = stop[0]
        body |= dict.fromkeys(self.FLAGS, True)
        path = f"/v2/models/{self.model}/generate{'_stream' if streamed else ''}"
        _, answer = self.target.call("POST", path, json.dumps(body).encode(), {"content-type": "application/json"})
        pieces = [json.loads(answer)] if not streamed else [
            json.loads(line[5:]) for line in answer.decode().split("\n") if line.startswith("data:")
        ]
        for piece in pieces:
            if "error" in piece:
                raise Refusal(400, piece["error"])
        reason = {"length": LIMIT, "stop": None}.get(pieces[-1].get("finish_reason"))
        return text(
            "".join(piece["text_output"] for piece in pieces),
            pieces[-1].get("num_input_tokens"),
            sum(piece.get("num_output_tokens", 0) for piece in pieces) if streamed else pieces[-1].get("num_output_tokens"),
            # It has one word for the end and for a stop sequence.
            reason,
        )
