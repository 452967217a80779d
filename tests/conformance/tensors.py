"""Compares what real servers of the Open Inference Protocol answer directly with what they answer
through Tollgate, over HTTP and over gRPC, from clients of either form.

The servers are those of tests/real, the routes those of tensors.yaml beside this file.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import tensor_cases  # noqa: E402
from cell import finish, run, summary  # noqa: E402

FORMS = {"rest": "over HTTP", "grpc": "over gRPC"}
NAMES = {"triton": "Triton", "mlserver": "MLServer", "kserve": "KServe's Python server"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", action="append", required=True, metavar="NAME,HTTP,GRPC,BEFORE_HTTP,BEFORE_GRPC",
                        help="a server: its name, where it is, and where Tollgate is before each")
    parser.add_argument("--token")
    parser.add_argument("--ca")
    parser.add_argument("--only", help="only the cases whose name holds this")
    parser.add_argument("--cell", help="only those whose name holds this, such as 'rest -> triton'")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the counts")
    given = parser.parse_args()
    cells = []
    for server in given.server:
        name, http, grpc, *before = server.split(",")
        for client in FORMS:
            for worker, address in zip(FORMS, before, strict=True):
                cell = f"{client} -> {name}-{worker}"
                if given.cell and given.cell not in cell:
                    continue
                if client == "rest":
                    direct = tensor_cases.Rest(f"http://{http}")
                    scheme = "https" if given.ca else "http"
                    through = tensor_cases.Rest(f"{scheme}://{address}", given.token, given.ca)
                else:
                    direct = tensor_cases.Grpc(grpc)
                    through = tensor_cases.Grpc(address, given.token, given.ca)
                cases = tensor_cases.SERVERS[name](client, worker)
                outcomes = run(cell, f"{name}-{worker}", cases, direct, through, given.only)
                cells.append({
                    "name": f"V2 {FORMS[client]} → {NAMES[name]} {FORMS[worker]}",
                    "way": "passed on" if client == worker else "translated",
                    "plugins": ["kserve"],
                } | summary(outcomes))
    finish(cells, given.out)


if __name__ == "__main__":
    main()
