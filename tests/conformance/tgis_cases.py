"""What is asked of fmaas.GenerationService, and what of the answers must be the same."""

import math

import grpc
from google.protobuf import json_format

import stubs
from cell import Case, Refusal
from openai_cases import LONG, SCRIPTS

pb, services = stubs.load("generation.proto")


class Target:
    """A server that speaks it. `model` is what it calls the model."""

    def __init__(self, address, model, token=None, ca=None):
        self.model = model
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        if ca:
            with open(ca, "rb") as file:
                trust = grpc.ssl_channel_credentials(file.read())
            channel = grpc.secure_channel(address, trust)
        else:
            channel = grpc.insecure_channel(address)
        self.stub = services.GenerationServiceStub(channel)

    def call(self, method, kind, fields):
        message = json_format.ParseDict({"model_id": self.model} | fields, kind())
        named = {"timeout": 300, "metadata": self.metadata, "wait_for_ready": True}
        try:
            if method == "GenerateStream":
                return list(self.stub.GenerateStream(message, **named))
            return getattr(self.stub, method)(message, **named)
        except grpc.RpcError as problem:
            raise Refusal(problem.code().name, problem.details()) from None


def token(info):
    return {
        "text": info.text,
        # The first token of a prompt has none: NaN, or nothing.
        "logprob": None if info.logprob == 0 or math.isnan(info.logprob) else info.logprob,
        "rank": info.rank,
        "top": {top.text: top.logprob for top in info.top_tokens},
    }


def plain(response):
    return {
        "text": response.text,
        "input": response.input_token_count,
        "generated": response.generated_token_count,
        "reason": pb.StopReason.Name(response.stop_reason),
        "stop": response.stop_sequence,
        "seed": response.seed,
        "tokens": [token(info) for info in response.tokens],
        "input_tokens": [token(info) for info in response.input_tokens],
    }


def gathered(messages):
    """A stream put together: where it was cut into messages is not compared."""
    last = plain(messages[-1])
    return last | {
        "text": "".join(message.text for message in messages),
        "input": messages[0].input_token_count,
        "seed": next((message.seed for message in messages if message.seed), 0),
        "tokens": [token(info) for message in messages for info in message.tokens],
        "input_tokens": [token(info) for message in messages for info in message.input_tokens],
    }


def spelled_otherwise(answer):
    """Without what vLLM's HTTP side has not: the vocabulary's spelling of a token, and the
    rank of one that was generated. The log probabilities stay."""
    if isinstance(answer, list):
        return [spelled_otherwise(one) for one in answer]
    return answer | {
        name: [
            {"logprob": one["logprob"], "top": sorted(one["top"].values())}
            for one in answer[name]
        ]
        for name in ("tokens", "input_tokens")
    }


def no_input_tokens(answer):
    """vLLM's streams do not tell of the prompt's tokens."""
    return spelled_otherwise(answer) | {"input_tokens": None}


def twenty(answer):
    """Who says nothing gets 20 tokens from the original server, and from Tollgate; the adapter
    goes on until the context is full."""
    if isinstance(answer, list):
        return [twenty(one) for one in answer]
    return {"input": answer["input"], "text": answer["text"][:20]}


def timed(answer):
    """How far one gets in a given time is not fixed; why it ended is."""
    return {"input": answer["input"], "reason": answer["reason"]}


def generation(name, texts=("Hello world",), loose=None, stream_loose=None,
               refused=(), new=12, view=None, stopping=None, unary=True, **params):
    params = {"stopping": {"max_new_tokens": new} | (stopping or {})} | params
    batch = {"requests": [{"text": text} for text in texts], "params": params}
    view = view or (lambda answer: answer)

    def whole(target):
        answer = target.call("Generate", pb.BatchedGenerationRequest, batch)
        return view([plain(response) for response in answer.responses])

    def streamed(target):
        single = {"request": {"text": texts[0]}, "params": params}
        return view(gathered(target.call("GenerateStream", pb.SingleGenerationRequest, single)))

    if unary:
        yield Case(name, whole, False, refused, loose or {})
    if len(texts) == 1:
        yield Case(name, streamed, True, refused, stream_loose or loose or {})


def tokenized(fields):
    def ask(target):
        answer = target.call("Tokenize", pb.BatchedTokenizeRequest, fields)
        return [
            {
                "count": response.token_count,
                "tokens": list(response.tokens),
                "offsets": [[offset.start, offset.end] for offset in response.offsets],
            }
            for response in answer.responses
        ]

    return ask


def limits(target):
    answer = target.call("ModelInfo", pb.ModelInfoRequest, {})
    return {
        "kind": pb.ModelInfoResponse.ModelKind.Name(answer.model_kind),
        "max_sequence_length": answer.max_sequence_length,
        "max_new_tokens": answer.max_new_tokens,
    }


def cases():
    # Over HTTP vLLM tells what the model holds, and no second limit.
    one_limit = {"vllm": lambda answer: answer | {"max_new_tokens": None}}
    spelling = {"vllm": spelled_otherwise}
    yield from generation("generate")
    yield from generation("a batch", ("Hello world", "The licence", "You may"))
    yield from generation("a long prompt", (LONG,))
    yield from generation("any script", (SCRIPTS,))
    yield from generation("no limit given", new=0, loose={"vllm": twenty})
    yield from generation("a stop sequence, by habit", new=24,
                          stopping={"stop_sequences": [" cust"]})
    yield from generation("a stop sequence that stays", new=24,
                          stopping={"stop_sequences": [" cust"], "include_stop_sequence": True})
    yield from generation("a stop sequence that goes", new=24,
                          stopping={"stop_sequences": [" cust"], "include_stop_sequence": False})
    yield from generation("several stop sequences", new=24,
                          stopping={"stop_sequences": ["nowhere", "ari", "eff"]})
    yield from generation("at least so many", new=16,
                          stopping={"min_new_tokens": 6, "stop_sequences": ["ari"]})
    yield from generation("the input before the text", response={"input_text": True})
    detail = {"generated_tokens": True, "token_logprobs": True}
    yield from generation("tokens", response=detail, loose=spelling)
    yield from generation("tokens and alternatives", response=detail | {"top_n_tokens": 2},
                          loose=spelling)
    yield from generation("tokens of the input", response=detail | {"input_tokens": True},
                          loose=spelling, stream_loose={"vllm": no_input_tokens})
    yield from generation("a seed", method="SAMPLE", sampling={"temperature": 0.7, "seed": 7})
    yield from generation("sampling narrowed", method="SAMPLE",
                          sampling={"temperature": 0.7, "seed": 7, "top_p": 0.5, "top_k": 5})
    yield from generation("repetition penalty", decoding={"repetition_penalty": 1.5})
    # Unary, the adapter looks at the clock only when everything has been generated.
    yield from generation("a time limit", new=900, view=timed, unary=False,
                          stopping={"time_limit_millis": 60})
    yield from generation("typical_p", method="SAMPLE", refused=("vllm",),
                          sampling={"temperature": 0.7, "seed": 7, "typical_p": 0.5})
    yield from generation("length penalty", refused=("vllm",), decoding={
        "length_penalty": {"start_index": 2, "decay_factor": 1.5}})
    yield from generation("a prompt too long", (LONG * 3,))
    yield from generation("more than is allowed", new=5000)
    yield from generation("a minimum above the maximum", stopping={"min_new_tokens": 20})
    yield from generation("top_p out of range", method="SAMPLE", sampling={"top_p": 2.0})
    yield from generation("too many stop sequences",
                          stopping={"stop_sequences": list("abcdefg")})
    yield from generation("detail of nothing", response={"token_logprobs": True})
    yield from generation("nothing asked", ())
    one, several = [{"text": SCRIPTS}], [{"text": "Hello world"}, {"text": SCRIPTS}]
    shown = {"return_tokens": True}
    yield Case("tokenize", tokenized({"requests": one}))
    yield Case("tokenize, with tokens", tokenized({"requests": one} | shown))
    yield Case(
        "tokenize, with offsets",
        tokenized({"requests": one, "return_offsets": True} | shown),
        refused=("vllm",),
    )
    yield Case("tokenize several", tokenized({"requests": several}), refused=("vllm",))
    yield Case("model info", limits, loose=one_limit)
