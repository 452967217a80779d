"""Holds built Kubernetes objects against schemas, and pods with Tollgate against its configuration.

    validate.py KUBERNETES SCHEMA FILE...

Each FILE is what `kubectl kustomize` made. Objects of Kubernetes are validated strictly, those of KServe
by SCHEMA, which is what of its custom resource definitions is used here. Then, where a pod has a container
`tollgate`: the ConfigMap that it mounts is there, its own ports and those that a Service leads to are ports
that its configuration listens on, and probes ask where it listens. Prints what is wrong, one line each.
"""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import yaml
from referencing import Registry, Resource


def main(kubernetes, schema, files):
    check = Schemas(kubernetes, pathlib.Path(schema))
    problems = []
    count = 0
    for file in files:
        objects = [it for it in yaml.safe_load_all(pathlib.Path(file).read_text()) if it]
        if not objects:
            problems.append(f"{file}: nothing was built")
        count += len(objects)
        for it in objects:
            problems += [f"{file}: {name(it)}: {problem}" for problem in check.problems(it)]
        problems += [f"{file}: {problem}" for problem in pods(objects)]
    print("\n".join(problems) if problems else f"  {count} objects of Kubernetes {kubernetes}")
    return 1 if problems else 0


class Schemas:
    def __init__(self, kubernetes, schema):
        self.kubernetes = kubernetes
        custom = json.loads(schema.read_text())
        definitions = kubernetes_validate.utils.schema_contents(
            f"kubernetes-json-schema/v{kubernetes}.0-local-strict/_definitions.json", kubernetes
        )
        registry = Resource.from_contents(custom) @ (
            Resource.from_contents(definitions) @ Registry()
        )
        self.custom = {
            kind: jsonschema.Draft202012Validator(
                {"$ref": f"{custom['$id']}#/$defs/{kind}"}, registry=registry
            )
            for kind in custom["$defs"]
        }

    def problems(self, it):
        if it["apiVersion"].startswith("serving.kserve.io/"):
            validator = self.custom.get(it["kind"])
            if validator is None:
                return [f"no schema for {it['kind']}"]
            return [
                f"{'.'.join(map(str, problem.absolute_path)) or 'it'}: {problem.message}"
                for problem in validator.iter_errors(it)
            ]
        try:
            kubernetes_validate.validate(it, self.kubernetes, strict=True)
        except jsonschema.ValidationError as problem:
            path = ".".join(map(str, problem.absolute_path)) or "it"
            return [f"{path}: {problem.message}"]
        except kubernetes_validate.utils.SchemaNotFoundError as problem:
            return [problem.message]
        return []


def name(it):
    return f"{it['kind']} {it['metadata']['name']}"


def pods(objects):
    """What does not fit together, of objects that were built together."""
    maps = {it["metadata"]["name"]: it["data"] for it in objects if it["kind"] == "ConfigMap"}
    runtimes = {it["metadata"]["name"]: it for it in objects if it["kind"].endswith("ServingRuntime")}
    found = []
    for it in objects:
        kind = it["kind"]
        if kind == "InferenceService":
            spec = it["spec"]["predictor"]
            runtime = runtimes.get(spec["model"].get("runtime"))
            served = leads_to(runtime["spec"]) if runtime else []
        elif kind.endswith("ServingRuntime"):
            spec, served = it["spec"], []
        elif "template" in it.get("spec", {}):
            spec, served = it["spec"]["template"]["spec"], []
        else:
            continue
        both = spec.get("initContainers", []) + spec.get("containers", [])
        for container in both:
            if container["name"] == "tollgate":
                problems = tollgate(container, spec.get("volumes", []), served, maps)
                found += [f"{name(it)}: {problem}" for problem in problems]
    return found


def leads_to(runtime):
    """The ports that KServe makes a Service of: the transformer's, or else the first container's."""
    containers = runtime["containers"]
    chosen = next((it for it in containers if it["name"] == "transformer-container"), containers[0])
    return [port["containerPort"] for port in chosen.get("ports", [])]


def tollgate(container, volumes, served, maps):
    config = None
    for mount in container.get("volumeMounts", []):
        for volume in volumes:
            if volume["name"] == mount["name"] and "configMap" in volume:
                wanted = volume["configMap"]["name"]
                if wanted not in maps:
                    return [f"no ConfigMap {wanted}"]
                config = yaml.safe_load(maps[wanted]["tollgate.yaml"])
    if config is None:
        return ["it mounts no configuration"]
    listens = {port(it["address"]) for it in config["listeners"]}
    open_ports = listens | {port(config["admin"]["address"])}
    own = {it["containerPort"] for it in container.get("ports", [])}
    names = {it.get("name"): it["containerPort"] for it in container.get("ports", [])}
    problems = [f"port {it}: nobody listens there" for it in sorted(own - open_ports)]
    problems += [f"a Service leads to {it}: no listener" for it in served if it not in listens]
    if container.get("restartPolicy") == "Always" and not served:
        problems.append("no Service leads to it")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container.get(probe, {}).get("httpGet", {}).get("port")
        asked = names.get(asked, asked)
        if asked is not None and asked not in open_ports:
            problems.append(f"{probe} asks at {asked}: nobody listens there")
    return problems


def port(address):
    return int(str(address).rpartition(":")[2])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
