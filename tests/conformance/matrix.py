"""Asks every kind of real server for the same thing in every protocol that has words for it, and
compares what came back with what the server says in its own protocol, directly.

One cell is a task, a client's protocol and a worker. With sampling off the same prompt has to end in
the same text, the same counts of tokens and the same reason, whatever it was translated from and to;
vectors, scores and counts have to be the same numbers. The servers are those of tests/real, the routes
those of matrix.yaml beside this file.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "clients"), str(ROOT / "tests" / "real")]

import tasks  # noqa: E402
from cell import Case, Outcome, Refusal, finish, first_difference, summary  # noqa: E402
from openai_cases import LONG, TALK  # noqa: E402
from speakers import Caikit, Generate, OpenAi, Tgis  # noqa: E402

CLIENTS = {
    "openai": "OpenAI API",
    "tgis": "TGIS",
    "caikit-rest": "caikit REST",
    "caikit-grpc": "caikit gRPC",
    "generate": "Triton's generate",
}
WORKERS = {
    "vllm": "vLLM",
    "tgis": "TGIS",
    "caikit-rest": "caikit REST",
    "caikit-grpc": "caikit gRPC",
    "triton-rest": "Triton over HTTP",
    "triton-grpc": "Triton over gRPC",
    "embedder": "vLLM, embeddings",
}
PLUGINS = {"generate": "kserve", "vllm": "openai", "embedder": "openai"}
TEXTS = ("vllm", "tgis", "caikit-rest", "caikit-grpc", "triton-rest", "triton-grpc")
VECTORS = ("embedder", "caikit-rest", "caikit-grpc")
COUNTS = ("vllm", "tgis", "caikit-rest", "caikit-grpc", "embedder")

PROMPT = "The ferry crosses the wide, wide water at noon"
SCRIPTS = 'Zölle — 通行料 🚪 "quoted" \\ and more'
SENTENCES = ["A ferry crosses the river.", "The gate is closed.", "Zölle — 通行料"]
QUERY = "Which boat goes over the water?"
TEMPLATE = "".join(f"<s>{one['role']}: {one['content']}\n" for one in TALK) + "assistant:"


class Ask:
    """One question, asked of a client that speaks to the proxy, and of the server's own."""

    def __init__(self, name, through, direct=None, stream=False):
        self.case = Case(name, through, stream)
        self.through, self.direct = through, direct or through


def generations():
    for name, prompt, limit, stop in (
        ("a text", PROMPT, 8, []),
        ("to its end", "two words", 32, []),
        ("any script", SCRIPTS, 12, []),
        ("a long prompt", LONG, 4, []),
    ):
        for stream in (False, True):
            def ask(one, streamed=stream, of=(prompt, limit, stop)):
                return one.generate(*of, streamed)

            def direct(one, of=(prompt, limit, stop)):
                return one.generate(*of, False)

            yield Ask(name, ask, direct, stream)


def stops():
    """A stop sequence that this server is known to come by: a piece of what it says."""
    for stream in (False, True):
        def chosen(one):
            words = one.says
            return [words[len(words) // 2 :][:4]]

        def ask(one, streamed=stream):
            return one.generate(PROMPT, 8, chosen(one), streamed)

        def direct(one):
            return one.generate(PROMPT, 8, chosen(one), False)

        yield Ask("a stop sequence", ask, direct, stream)


def chats():
    for stream in (False, True):
        def ask(one, streamed=stream):
            return one.chat(TALK, 8, [], streamed)

        def direct(one):
            if isinstance(one, OpenAi):
                return one.chat(TALK, 8, [], False)
            # By the template that the composition was given.
            return one.generate(TEMPLATE, 8, [], False)

        yield Ask("a conversation", ask, direct, stream)


def batches():
    prompts = [PROMPT, "two words", SCRIPTS]

    def direct(one):
        told = [one.generate(prompt, 8, [], False) for prompt in prompts]
        return [{name: each[name] for name in ("text", "reason") if name in each} for each in told]

    yield Ask("three prompts", lambda one: one.batch(prompts, 8), direct)


def embeddings():
    yield Ask("three texts", lambda one: one.embed(SENTENCES))
    yield Ask("one text", lambda one: one.embed(SENTENCES[:1]))
    single = lambda one: getattr(one, "embed_one", lambda words: one.embed([words]))(SENTENCES[0])  # noqa: E731
    yield Ask("one text, asked for alone", single)


def rerankings():
    yield Ask("three documents", lambda one: one.rerank(QUERY, SENTENCES))
    for path in ("/v1/rerank", "/v2/rerank"):
        def ask(one, path=path):
            return one.rerank(QUERY, SENTENCES, path)

        yield Ask(f"three documents, {path}", ask, lambda one: one.rerank(QUERY, SENTENCES))
    several = lambda one: one.rerank_tasks([QUERY, "a gate"], SENTENCES)  # noqa: E731
    yield Ask(
        "two queries", several,
        lambda one: [one.rerank(query, SENTENCES) for query in (QUERY, "a gate")],
    )


def similarities():
    yield Ask("three sentences", lambda one: one.similarity(QUERY, SENTENCES))
    yield Ask(
        "two sources",
        lambda one: one.similarities([QUERY, "a gate"], SENTENCES),
        lambda one: [one.similarity(source, SENTENCES) for source in (QUERY, "a gate")],
    )


def tokens():
    yield Ask("a text", lambda one: one.tokenize(PROMPT))
    yield Ask("any script", lambda one: one.tokenize(SCRIPTS))


OPENAI, CAIKIT = ("openai",), ("caikit-rest", "caikit-grpc")
# Task, its questions, who can ask, whom.
TASKS = (
    ("generate", lambda: [*generations(), *stops()], tuple(CLIENTS), TEXTS),
    ("chat", chats, OPENAI, TEXTS),
    ("a batch", batches, ("openai", "tgis"), TEXTS),
    ("embed", embeddings, OPENAI + CAIKIT, VECTORS),
    ("rerank", rerankings, OPENAI + CAIKIT, VECTORS),
    ("similarity", similarities, OPENAI + CAIKIT, VECTORS),
    ("tokenize", tokens, ("openai", "tgis", *CAIKIT), COUNTS),
)
# What only one of the protocols can ask.
ONLY = {
    "three documents, /v1/rerank": OPENAI, "three documents, /v2/rerank": OPENAI,
    "two queries": CAIKIT, "two sources": CAIKIT,
}


def native(client, worker):
    """Whether the worker speaks what the client speaks, so that a request can be passed on."""
    same = {"openai": ("vllm", "embedder"), "generate": ("triton-rest",)}
    return worker in same.get(client, (client,))


def way(task, client, worker):
    if native(client, worker):
        return "passed on"
    composed = (
        (task == "chat" and worker != "vllm")
        or (task == "a batch" and worker not in ("vllm", "tgis"))
        or (task == "similarity" and worker == "embedder" and client != "openai")
    )
    return "made of other calls" if composed else "translated"


def plugins(task, client, worker):
    used = {PLUGINS.get(name, name.split("-")[0]) for name in (client, worker)}
    used = {"kserve" if name == "triton" else name for name in used}
    if way(task, client, worker) == "made of other calls":
        used.add("compose-chat" if task == "chat" else "compose")
    return sorted(used)


def answer(ask, one):
    try:
        return ask(one)
    except Refusal as problem:
        return problem


def shared(wanted, found):
    """Of two texts, what both protocols tell."""
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = [shared(*pair) for pair in zip(wanted, found, strict=True)]
        return [one for one, _ in pairs], [other for _, other in pairs]
    if isinstance(wanted, dict) and isinstance(found, dict) and "text" in wanted:
        names = [name for name in wanted if name in found]
        return {name: wanted[name] for name in names}, {name: found[name] for name in names}
    return wanted, found


def compare(ask, through, direct):
    wanted, found = answer(ask.direct, direct), answer(ask.through, through)
    if isinstance(wanted, Refusal) or isinstance(found, Refusal):
        return Outcome(ask.case, "FAILED", f"{found!r}, directly {wanted!r}")
    parted = first_difference(*shared(wanted, found))
    return Outcome(ask.case, "FAILED" if parted else "same", parted or "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, address in (
        ("vllm", "127.0.0.1:18120"), ("tgis", "127.0.0.1:18153"), ("embedder", "127.0.0.1:18121"),
        ("caikit-rest", "127.0.0.1:18180"), ("caikit-grpc", "127.0.0.1:18185"),
        ("triton", "127.0.0.1:18160"),
    ):
        parser.add_argument(f"--{name}", default=address, help="the real server")
    parser.add_argument("--before", type=int, default=18570, help="Tollgate's first port, one a worker")
    parser.add_argument("--token")
    parser.add_argument("--ca")
    parser.add_argument("--only", help="only the cells whose name holds this")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the counts")
    given = parser.parse_args()

    def speaker(client, address, model, token=None, ca=None):
        url = f"{'https' if ca else 'http'}://{address}"
        if client == "openai":
            return OpenAi(url, model, token, ca)
        if client == "tgis":
            return Tgis(address, model, token, ca)
        if client == "generate":
            return Generate(url, model, token, ca)
        if client == "caikit-rest":
            return Caikit(tasks.Rest(url, token, ca), model)
        return Caikit(tasks.Grpc(address, token, ca), model)

    def own(worker, vectors):
        """The server itself, in its own protocol."""
        caikit = "embedder" if vectors else "generator"
        return {
            "vllm": lambda: speaker("openai", given.vllm, "tiny-llama"),
            "tgis": lambda: speaker("tgis", given.tgis, "tiny-llama"),
            "caikit-rest": lambda: speaker("caikit-rest", given.caikit_rest, caikit),
            "caikit-grpc": lambda: speaker("caikit-grpc", given.caikit_grpc, caikit),
            "triton-rest": lambda: speaker("generate", given.triton, "teller"),
            "triton-grpc": lambda: speaker("generate", given.triton, "teller"),
            "embedder": lambda: speaker("openai", given.embedder, "minilm"),
        }[worker]()

    cells = []
    for task, questions, clients, workers in TASKS:
        for client in clients:
            for worker in workers:
                name = f"{task}: {CLIENTS[client]} → {WORKERS[worker]}"
                if given.only and given.only not in name:
                    continue
                vectors = worker == "embedder" or task in ("embed", "rerank", "similarity")
                direct = own(worker, vectors)
                address = f"127.0.0.1:{given.before + list(WORKERS).index(worker)}"
                model = "vectors" if vectors else "text"
                through = speaker(client, address, model, given.token, given.ca)
                if task == "generate":
                    direct.says = through.says = direct.generate(PROMPT, 8, [], False)["text"]
                outcomes = []
                for ask in questions():
                    if client not in ONLY.get(ask.case.name, (client,)):
                        continue
                    outcome = compare(ask, through, direct)
                    outcomes.append(outcome)
                    form = "stream" if ask.case.stream else "unary"
                    detail = f": {outcome.detail.splitlines()[0][:300]}" if outcome.detail else ""
                    print(f"{outcome.verdict:8}{name}, {form}, {ask.case.name}{detail}", flush=True)
                cells.append({
                    "name": name, "way": way(task, client, worker),
                    "plugins": plugins(task, client, worker),
                } | summary(outcomes))
    finish(cells, given.out)


if __name__ == "__main__":
    main()
