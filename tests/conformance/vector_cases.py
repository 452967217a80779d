"""Embeddings: what is asked, and what of the answers must be the same."""

import base64
import concurrent.futures
import struct

from cell import Case

TEXTS = ["a ferry crosses the river", "the gate is closed", "Zölle — 通行料", "copies of the licence"]


def vector(item):
    packed = item["embedding"]
    if isinstance(packed, str):
        raw = base64.b64decode(packed)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return packed


def embed(**fields):
    def ask(target):
        answer = target.ask("/v1/embeddings", {"input": TEXTS[0]} | fields, False)
        return {
            "object": answer["object"],
            "model": answer["model"] == target.model,
            "vectors": [[item["index"], vector(item)] for item in answer["data"]],
            "usage": answer["usage"]["prompt_tokens"],
        }

    return ask


def many_at_once(target):
    """One text a request, all in flight together: Tollgate merges what waits. Tokens are counted
    for the merged request and shared out by length, so they are not compared."""
    texts = [f"{text}, said {n}" for n in range(4) for text in TEXTS]
    with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda text: embed(input=text)(target)["vectors"], texts))


def cases():
    yield Case("one text", embed())
    yield Case("one text, base64", embed(encoding_format="base64"))
    yield Case("several texts", embed(input=TEXTS))
    yield Case("several texts, base64", embed(input=TEXTS, encoding_format="base64"))
    yield Case("token ids", embed(input=[101, 7592, 2088, 102]))
    yield Case("several lists of token ids", embed(input=[[101, 7592, 102], [101, 2088, 102]]))
    yield Case("an input cut short", embed(truncate_prompt_tokens=4))
    yield Case("many texts", embed(input=[f"{text} {n}" for n in range(16) for text in TEXTS]))
    yield Case("many clients at once", many_at_once)
    yield Case("other dimensions than the model's", embed(dimensions=8))
    yield Case("no input", embed(input=None))
    yield Case("an unknown model", embed(model="no-such-model"))
