"""What is asked in the OpenAI API, and what of the answers must be the same."""

import http.client
import json
import ssl
import urllib.parse

from cell import Case, Refusal

LONG = " ".join(f"Clause {n} of the licence permits copies." for n in range(60))
SCRIPTS = 'Zölle — 通行料 🚪 "quoted" \\ \t\n'
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is a licence?"},
]


class Target:
    """A server that speaks the API. `model` is what it calls the model."""

    def __init__(self, url, model, token=None, ca=None):
        self.url, self.model, self.token = urllib.parse.urlsplit(url), model, token
        self.trust = ssl.create_default_context(cafile=ca) if ca else None

    def call(self, method, path, body=None):
        host, port = self.url.hostname, self.url.port
        if self.trust:
            connection = http.client.HTTPSConnection(host, port, timeout=300, context=self.trust)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=300)
        headers = {"content-type": "application/json"} if body is not None else {}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status >= 400:
            try:
                error = json.loads(text)["error"]
                raise Refusal(answer.status, error["message"] if isinstance(error, dict) else error)
            except (ValueError, KeyError, TypeError):
                raise Refusal(answer.status, text) from None
        return text

    def ask(self, path, fields, streamed):
        body = {"model": self.model} | fields
        text = self.call("POST", path, {k: v for k, v in body.items() if v is not None})
        return events(text) if streamed else json.loads(text)


def events(text):
    """The events of a stream, which must end as streams do."""
    lines = [line for line in text.split("\n") if line]
    if not lines or lines[-1] != "data: [DONE]":
        raise ValueError(f"a stream that ends with {lines[-1:]!r}")
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def logprobs(choice):
    """Texts and numbers of tokens, in either of the API's two layouts."""
    found = choice.get("logprobs")
    if not found:
        return []
    if "content" in found:
        return [{"text": token["token"], "logprob": token["logprob"]} for token in found["content"]]
    return [
        {"text": text, "logprob": logprob}
        for text, logprob in zip(found["tokens"], found["token_logprobs"], strict=True)
    ]


def counts(usage):
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: usage[name] for name in names} if usage else None


def whole(answer):
    return {
        "object": answer["object"],
        "choices": [
            {
                "index": choice["index"],
                "text": choice["text"] if "text" in choice else choice["message"]["content"],
                "tokens": logprobs(choice),
                "finish_reason": choice["finish_reason"],
                "stop_reason": choice.get("stop_reason"),
            }
            for choice in answer["choices"]
        ],
        "usage": counts(answer["usage"]),
    }


def gathered(chunks):
    """A stream put together: where it was cut into chunks is not compared."""
    choices, usage = {}, None
    for chunk in chunks:
        if "error" in chunk:
            raise Refusal(chunk["error"]["code"], chunk["error"]["message"])
        usage = chunk.get("usage") or usage
        for part in chunk["choices"]:
            choice = choices.setdefault(
                part["index"],
                {"index": part["index"], "text": "", "tokens": [], "finish_reason": None,
                 "stop_reason": None},
            )
            text = part["text"] if "text" in part else part["delta"].get("content")
            choice["text"] += text or ""
            choice["tokens"] += logprobs(part)
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            choice["stop_reason"] = part.get("stop_reason") or choice["stop_reason"]
    return {
        "object": chunks[0]["object"],
        "choices": [choices[index] for index in sorted(choices)],
        "usage": counts(usage),
    }


def generation(path, base):
    def make(name, refused=(), loose=None, streams=True, **changes):
        for streamed in (False, True) if streams else (False,):
            fields = base | changes
            if streamed:
                fields = fields | {"stream": True, "stream_options": {"include_usage": True}}

            def ask(target, fields=fields, streamed=streamed):
                answer = target.ask(path, fields, streamed)
                return gathered(answer) if streamed else whole(answer)

            yield Case(name, ask, streamed, refused, loose=loose or {})

    return make


def unspelled(answer):
    """Without the tokens' texts: over gRPC the server spells them as its vocabulary does."""
    choices = [
        choice | {"tokens": [token["logprob"] for token in choice["tokens"]]}
        for choice in answer["choices"]
    ]
    return answer | {"choices": choices}


def plain(name, ask, refused=(), loose=None):
    return Case(name, ask, False, refused, loose=loose or {})


def tokens_of(target):
    answer = target.ask("/tokenize", {"prompt": SCRIPTS, "return_token_strs": True}, False)
    return {name: answer[name] for name in ("count", "tokens", "token_strs", "max_model_len")}


def no_ids(answer):
    """Over gRPC tokens have no numbers, and the answer does not tell the model's length."""
    return {name: answer[name] for name in ("count", "token_strs")}


def cases():
    completion = generation(
        "/v1/completions",
        {"prompt": "Hello world", "max_tokens": 12, "temperature": 0},
    )
    chat = generation(
        "/v1/chat/completions", {"messages": TALK, "max_tokens": 12, "temperature": 0}
    )
    tgis = ("tgis",)
    yield from completion("completion")
    yield from completion("length by default", max_tokens=None)
    yield from completion("a long prompt", prompt=LONG)
    yield from completion("any script", prompt=SCRIPTS)
    yield from completion("several prompts", prompt=["Hello world", "The licence", "You may"])
    yield from completion("a stop sequence", max_tokens=24, stop=[" cust"])
    yield from completion(
        "a stop sequence that stays", max_tokens=24, stop=[" cust"],
        include_stop_str_in_output=True,
    )
    yield from completion("several stop sequences", max_tokens=24, stop=["nowhere", "ari", "eff"])
    yield from completion("echo", echo=True)
    yield from completion("log probabilities", logprobs=1, loose={"tgis": unspelled})
    yield from completion("a seed", temperature=0.7, seed=7)
    yield from completion("sampling narrowed", temperature=0.7, seed=7, top_p=0.5, top_k=5)
    yield from completion("repetition penalty", repetition_penalty=1.5)
    yield from completion("at least so many", min_tokens=6, stop=["ari"], max_tokens=16)
    yield from completion("members that nobody knows", user="somebody", no_such_member=1)
    yield from completion("token ids", prompt=[44, 72, 358, 82, 1711], refused=tgis)
    yield from completion("two choices", n=2, temperature=0.7, seed=7, refused=tgis)
    yield from completion("frequency penalty", frequency_penalty=1.5, refused=tgis)
    yield from completion("a prompt too long", prompt=LONG * 3)
    yield from completion("more than the model holds", max_tokens=5000)
    yield from completion("an unknown model", model="no-such-model")
    yield from completion("temperature below zero", temperature=-1)
    yield from completion("a member of another type", max_tokens="many")
    # TGIS has no chat: there Tollgate writes the prompt, by the template that vLLM has from the model.
    yield from chat("chat")
    yield from chat("chat in parts",
                    messages=[{"role": "user", "content": [{"type": "text", "text": "Why?"}]}])
    yield from chat("chat with log probabilities", loose={"tgis": unspelled},
                    logprobs=True, top_logprobs=1)
    yield from chat("chat of several turns", messages=[
        *TALK, {"role": "assistant", "content": SCRIPTS}, {"role": "user", "content": "{{ And? }}"},
    ])
    yield from chat("chat that goes on", continue_final_message=True, add_generation_prompt=False,
                    messages=[*TALK, {"role": "assistant", "content": "A licence is "}])
    yield plain("tokenize", tokens_of, loose={"tgis": no_ids})
    yield plain(
        "detokenize",
        lambda target: target.ask("/detokenize", {"tokens": [44, 72, 358, 82, 1711]}, False),
        tgis,
    )
    # vLLM lists one model, the one that is served; so does Tollgate, by its own name for it.
    yield plain(
        "models",
        lambda target: [
            model["id"] == target.model
            for model in json.loads(target.call("GET", "/v1/models"))["data"]
        ],
    )
