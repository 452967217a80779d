"""The port of operators against its own description: OpenAPI 3.1, held by openapi-spec-validator, and
every answer by jsonschema against the schema that is described for it."""

import argparse
import json
import urllib.error
import urllib.request

import jsonschema
from checks import check, equal, expect, run
from openapi_spec_validator import validate


class Proxy:
    def __init__(self, url, plugin, worker):
        self.url = url.rstrip("/")
        self.plugin = plugin
        self.worker = worker
        self.description = json.loads(self.ask("GET", "/openapi.json")[2])

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read()

    def schema(self, path, method, status):
        """What is described for an answer, with what it refers to."""
        responses = self.description["paths"][path][method]["responses"]
        expect(str(status) in responses, f"{method} {path}: {status} is not described")
        content = responses[str(status)].get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema is None:
            return None
        return {**schema, "components": self.description["components"]}

    def fits(self, path, method, status, body):
        schema = self.schema(path, method, status)
        if schema is not None:
            problems = list(jsonschema.Draft202012Validator(schema).iter_errors(json.loads(body)))
            told = [f"{'/'.join(map(str, it.absolute_path))}: {it.message[:200]}" for it in problems]
            expect(not problems, f"{method} {path} {status} is not as described", told[:5])


@check
def the_description_is_valid_openapi(proxy):
    """As the specification has it, and with a version of its own."""
    validate(proxy.description)
    expect(proxy.description["openapi"].startswith("3.1"), "not 3.1")
    expect(proxy.description["info"]["version"] != "0", "no version")


@check
def every_described_path_to_look_at_answers_as_described(proxy):
    """Each GET, with a name in its braces where it has some."""
    looked = 0
    for path, methods in proxy.description["paths"].items():
        if "get" not in methods:
            continue
        status, headers, body = proxy.ask("GET", path.replace("{file}", "app.js"))
        equal(status, 200, path)
        kinds = methods["get"]["responses"]["200"]["content"]
        kind = headers["content-type"].split(";")[0]
        expect(kind in kinds, f"{path} is {kind}", list(kinds))
        proxy.fits(path, "get", 200, body)
        looked += 1
    expect(looked >= 15, "few paths", looked)


@check
def every_described_change_is_refused_to_nobodys_sake_as_described(proxy):
    """Each POST about somebody that is not there, and with a body that is none."""
    changed = 0
    for path, methods in proxy.description["paths"].items():
        if "post" not in methods:
            continue
        changed += 1
        if "{name}" in path:
            status, _, body = proxy.ask("POST", path.replace("{name}", "nobody"))
            equal(status, 404, path)
            proxy.fits(path, "post", 404, body)
        where = path.replace("{name}", proxy.worker if "/workers/" in path else proxy.plugin)
        evil = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
        status, _, body = proxy.ask("POST", where, headers=evil)
        equal(status, 403, path)
        proxy.fits(path, "post", 403, body)
        status, _, body = proxy.ask("POST", where, headers={"Host": "evil.example"})
        equal(status, 421, path)
        proxy.fits(path, "post", 421, body)
    expect(changed >= 9, "few paths", changed)


@check
def changes_answer_as_described(proxy):
    """A swap, a canary, its end, a worker drained and resumed."""
    for path, name, body in [
        ("/plugins/{name}/swap", proxy.plugin, {"canary": 10}),
        ("/plugins/{name}/rollback", proxy.plugin, None),
        ("/plugins/{name}/swap", proxy.plugin, None),
        ("/plugins/{name}/rollback", proxy.plugin, None),
        ("/workers/{name}/drain", proxy.worker, None),
        ("/workers/{name}/drain", proxy.worker, None),
        ("/workers/{name}/resume", proxy.worker, None),
    ]:
        status, _, said = proxy.ask("POST", path.replace("{name}", name), body)
        equal(status, 200, f"{path} {said}")
        proxy.fits(path, "post", 200, said)
    for path in ("/overview", "/changes", "/status"):
        status, _, said = proxy.ask("GET", path)
        proxy.fits(path, "get", status, said)


@check
def errors_say_what_to_do(proxy):
    """Every refusal is JSON with a reason, and most with advice."""
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("POST", "/status", 405),
        ("DELETE", "/plugins", 405),
        ("GET", "/page/nothing.js", 404),
        ("POST", "/plugins/nobody/swap", 404),
    ]:
        got, headers, body = proxy.ask(method, path)
        equal(got, status, path)
        said = json.loads(body)
        expect(said["error"] and said["do"], path, said)
        if status == 405:
            expect(headers["allow"], f"{path}: no Allow")


@check
def every_answer_has_its_guards(proxy):
    """Headers that keep browsers from doing more than was meant, on data, page and refusal alike."""
    for path in ("/", "/page/app.js", "/status", "/metrics", "/livez", "/nothing"):
        _, headers, _ = proxy.ask("GET", path)
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"):
            expect(part in policy, f"{path}: {part}", policy)
        expect("unsafe" not in policy and "http" not in policy, path, policy)
        equal(headers["x-frame-options"], "DENY", path)
        equal(headers["x-content-type-options"], "nosniff", path)
        equal(headers["cross-origin-resource-policy"], "same-origin", path)
        expect("access-control-allow-origin" not in headers, f"{path}: open to other sites")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--plugin", required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--only")
    given = parser.parse_args()
    run(given, Proxy(given.url, given.plugin, given.worker))
