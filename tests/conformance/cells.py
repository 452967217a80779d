"""Compares what real servers answer directly with what they answer through Tollgate.

Prints a line a case, and writes the counts of each cell as JSON for the table. The servers are
those of tests/real, the routes those of tollgate.yaml beside this file.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import openai_cases  # noqa: E402
import tgis_cases  # noqa: E402
import vector_cases  # noqa: E402
from cell import compare  # noqa: E402

VERDICTS = ("same", "refused", "FAILED")


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


def run(client, worker, cases, direct, through, only):
    outcomes = []
    for case in cases:
        if only and only not in case.name:
            continue
        outcome = compare(case, direct, through, worker)
        outcomes.append(outcome)
        form = "stream" if case.stream else "unary"
        detail = f": {outcome.detail.splitlines()[0][:300]}" if outcome.detail else ""
        print(f"{outcome.verdict:8}{client} -> {worker}, {form}, {case.name}{detail}", flush=True)
    return outcomes


def summary(client, worker, outcomes):
    def counted(stream):
        chosen = [outcome for outcome in outcomes if outcome.case.stream == stream]
        return {
            verdict: sum(outcome.verdict == verdict for outcome in chosen)
            for verdict in VERDICTS
        }

    return {
        "client": client,
        "worker": worker,
        "unary": counted(False),
        "stream": counted(True),
        "refused": sorted({o.case.name for o in outcomes if o.verdict == "refused"}),
        "failed": [
            {
                "case": o.case.name,
                "form": "stream" if o.case.stream else "unary",
                "detail": o.detail,
            }
            for o in outcomes
            if o.verdict == "FAILED"
        ],
    }


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
        outcomes = run(client, worker, cases, direct, through, given.only)
        cells.append(summary(client, worker, outcomes))
    if given.out:
        given.out.write_text(json.dumps(cells, indent=2) + "\n")
    failed = sum(len(cell["failed"]) for cell in cells)
    passed = sum(
        cell[form][verdict]
        for cell in cells for form in ("unary", "stream") for verdict in VERDICTS[:-1]
    )
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
