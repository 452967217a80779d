"""The OpenAI Python SDK as a client: what it sends, and what it makes of the answers."""

import asyncio
import base64
import struct

import openai

from checks import arguments, check, equal, expect, raises, run, skip

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is a toll?"},
]
PROMPT = "The ferry crosses the"
MEANINGFUL = {"stop", "length"}


class Context:
    def __init__(self, given):
        self.given = given
        self.model = given.model
        self.client = self.make(openai.OpenAI)

    def make(self, kind, **changes):
        """A client of the SDK; retries would hide what is to be seen."""
        named = {
            "base_url": self.given.url.rstrip("/") + "/v1",
            "api_key": self.given.token or "none",
            "max_retries": 0,
            "timeout": 120,
        } | changes
        if self.given.ca and "http_client" not in changes:
            default = openai.DefaultAsyncHttpxClient if kind is openai.AsyncOpenAI else openai.DefaultHttpxClient
            named["http_client"] = default(verify=self.given.ca)
        return kind(**named)

    def chat(self, **changes):
        named = {"model": self.model, "messages": TALK, "max_tokens": 12, "temperature": 0}
        return self.client.chat.completions.create(**(named | changes))

    def complete(self, **changes):
        named = {"model": self.model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
        return self.client.completions.create(**(named | changes))

    def embed(self, **changes):
        if not self.given.embedding_model:
            skip("no --embedding-model")
        named = {"model": self.given.embedding_model, "input": "a ferry crosses the river"}
        return self.client.embeddings.create(**(named | changes))

    def needs_token(self):
        if not self.given.token:
            skip("no --token")


def counts_add_up(usage):
    expect(usage is not None, "no usage")
    expect(usage.prompt_tokens > 0, "no prompt tokens", usage)
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")


def gather(stream):
    """Text, reason and usage of a stream; its chunks must belong together."""
    text, reason, usage, seen, ids, chunks = "", None, None, False, set(), 0
    for chunk in stream:
        chunks += 1
        ids.add(chunk.id)
        if chunk.usage is not None:
            usage = chunk.usage
        if not chunk.choices:
            expect(chunk.usage is not None, "a chunk without choices and without usage", chunk)
            continue
        choice = chunk.choices[0]
        expect(reason is None, "a choice goes on after its finish_reason", chunk)
        if hasattr(choice, "delta"):
            seen = seen or choice.delta.role == "assistant"
            text += choice.delta.content or ""
        else:
            seen = True
            text += choice.text
        reason = choice.finish_reason
    expect(chunks > 1, "a stream of one chunk")
    expect(seen, "no chunk says the role")
    equal(len(ids), 1, "number of ids in one stream")
    return text, reason, usage


@check
def models_are_listed(cx):
    names = [model.id for model in cx.client.models.list()]
    expect(cx.model in names, f"{cx.model} is not listed", names)
    equal(len(names), len(set(names)), "number of names")


@check
def a_model_is_retrieved(cx):
    if cx.given.direct:
        skip("vLLM has no such path")
    model = cx.client.models.retrieve(cx.model)
    equal(model.id, cx.model, "id")
    equal(model.object, "model", "object")


@check
def an_unknown_model_is_not_retrieved(cx):
    problem = raises(openai.NotFoundError, cx.client.models.retrieve, "no-such-model")
    equal(problem.status_code, 404, "status")


@check
def chat_answers(cx):
    answer = cx.chat()
    choice = answer.choices[0]
    equal(answer.object, "chat.completion", "object")
    equal(answer.model, cx.model, "model")
    equal(choice.message.role, "assistant", "role")
    expect(choice.message.content, "no content")
    expect(choice.finish_reason in MEANINGFUL, "odd finish_reason", choice.finish_reason)
    counts_add_up(answer.usage)
    expect(0 < answer.usage.completion_tokens <= 12, "completion_tokens", answer.usage)
    if choice.finish_reason == "length":
        equal(answer.usage.completion_tokens, 12, "completion_tokens at the limit")


@check
def chat_takes_parts_of_text(cx):
    parts = [{"type": "text", "text": "What is a toll?"}]
    one = cx.chat(messages=[{"role": "user", "content": parts}])
    other = cx.chat(messages=[{"role": "user", "content": "What is a toll?"}])
    equal(one.choices[0].message.content, other.choices[0].message.content, "content")


@check
def chat_takes_the_newer_name_of_its_limit(cx):
    answer = cx.chat(max_completion_tokens=2, max_tokens=openai.NOT_GIVEN)
    expect(answer.usage.completion_tokens <= 2, "more tokens than allowed", answer.usage)


@check
def chat_streams_the_same_text(cx):
    whole = cx.chat()
    text, reason, usage = gather(cx.chat(stream=True))
    equal(text, whole.choices[0].message.content, "streamed text")
    equal(reason, whole.choices[0].finish_reason, "finish_reason")
    expect(usage is None, "usage that nobody asked for", usage)


@check
def chat_streams_usage_when_asked(cx):
    whole = cx.chat()
    _, _, usage = gather(cx.chat(stream=True, stream_options={"include_usage": True}))
    counts_add_up(usage)
    equal(usage.prompt_tokens, whole.usage.prompt_tokens, "prompt_tokens")
    equal(usage.completion_tokens, whole.usage.completion_tokens, "completion_tokens")


@check
def completion_answers(cx):
    answer = cx.complete()
    choice = answer.choices[0]
    equal(answer.object, "text_completion", "object")
    equal(answer.model, cx.model, "model")
    expect(choice.text, "no text")
    expect(choice.finish_reason in MEANINGFUL, "odd finish_reason", choice.finish_reason)
    counts_add_up(answer.usage)


@check
def completion_is_short_by_default(cx):
    answer = cx.complete(max_tokens=openai.NOT_GIVEN)
    expect(answer.usage.completion_tokens <= 16, "more than 16 tokens", answer.usage)


@check
def completion_is_greedy_at_zero(cx):
    equal(cx.complete().choices[0].text, cx.complete().choices[0].text, "text")


@check
def completion_takes_several_prompts(cx):
    prompts = [PROMPT, "A gate", "Bridges and"]
    together = cx.complete(prompt=prompts)
    equal([choice.index for choice in together.choices], [0, 1, 2], "indices")
    for prompt, choice in zip(prompts, together.choices, strict=True):
        equal(choice.text, cx.complete(prompt=prompt).choices[0].text, f"text after {prompt!r}")


@check
def completion_streams_the_same_text(cx):
    whole = cx.complete()
    text, reason, usage = gather(cx.complete(stream=True))
    equal(text, whole.choices[0].text, "streamed text")
    equal(reason, whole.choices[0].finish_reason, "finish_reason")
    expect(usage is None, "usage that nobody asked for", usage)


@check
def completion_streams_usage_when_asked(cx):
    whole = cx.complete()
    _, _, usage = gather(cx.complete(stream=True, stream_options={"include_usage": True}))
    counts_add_up(usage)
    equal(usage.completion_tokens, whole.usage.completion_tokens, "completion_tokens")


@check
def completion_streams_several_prompts(cx):
    prompts = [PROMPT, "A gate"]
    texts = {}
    for chunk in cx.complete(prompt=prompts, stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    wanted = [choice.text for choice in cx.complete(prompt=prompts).choices]
    equal([texts[index] for index in sorted(texts)], wanted, "texts")


@check
def a_stop_sequence_ends_the_text(cx):
    text = cx.complete(max_tokens=24).choices[0].text
    middle = len(text) // 2
    stop = text[middle : middle + 3]
    expect(len(stop) == 3, "too little text for a stop sequence", text)
    choice = cx.complete(max_tokens=24, stop=[stop]).choices[0]
    equal(choice.text, text[: text.index(stop)], f"text before {stop!r}")
    equal(choice.finish_reason, "stop", "finish_reason")
    streamed, reason, _ = gather(cx.complete(max_tokens=24, stop=[stop], stream=True))
    equal(streamed, choice.text, "streamed text")
    equal(reason, "stop", "streamed finish_reason")


@check
def any_script_is_understood(cx):
    prompt = 'Zölle — 通行料 🚪 "quoted" \\ \t\n'
    whole = cx.complete(prompt=prompt)
    text, _, _ = gather(cx.complete(prompt=prompt, stream=True))
    equal(text, whole.choices[0].text, "streamed text")


@check
def vectors_are_the_same_in_either_form(cx):
    floats = cx.embed(encoding_format="float").data[0].embedding
    packed = cx.embed(encoding_format="base64").data[0].embedding
    expect(isinstance(packed, str), "base64 was asked for", type(packed))
    unpacked = list(struct.unpack(f"<{len(floats)}f", base64.b64decode(packed)))
    for one, other in zip(floats, unpacked, strict=True):
        expect(abs(one - other) <= 1e-6 * max(1, abs(one)), "another number", one, other)
    # Left to itself the SDK asks for base64 and unpacks it.
    equal(cx.embed().data[0].embedding, unpacked, "what the SDK unpacks")


@check
def vectors_come_in_order(cx):
    texts = ["a ferry", "the gate is closed", "bridges"]
    many = cx.embed(input=texts)
    equal([item.index for item in many.data], [0, 1, 2], "indices")
    expect(many.usage.prompt_tokens > 0, "no prompt tokens", many.usage)
    for text, item in zip(texts, many.data, strict=True):
        alone = cx.embed(input=text).data[0].embedding
        far = max(abs(a - b) for a, b in zip(alone, item.embedding, strict=True))
        expect(far < 1e-4, f"the vector of {text!r} is another one alone", far)


@check
def a_wrong_token_is_refused(cx):
    cx.needs_token()
    stranger = cx.make(openai.OpenAI, api_key="wrong")
    for call in (
        lambda: stranger.models.list(),
        lambda: stranger.completions.create(model=cx.model, prompt="x"),
        lambda: stranger.chat.completions.create(model=cx.model, messages=TALK, stream=True),
    ):
        equal(raises(openai.AuthenticationError, call).status_code, 401, "status")


@check
def an_unknown_authority_is_refused(cx):
    if not cx.given.ca:
        skip("no --ca")
    stranger = cx.make(openai.OpenAI, http_client=openai.DefaultHttpxClient())
    raises(openai.APIConnectionError, stranger.models.list)


@check
def an_unknown_model_is_not_found(cx):
    for call in (cx.chat, cx.complete):
        for stream in (False, True):
            problem = raises(openai.NotFoundError, call, model="no-such-model", stream=stream)
            expect("no-such-model" in problem.message, "the message does not name it", problem)


@check
def a_bad_request_is_told(cx):
    for changes in ({"temperature": -1}, {"max_tokens": "many"}, {"messages": "text"}):
        problem = raises(openai.BadRequestError, cx.chat, **changes)
        expect(problem.message, "no message")
    problem = raises(openai.BadRequestError, cx.complete, prompt=openai.NOT_GIVEN)
    equal(problem.status_code, 400, "status")


@check
def an_abandoned_stream_harms_nobody(cx):
    wanted = cx.complete().choices[0].text
    for _ in range(8):
        with cx.complete(stream=True, max_tokens=200) as stream:
            next(iter(stream))
    equal(cx.complete().choices[0].text, wanted, "text")


@check
def many_at_once_get_their_own_answers(cx):
    prompts = [f"{word} {PROMPT}" for word in ("At dawn", "By night", "In rain", "In snow")]
    wanted = [cx.complete(prompt=prompt).choices[0].text for prompt in prompts]

    async def ask(client, prompt, stream):
        named = {"model": cx.model, "prompt": prompt, "max_tokens": 12, "temperature": 0}
        if not stream:
            return (await client.completions.create(**named)).choices[0].text
        text = ""
        async for chunk in await client.completions.create(stream=True, **named):
            text += "".join(choice.text for choice in chunk.choices)
        return text

    async def all_of_them():
        async with cx.make(openai.AsyncOpenAI) as client:
            calls = [ask(client, p, s) for s in (False, True, False, True) for p in prompts]
            return await asyncio.gather(*calls)

    equal(asyncio.run(all_of_them()), wanted * 4, "texts")


if __name__ == "__main__":
    given = arguments(__doc__).parse_args()
    if not given.url:
        raise SystemExit("--url is needed")
    run(given, Context(given))
