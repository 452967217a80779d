"""The quill protocol in Python: the door `POST /quill/v1/write`, to clients and to workers.

The same as `plugins/examples/quill`, without passing and without the doors that the proxy answers
by itself. Functions of an exported interface are methods of a class of its name, here; an exported
resource is a class in a module of its interface's name: `frontend.py`, `backend.py`.
"""

from common import Refused, loads, upstream_invalid
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import backend, plugin
from wit_world.imports import inference

ERROR = '{"error":{"kind":"{label}","message":"{message}","param":{param}}}'


class Plugin(exports.Plugin):
    def describe(self):
        return plugin.Manifest(
            name="quill",
            version="0.1.0",
            description="The quill protocol, in Python",
            dialects=["quill-python"],
            tasks=[inference.TaskKind_Generate()],
            options_schema='{"type": "object", "additionalProperties": false}',
            descriptors=[],
            read_headers=[],
            strip_headers=[],
            telemetry=[],
            worker_metrics=[],
            errors=[plugin.ErrorTemplate("", None, "application/json", ERROR)],
            lowerings=[],
            extensions=[],
        )

    def configure(self, options):
        if options.strip() not in ("", "{}"):
            raise Err([plugin.Problem("", "this plugin has no options")])
        rest = plugin.RestClaim("POST", "/quill/v1/write", plugin.Gathering_Whole())
        surface = plugin.Surface_Rest(rest)
        return [plugin.Claim(surface, inference.TaskKind_Generate(), [], [])]


class Backend(exports.Backend):
    def batch_key(self, worker, call):
        return None

    def probe(self, worker):
        surface = backend.Surface_Rest(backend.RestSurface("GET", "/quill/v1/health"))
        return [backend.ProbeRequest(surface, [], b"")]

    def judge(self, worker, responses):
        ready, reason, names = False, "the worker was not reached", []
        if responses and responses[0].status:
            try:
                told = loads(responses[0].body, upstream_invalid)
                ready, names = bool(told.get("ready")), told.get("models", [])
                reason = None if ready else "the worker says that it is not ready"
            except Refused as refused:
                reason = refused.failure.message
        tasks = [inference.TaskKind_Generate()]
        models = [
            inference.ModelInfo(name, [], None, None, None, tasks, True, "", [], [], [])
            for name in names
        ]
        return backend.Health(ready, reason, None, None, None, models, [])
