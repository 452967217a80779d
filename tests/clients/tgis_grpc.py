"""A TGIS client: grpcio, with stubs made from proto/generation.proto."""

import concurrent.futures
import os

# The library tells of refused certificates by itself, which here is what is wanted.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402

import stubs  # noqa: E402
from checks import arguments, check, equal, expect, raises, run, skip  # noqa: E402

PROMPT = "The ferry crosses the"
ENDED = {"MAX_TOKENS", "EOS_TOKEN", "STOP_SEQUENCE", "TOKEN_LIMIT"}

pb, services = stubs.load("generation.proto")


class Context:
    def __init__(self, given):
        self.given = given
        self.model = given.model
        self.channel = self.connect()
        self.stub = services.GenerationServiceStub(self.channel)

    def connect(self, trusted=True):
        """A channel: with TLS when there is an authority to trust."""
        if not self.given.ca:
            return grpc.insecure_channel(self.given.grpc)
        roots = open(self.given.ca, "rb").read() if trusted else None
        return grpc.secure_channel(self.given.grpc, grpc.ssl_channel_credentials(roots))

    def metadata(self, token=None):
        token = token or self.given.token
        return [("authorization", f"Bearer {token}")] if token else []

    def ask(self, method, message, stub=None, **named):
        named = {"timeout": 120, "metadata": self.metadata()} | named
        return getattr(stub or self.stub, method)(message, **named)

    def generate(self, *texts, model=None, new=12, named=None, **params):
        return self.ask("Generate", self.batch(*texts, model=model, new=new, **params),
                        **(named or {}))

    def batch(self, *texts, model=None, new=12, stopping=None, **params):
        return pb.BatchedGenerationRequest(
            model_id=self.model if model is None else model,
            requests=[pb.GenerationRequest(text=text) for text in texts],
            params=self.params(new, stopping, params),
        )

    def single(self, text=PROMPT, model=None, new=12, stopping=None, **params):
        return pb.SingleGenerationRequest(
            model_id=self.model if model is None else model,
            request=pb.GenerationRequest(text=text),
            params=self.params(new, stopping, params),
        )

    def params(self, new, stopping, params):
        stopping = {"max_new_tokens": new} | (stopping or {})
        return pb.Parameters(stopping=pb.StoppingCriteria(**stopping), **params)

    def stream(self, *given, named=None, **params):
        return self.ask("GenerateStream", self.single(*given, **params), **(named or {}))

    def only_a_proxy(self):
        if self.given.direct:
            skip("only a proxy does that")


def reason(response):
    return pb.StopReason.Name(response.stop_reason)


def code(problem, wanted):
    equal(problem.code(), wanted, f"status ({problem.details()!r})")


def gather(stream):
    """Text and last message of a stream; every message must be in its place."""
    messages = list(stream)
    expect(len(messages) >= 2, "too few messages", messages)
    first, *later = messages
    expect(first.input_token_count > 0, "the first message counts no input", first)
    equal(first.generated_token_count, 0, "generated_token_count of the first message")
    equal(reason(first), "NOT_FINISHED", "stop_reason of the first message")
    counted = 0
    for at, message in enumerate(later):
        expect(message.generated_token_count >= counted, "the count goes back", message)
        counted = message.generated_token_count
        equal(message.input_token_count, 0, "input_token_count of a later message")
        last = at == len(later) - 1
        equal(reason(message) != "NOT_FINISHED", last, f"message {at + 1} of {len(later)} is last")
    return "".join(message.text for message in messages), first, later[-1]


@check
def generate_answers(cx):
    response = cx.generate(PROMPT).responses
    equal(len(response), 1, "number of responses")
    one = response[0]
    expect(one.text, "no text")
    expect(one.input_token_count > 0, "no input tokens")
    expect(0 < one.generated_token_count <= 12, "generated tokens", one.generated_token_count)
    expect(reason(one) in ENDED, "stop_reason", reason(one))
    if reason(one) == "MAX_TOKENS":
        equal(one.generated_token_count, 12, "generated tokens at the limit")


@check
def generate_is_greedy_by_default(cx):
    equal(cx.generate(PROMPT).responses[0].text, cx.generate(PROMPT).responses[0].text, "text")


@check
def generate_needs_no_parameters(cx):
    message = pb.BatchedGenerationRequest(requests=[pb.GenerationRequest(text=PROMPT)])
    message.model_id = cx.model
    equal(len(cx.ask("Generate", message).responses), 1, "number of responses")


@check
def generate_takes_the_default_model(cx):
    equal(len(cx.generate(PROMPT, model="").responses), 1, "number of responses")


@check
def generate_answers_a_batch_in_order(cx):
    texts = [PROMPT, "A gate", "Bridges and"]
    together = cx.generate(*texts).responses
    equal(len(together), 3, "number of responses")
    for text, response in zip(texts, together, strict=True):
        alone = cx.generate(text).responses[0]
        equal(response.text, alone.text, f"text after {text!r}")
        equal(response.input_token_count, alone.input_token_count, "input tokens")
        equal(response.generated_token_count, alone.generated_token_count, "generated tokens")


@check
def an_empty_batch_is_answered_empty(cx):
    equal(len(cx.generate().responses), 0, "number of responses")


@check
def the_input_stands_before_the_text(cx):
    plain = cx.generate(PROMPT).responses[0].text
    echoed = cx.generate(PROMPT, response=pb.ResponseOptions(input_text=True)).responses[0].text
    equal(echoed, PROMPT + plain, "text")


@check
def a_stream_has_the_same_text(cx):
    whole = cx.generate(PROMPT).responses[0]
    text, first, last = gather(cx.stream())
    equal(text, whole.text, "streamed text")
    equal(reason(last), reason(whole), "stop_reason")
    equal(first.input_token_count, whole.input_token_count, "input tokens")
    equal(last.generated_token_count, whole.generated_token_count, "generated tokens")


@check
def a_stream_begins_with_the_input_when_asked(cx):
    plain = cx.generate(PROMPT).responses[0].text
    text, _, _ = gather(cx.stream(response=pb.ResponseOptions(input_text=True)))
    equal(text, PROMPT + plain, "text")


@check
def a_stop_sequence_ends_the_text(cx):
    text = cx.generate(PROMPT, new=24).responses[0].text
    middle = len(text) // 2
    stop = text[middle : middle + 3]
    expect(len(stop) == 3, "too little text for a stop sequence", text)
    before = text[: text.index(stop)]
    for include, wanted in ((True, before + stop), (False, before)):
        stopping = {"stop_sequences": [stop], "include_stop_sequence": include}
        whole = cx.generate(PROMPT, new=24, stopping=stopping).responses[0]
        equal(whole.text, wanted, f"text until {stop!r}, included: {include}")
        equal(reason(whole), "STOP_SEQUENCE", "stop_reason")
        equal(whole.stop_sequence, stop, "stop_sequence")
        streamed, _, last = gather(cx.stream(new=24, stopping=stopping))
        equal(streamed, wanted, "streamed text")
        equal(last.stop_sequence, stop, "streamed stop_sequence")


@check
def any_script_is_understood(cx):
    prompt = 'Zölle — 通行料 🚪 "quoted" \\ \t\n'
    whole = cx.generate(prompt).responses[0]
    text, _, _ = gather(cx.stream(prompt))
    equal(text, whole.text, "streamed text")


@check
def tokens_are_reported_when_asked(cx):
    detail = pb.ResponseOptions(generated_tokens=True, token_logprobs=True)
    response = cx.generate(PROMPT, response=detail).responses[0]
    equal(len(response.tokens), response.generated_token_count, "number of tokens")
    for token in response.tokens:
        expect(token.logprob < 0 or token.logprob == 0, "a log probability", token)


@check
def tokens_are_counted_as_generate_counts_them(cx):
    message = pb.BatchedTokenizeRequest(
        model_id=cx.model, requests=[pb.TokenizeRequest(text=PROMPT)]
    )
    count = cx.ask("Tokenize", message).responses[0].token_count
    equal(count, cx.generate(PROMPT).responses[0].input_token_count, "count")


@check
def tokens_of_several_texts_are_counted_in_order(cx):
    texts = [PROMPT, "A gate"]
    message = pb.BatchedTokenizeRequest(
        model_id=cx.model, requests=[pb.TokenizeRequest(text=text) for text in texts]
    )
    try:
        responses = cx.ask("Tokenize", message).responses
    except grpc.RpcError as problem:
        if problem.code() == grpc.StatusCode.UNIMPLEMENTED:
            skip(problem.details())
        raise
    wanted = [response.input_token_count for response in cx.generate(*texts).responses]
    equal([response.token_count for response in responses], wanted, "counts")


@check
def tokens_are_shown_when_asked(cx):
    message = pb.BatchedTokenizeRequest(
        model_id=cx.model, requests=[pb.TokenizeRequest(text=PROMPT)], return_tokens=True
    )
    response = cx.ask("Tokenize", message).responses[0]
    equal(len(response.tokens), response.token_count, "number of tokens")


@check
def the_model_tells_its_limits(cx):
    info = cx.ask("ModelInfo", pb.ModelInfoRequest(model_id=cx.model))
    expect(info.max_sequence_length > 0, "no max_sequence_length", info)


@check
def values_out_of_range_are_refused(cx):
    sampling = pb.SamplingParameters(top_p=2.0)
    cases = [
        ({"stopping": {"max_new_tokens": 4, "min_new_tokens": 8}},
         "min_new_tokens must be <= max_new_tokens"),
        ({"method": pb.SAMPLE, "sampling": sampling}, "top_p must be > 0.0 and <= 1.0"),
        ({"stopping": {"stop_sequences": list("abcdefg")}},
         "can specify at most 6 non-empty stop sequences, each not more than 240 UTF8 bytes"),
        ({"response": pb.ResponseOptions(token_logprobs=True)},
         "must request input and/or generated tokens to request extra token detail"),
    ]
    for params, told in cases:
        for call in (lambda: cx.generate(PROMPT, **params), lambda: list(cx.stream(**params))):
            problem = raises(grpc.RpcError, call)
            code(problem, grpc.StatusCode.INVALID_ARGUMENT)
            equal(problem.details(), told, "message")


@check
def a_stream_without_a_request_is_refused(cx):
    cx.only_a_proxy()
    message = pb.SingleGenerationRequest(model_id=cx.model)
    problem = raises(grpc.RpcError, lambda: list(cx.ask("GenerateStream", message)))
    code(problem, grpc.StatusCode.INVALID_ARGUMENT)


@check
def an_unknown_model_is_not_found(cx):
    cx.only_a_proxy()
    problem = raises(grpc.RpcError, cx.generate, PROMPT, model="no-such-model")
    code(problem, grpc.StatusCode.NOT_FOUND)
    expect("no-such-model" in problem.details(), "the message does not name it", problem.details())
    problem = raises(grpc.RpcError, lambda: list(cx.stream(model="no-such-model")))
    code(problem, grpc.StatusCode.NOT_FOUND)


@check
def an_unknown_method_is_unimplemented(cx):
    method = cx.channel.unary_unary("/fmaas.GenerationService/Nothing")
    problem = raises(grpc.RpcError, method, b"", timeout=60, metadata=cx.metadata())
    code(problem, grpc.StatusCode.UNIMPLEMENTED)


@check
def garbage_is_refused(cx):
    cx.only_a_proxy()
    method = cx.channel.unary_unary("/fmaas.GenerationService/Generate")
    problem = raises(grpc.RpcError, method, b"\x1a\xff", timeout=60, metadata=cx.metadata())
    code(problem, grpc.StatusCode.INVALID_ARGUMENT)


@check
def without_the_right_token_nobody_is_served(cx):
    if not cx.given.token:
        skip("no --token")
    for metadata in ([], cx.metadata("wrong"), [("authorization", cx.given.token)]):
        problem = raises(grpc.RpcError, cx.generate, PROMPT, named={"metadata": metadata})
        code(problem, grpc.StatusCode.UNAUTHENTICATED)
    problem = raises(grpc.RpcError, lambda: list(cx.stream(named={"metadata": []})))
    code(problem, grpc.StatusCode.UNAUTHENTICATED)


@check
def an_unknown_authority_is_refused(cx):
    if not cx.given.ca:
        skip("no --ca")
    with cx.connect(trusted=False) as channel:
        stub = services.GenerationServiceStub(channel)
        call = lambda: cx.ask("Generate", cx.batch(PROMPT), stub, timeout=10)  # noqa: E731
        code(raises(grpc.RpcError, call), grpc.StatusCode.UNAVAILABLE)


@check
def compressed_requests_are_read(cx):
    wanted = cx.generate(PROMPT).responses[0].text
    for kind in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        found = cx.generate(PROMPT, named={"compression": kind}).responses[0].text
        equal(found, wanted, f"text, asked by {kind}")


@check
def a_deadline_ends_the_call_and_nothing_else(cx):
    wanted = cx.generate(PROMPT).responses[0].text
    problem = raises(grpc.RpcError, cx.generate, PROMPT, new=900, named={"timeout": 0.001})
    code(problem, grpc.StatusCode.DEADLINE_EXCEEDED)
    problem = raises(grpc.RpcError, lambda: list(cx.stream(new=900, named={"timeout": 0.001})))
    code(problem, grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(cx.generate(PROMPT).responses[0].text, wanted, "text")


@check
def cancelled_streams_harm_nobody(cx):
    wanted = cx.generate(PROMPT).responses[0].text
    for _ in range(24):
        stream = cx.stream(new=900)
        next(stream)
        stream.cancel()
        problem = raises(grpc.RpcError, lambda: list(stream))
        code(problem, grpc.StatusCode.CANCELLED)
    equal(cx.generate(PROMPT).responses[0].text, wanted, "text")


@check
def many_at_once_get_their_own_answers(cx):
    prompts = [f"{word} {PROMPT}" for word in ("At dawn", "By night", "In rain", "In snow")]
    wanted = [cx.generate(prompt).responses[0].text for prompt in prompts]

    def ask(job):
        prompt, streamed = job
        if streamed:
            return gather(cx.stream(prompt))[0]
        return cx.generate(prompt).responses[0].text

    jobs = [(prompt, streamed) for streamed in (False, True, False, True) for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        equal(list(pool.map(ask, jobs)), wanted * 4, "texts")


if __name__ == "__main__":
    given = arguments(__doc__).parse_args()
    if not given.grpc:
        raise SystemExit("--grpc is needed")
    run(given, Context(given))
