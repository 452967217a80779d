"""Compares what a real caikit runtime answers directly with what it answers through Tollgate, over
REST and over gRPC, from clients of either surface.

The cases are those that tests/real/record_caikit.py writes down, the runtime is that of
tests/real/caikit.sh, the routes are those of caikit.yaml beside this file.
"""

import argparse
import http.client
import json
import pathlib
import ssl
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "clients"), str(ROOT / "tests" / "real")]

import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402

import stubs  # noqa: E402
from cell import Case, Refusal, finish, run, summary  # noqa: E402
from record_caikit import BOTH  # noqa: E402

SURFACES = {"rest": "REST", "grpc": "gRPC"}
nlp, _ = stubs.load("caikit/nlp_service.proto")
SERVICE = nlp.DESCRIPTOR.services_by_name["NlpService"]


class Rest:
    """A runtime over REST."""

    def __init__(self, url, token=None, ca=None):
        self.url, self.token = urllib.parse.urlsplit(url), token
        self.trust = ssl.create_default_context(cafile=ca) if ca else None

    def task(self, name, _, model, inputs, __, parameters):
        place = (self.url.hostname, self.url.port)
        if self.trust:
            connection = http.client.HTTPSConnection(*place, timeout=120, context=self.trust)
        else:
            connection = http.client.HTTPConnection(*place, timeout=120)
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        body = {"model_id": model, "inputs": inputs}
        if parameters:
            body["parameters"] = parameters
        connection.request("POST", f"/api/v1/task/{name}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status >= 400:
            raise Refusal(answer.status, json.loads(text)["details"])
        if not name.startswith("server-streaming"):
            return json.loads(text)
        events = []
        for event in text.split("\r\n\r\n")[:-1]:
            lines = [line for line in event.split("\r\n") if line and not line.startswith(":")]
            if not lines:
                continue
            fields = dict(line.split(": ", 1) for line in lines)
            data = json.loads(fields["data"])
            if fields["event"] == "error":
                # An id of its own, and words of its own.
                return ["error", data["code"]]
            events.append(data)
        return gathered(events)


class Grpc:
    """A runtime over gRPC."""

    def __init__(self, address, token=None, ca=None):
        self.token = token
        if ca:
            with open(ca, "rb") as file:
                trust = grpc.ssl_channel_credentials(file.read())
            self.channel = grpc.secure_channel(address, trust)
        else:
            self.channel = grpc.insecure_channel(address)

    def task(self, _, method, model, inputs, argument, parameters):
        found = SERVICE.methods_by_name[method]
        kind, output = stubs.class_of(found.input_type), stubs.class_of(found.output_type)
        fields = (inputs if argument is None else {argument: inputs}) | parameters
        metadata = [("mm-model-id", model)]
        if self.token:
            metadata.append(("authorization", f"Bearer {self.token}"))
        make = self.channel.unary_stream if found.server_streaming else self.channel.unary_unary
        path = f"/{SERVICE.full_name}/{method}"
        ask = make(path, kind.SerializeToString, output.FromString)
        named = {"timeout": 120, "metadata": metadata, "wait_for_ready": True}
        try:
            answer = ask(json_format.ParseDict(fields, kind()), **named)
            if found.server_streaming:
                return gathered([plain(one) for one in answer])
            return plain(answer)
        except grpc.RpcError as problem:
            raise Refusal(problem.code().name, problem.details()) from None


def gathered(pieces):
    """A stream put together: into how many messages it was cut is not compared. Tollgate tells of
    the input in a message of its own, as the library caikit_nlp does."""
    told = [piece.get("details") or {} for piece in pieces]

    def lists(name):
        return [item for piece in pieces for item in piece.get(name) or []]

    def known(name):
        found = [one[name] for one in told if one.get(name) not in (None, 0, "0")]
        return found[-1:]

    return {
        "text": "".join(piece.get("generated_text") or "" for piece in pieces),
        "tokens": lists("tokens"),
        "input_tokens": lists("input_tokens"),
        "end": {name: told[-1].get(name) for name in ("finish_reason", "generated_tokens")},
        "input": known("input_token_count"),
        "seed": known("seed"),
    }


def plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def cases():
    for name, about, task, method, model, inputs, argument, parameters in BOTH:
        def ask(target, fields=(task, method, model, inputs, argument, parameters)):
            return target.task(*fields)

        yield Case(f"{name}: {about.rstrip('.')}", ask, task.startswith("server-streaming"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rest", default="127.0.0.1:18180", help="the real runtime's REST")
    parser.add_argument("--grpc", default="127.0.0.1:18185", help="the real runtime's gRPC")
    parser.add_argument("--before-rest", default="127.0.0.1:18560", help="Tollgate before the first")
    parser.add_argument("--before-grpc", default="127.0.0.1:18561", help="and before the second")
    parser.add_argument("--token")
    parser.add_argument("--ca")
    parser.add_argument("--only", help="only the cases whose name holds this")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the counts")
    given = parser.parse_args()
    cells = []
    for client in SURFACES:
        for worker in SURFACES:
            address = getattr(given, f"before_{worker}")
            if client == "rest":
                direct = Rest(f"http://{given.rest}")
                scheme = "https" if given.ca else "http"
                through = Rest(f"{scheme}://{address}", given.token, given.ca)
            else:
                direct, through = Grpc(given.grpc), Grpc(address, given.token, given.ca)
            outcomes = run(f"{client} -> {worker}", worker, cases(), direct, through, given.only)
            cells.append({
                "name": f"caikit {SURFACES[client]} → caikit {SURFACES[worker]}",
                "way": "passed on" if client == worker else "translated",
                "plugins": ["caikit"],
            } | summary(outcomes))
    finish(cells, given.out)


if __name__ == "__main__":
    main()
