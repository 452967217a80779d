"""Compares what real servers answer directly with what they answer through Tollgate.

Prints a line a case, and writes the counts of each cell as JSON for the table. The servers are
those of tests/real, the routes those of text.yaml beside this file.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import openai_cases  # noqa: E402
import tgis_cases  # noqa: E402
import vector_cases  # noqa: E402
from cell import finish, run, summary  # noqa: E402

NAMES = {"openai": "OpenAI API", "tgis": "TGIS"}
WORKERS = {"vllm": "vLLM", "tgis": "TGIS", "embedder": "vLLM, embeddings"}
PLUGINS = {"vllm": "openai", "embedder": "openai"}


def about(client, worker):
    """What the table says of a cell: its name, the way through, the plugins that take part."""
    plugins = sorted({client, PLUGINS.get(worker, worker)})
    way = "passed on" if len(plugins) == 1 else "translated"
    if worker == "embedder":
        way, plugins = "passed on, merged when they wait", ["fcfs", *plugins]
    return {"name": f"{NAMES[client]} → {WORKERS[worker]}", "way": way, "plugins": plugins}


def warm(openai, tgis):
    """A first request of each kind makes the server compile or load something: half a minute
    for log probabilities."""
    fields = {"prompt": "x", "max_tokens": 2, "logprobs": 1, "prompt_logprobs": 1}
    openai.ask("/v1/completions", fields, False)
    detail = {"generated_tokens": True, "token_logprobs": True, "input_tokens": True}
    tgis.call(
        "Generate",
        tgis_cases.pb.BatchedGenerationRequest,
        {"requests": [{"text": "x"}], "params": {"stopping": {"max_new_tokens": 2}, "response": detail}},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:18100", help="the real HTTP server")
    parser.add_argument("--grpc", default="127.0.0.1:18133", help="the real gRPC server")
    parser.add_argument("--vectors", help="the real HTTP server of an embedding model")
    parser.add_argument("--served", default="tiny-llama", help="what they call the model")
    parser.add_argument("--vllm", default="127.0.0.1:18543", help="Tollgate, the first behind it")
    parser.add_argument("--tgis", default="127.0.0.1:18544", help="Tollgate, the second behind it")
    parser.add_argument("--embedder", default="127.0.0.1:18546", help="and the embedding model")
    parser.add_argument("--model", default="tiny", help="what Tollgate calls the model")
    parser.add_argument("--token")
    parser.add_argument("--ca")
    parser.add_argument("--only", help="only the cases whose name holds this")
    parser.add_argument("--cell", help="only this one, such as openai-tgis")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the counts")
    given = parser.parse_args()

    scheme = "https" if given.ca else "http"
    rest = openai_cases.Target(given.url, given.served)
    grpc = tgis_cases.Target(given.grpc, given.served)
    warm(rest, grpc)
    cells = []
    for client, worker in (
        ("openai", "vllm"), ("openai", "tgis"), ("tgis", "vllm"), ("tgis", "tgis"),
        ("openai", "embedder"),
    ):
        if given.cell and given.cell != f"{client}-{worker}":
            continue
        if worker == "embedder" and not given.vectors:
            continue
        address, model = getattr(given, worker), given.model
        if client == "tgis":
            cases, direct = tgis_cases.cases(), grpc
            through = tgis_cases.Target(address, model, given.token, given.ca)
        else:
            cases, direct = openai_cases.cases(), rest
            if worker == "embedder":
                cases, model = vector_cases.cases(), "vectors"
                direct = openai_cases.Target(given.vectors, "minilm")
            url = f"{scheme}://{address}"
            through = openai_cases.Target(url, model, given.token, given.ca)
        outcomes = run(f"{client} -> {worker}", worker, cases, direct, through, given.only)
        cells.append(about(client, worker) | summary(outcomes))
    finish(cells, given.out)


if __name__ == "__main__":
    main()
