"""Tensors over HTTP and over gRPC: what is asked, and what of the answers must be the same.

A tensor is compared by its bytes, whichever form it came in.
"""

import http.client
import json
import ssl
import struct
import urllib.parse

import grpc

import stubs
from cell import Case, Refusal

pb, services = stubs.load("inference.proto")

ELEMENT = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP16": "e", "FP32": "f", "FP64": "d",
}
TYPED = {
    "BOOL": "bool", "UINT8": "uint", "UINT16": "uint", "UINT32": "uint", "UINT64": "uint64",
    "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64",
    "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
}
# One that no number of a double is, the ends of the range, and what a sign does.
VALUES = {
    "BOOL": [True, False, True],
    "UINT8": [0, 255], "UINT16": [0, 65535], "UINT32": [0, 2**32 - 1], "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127], "INT16": [-(2**15), 2**15 - 1], "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**53 + 1],
    "FP16": [0.5, -65504.0], "FP32": [0.1, -3.4e38, 1e-45], "FP64": [0.1, 1.7e308, 5e-324],
    "BYTES": ["Zölle — 通行料 🚪", "", 'quoted " \\ \t\n'],
}
# What a float of single precision is as a number of JSON.
single = lambda value: struct.unpack("<f", struct.pack("<f", value))[0]  # noqa: E731
VALUES["FP32"] = [single(value) for value in VALUES["FP32"]]


def packed(datatype, values):
    """Elements as raw bytes."""
    if datatype == "BYTES":
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(values)}{ELEMENT[datatype]}", *values)


def flat(data):
    for item in data:
        if isinstance(item, list):
            yield from flat(item)
        else:
            yield item


class Tensor:
    def __init__(self, name, datatype, values, shape=None, raw=None):
        self.name, self.datatype, self.values = name, datatype, values
        self.shape = [len(values)] if shape is None else shape
        self.raw = packed(datatype, values) if raw is None else raw

    def head(self):
        return {"name": self.name, "datatype": self.datatype, "shape": self.shape}


class Rest:
    """A server over HTTP. Forms: `json`, `raw` (both ways), `half` (sent raw, answered as JSON)."""

    def __init__(self, url, token=None, ca=None):
        self.url, self.token = urllib.parse.urlsplit(url), token
        self.trust = ssl.create_default_context(cafile=ca) if ca else None

    def call(self, verb, path, body=None, headers=None):
        place = (self.url.hostname, self.url.port)
        if self.trust:
            connection = http.client.HTTPSConnection(*place, timeout=120, context=self.trust)
        else:
            connection = http.client.HTTPConnection(*place, timeout=120)
        headers = dict(headers or {})
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        connection.request(verb, path, body, headers)
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        if answer.status >= 400:
            try:
                raise Refusal(answer.status, json.loads(read)["error"])
            except (ValueError, KeyError, TypeError):
                raise Refusal(answer.status, read.decode(errors="replace")) from None
        return {name.lower(): value for name, value in answer.getheaders()}, read

    def infer(self, model, tensors, form, version="", outputs=None, parameters=None, **fields):
        inputs, tail = [], b""
        for tensor in tensors:
            one = tensor.head()
            if form == "json":
                one["data"] = tensor.values
            else:
                one["parameters"] = {"binary_data_size": len(tensor.raw)}
                tail += tensor.raw
            inputs.append(one)
        body = {"inputs": inputs} | fields
        parameters = dict(parameters or {})
        if form == "raw":
            parameters["binary_data_output"] = True
        if parameters:
            body["parameters"] = parameters
        if outputs is not None:
            body["outputs"] = outputs
        text = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if tail:
            headers = {"content-type": "application/octet-stream",
                       "inference-header-content-length": str(len(text))}
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
        return asked_for(fields, self.answer(model, *self.call("POST", path, text + tail, headers)))

    def answer(self, model, headers, body):
        end = int(headers.get("inference-header-content-length", len(body)))
        told, tail = json.loads(body[:end]), body[end:]
        outputs = {}
        for output in told["outputs"]:
            size = (output.get("parameters") or {}).get("binary_data_size")
            if size is None:
                raw = packed(output["datatype"], list(flat(output["data"])))
            else:
                raw, tail = tail[:size], tail[size:]
            outputs[output["name"]] = [output["datatype"], output["shape"], raw.hex()]
        return {"model": told["model_name"] == model, "version": told.get("model_version") or "",
                "id": told.get("id", ""), "outputs": outputs, "left": len(tail)}

    def metadata(self, model, version=""):
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        told = json.loads(self.call("GET", path)[1])
        return described(told["name"] == model, told.get("versions") or [], told)

    def ready(self, model):
        try:
            self.call("GET", f"/v2/models/{model}/ready")
        except Refusal:
            return False
        return True


def asked_for(fields, answer):
    """Some servers draw an id where the request had none."""
    return answer if fields.get("id") else answer | {"id": ""}


def described(same, versions, told):
    tensors = lambda name: sorted(  # noqa: E731
        [it["name"], it["datatype"], [int(size) for size in it["shape"]]]
        for it in told.get(name) or []
    )
    return {"model": same, "versions": versions, "inputs": tensors("inputs"),
            "outputs": tensors("outputs")}


class Grpc:
    """A server over gRPC. Forms: `raw`, `typed`."""

    def __init__(self, address, token=None, ca=None):
        self.metadata_of_calls = [("authorization", f"Bearer {token}")] if token else []
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if ca:
            with open(ca, "rb") as file:
                trust = grpc.ssl_channel_credentials(file.read())
            channel = grpc.secure_channel(address, trust, options)
        else:
            channel = grpc.insecure_channel(address, options)
        self.stub = services.GRPCInferenceServiceStub(channel)

    def call(self, method, message):
        named = {"timeout": 120, "metadata": self.metadata_of_calls, "wait_for_ready": True}
        try:
            return getattr(self.stub, method)(message, **named)
        except grpc.RpcError as problem:
            raise Refusal(problem.code().name, problem.details()) from None

    def asked(self, model, tensors, form, version="", outputs=None, parameters=None, **fields):
        message = pb.ModelInferRequest(model_name=model, model_version=version, **fields)
        for tensor in tensors:
            one = message.inputs.add(**tensor.head())
            if form == "typed":
                values = tensor.values
                if tensor.datatype == "BYTES":
                    values = [value.encode() for value in values]
                getattr(one.contents, TYPED[tensor.datatype] + "_contents").extend(values)
                one.contents.SetInParent()
            else:
                message.raw_input_contents.append(tensor.raw)
        for output in outputs or []:
            named = message.outputs.add(name=output["name"])
            for name, value in output.get("parameters", {}).items():
                if name != "binary_data":
                    set_parameter(named.parameters[name], value)
        for name, value in (parameters or {}).items():
            set_parameter(message.parameters[name], value)
        return message

    def infer(self, model, tensors, form, **fields):
        answer = self.call("ModelInfer", self.asked(model, tensors, form, **fields))
        return asked_for(fields, self.answer(model, answer))

    def answer(self, model, answer):
        outputs = {}
        for index, output in enumerate(answer.outputs):
            if answer.raw_output_contents:
                raw = answer.raw_output_contents[index]
            else:
                field = TYPED[output.datatype] + "_contents"
                raw = packed(output.datatype, list(getattr(output.contents, field)))
            outputs[output.name] = [output.datatype, list(output.shape), raw.hex()]
        return {"model": answer.model_name == model, "version": answer.model_version,
                "id": answer.id, "outputs": outputs, "left": 0}

    def metadata(self, model, version=""):
        told = self.call("ModelMetadata", pb.ModelMetadataRequest(name=model, version=version))
        as_json = {
            name: [{"name": it.name, "datatype": it.datatype, "shape": list(it.shape)}
                   for it in getattr(told, name)]
            for name in ("inputs", "outputs")
        }
        return described(told.name == model, list(told.versions), as_json)

    def ready(self, model):
        try:
            return self.call("ModelReady", pb.ModelReadyRequest(name=model)).ready
        except Refusal:
            return False

    def stream(self, model, requests):
        """Every answer of a stream, by the requests' ids. One of nothing but failures is refused."""
        messages = [self.asked(model, tensors, "raw", id=name) for name, tensors in requests]
        named = {"timeout": 120, "metadata": self.metadata_of_calls, "wait_for_ready": True}
        found, failures, answers = {}, [], 0
        try:
            for told in self.stub.ModelStreamInfer(iter(messages), **named):
                answers += 1
                failures += [told.error_message] if told.error_message else []
                answer = told.infer_response
                one = self.answer(answer.model_name, answer)["outputs"]
                found.setdefault(answer.id, []).append(
                    [bool(told.error_message), {name: value[2] for name, value in one.items()}]
                )
        except grpc.RpcError as problem:
            raise Refusal(problem.code().name, problem.details()) from None
        if failures and len(failures) == answers:
            raise Refusal("INVALID_ARGUMENT", failures[0])
        return found


def set_parameter(parameter, value):
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    setattr(parameter, kinds[type(value)], value)


def one_class(ask):
    """Servers have two words for a model that is not there, and one of them for both."""

    def view(target):
        try:
            return ask(target)
        except Refusal as problem:
            there = problem.status not in (400, 404, "INVALID_ARGUMENT", "NOT_FOUND")
            return {"refused": str(problem.status) if there else "no such model"}

    return view


def refusals(*statuses):
    """Refused with one of these; which of them it is, is each form's and server's own."""

    def wrap(ask):
        def view(target):
            try:
                return ask(target)
            except Refusal as problem:
                if problem.status in statuses and problem.message:
                    return "refused"
                raise

        return view

    return wrap


BAD = refusals(400, 422, 500, "INVALID_ARGUMENT", "INTERNAL", "UNKNOWN")


def infer(model, tensors, form, **fields):
    return lambda target: target.infer(model, tensors, form, **fields)


def pair(elements=4, shape=None):
    shape = shape or [1, elements]
    a = [single(value / 3) for value in range(elements)]
    b = [single(0.1)] * elements
    return [Tensor("INPUT0", "FP32", a, shape), Tensor("INPUT1", "FP32", b, shape)]


def echoed(forms, datatypes, refused=()):
    for datatype in datatypes:
        for form in forms:
            if datatype == "FP16" and form in ("json", "typed"):
                continue
            tensor = Tensor(f"IN_{datatype}", datatype, VALUES[datatype])
            yield Case(f"{datatype}, {form}", infer("echo", [tensor], form), refused=refused)


def common(forms, stands):
    """What is asked of every server that has `echo`. `stands`: whether shapes are as sent."""
    two = [Tensor("IN_FP32", "FP32", [single(v / 7) for v in range(6)], [2, 3]),
           Tensor("IN_BYTES", "BYTES", ["a", "b"])]
    for form in forms:
        yield Case(f"two tensors, {form}", infer("echo", two, form))
        yield Case(f"an id, {form}", infer("echo", two, form, id="seven"))
        large = Tensor("IN_FP32", "FP32", [single(v) for v in range(300_000)])
        yield Case(f"1.2 MB, {form}", infer("echo", [large], form))
    yield Case("an unknown model", one_class(infer("nobody", two, forms[0])))
    yield Case("an unknown model's readiness", lambda target: target.ready("nobody"))
    yield Case("readiness", lambda target: target.ready("echo"))


def triton(client, worker):
    rest = client == "rest"
    forms = ("json", "raw") if rest else ("raw", "typed")
    # Through a worker over gRPC all but statistics can be said, and the other way round.
    for form in forms:
        yield Case(f"sum and difference, {form}", infer("addsub", pair(), form))
        yield Case(f"a batch, {form}", infer("addsub", pair(64, [32, 2]), form))
        yield Case(f"a version, {form}", infer("addsub", pair(), form, version="1"))
        yield Case(f"one output, {form}",
                   infer("addsub", pair(), form, outputs=[{"name": "OUTPUT1"}]))
        yield Case(f"parameters, {form}",
                   infer("addsub", pair(), form, parameters={"priority": 1, "note": "x",
                                                            "flag": True, "weight": 0.5}))
        yield Case(f"classes, {form}", infer("addsub", pair(), form, outputs=[
            {"name": "OUTPUT0", "parameters": {"classification": 2}}]))
        yield Case(f"another shape than the data, {form}",
                   BAD(infer("addsub", pair(4, [1, 5]), form)))
        yield Case(f"a missing input, {form}", BAD(infer("addsub", pair()[:1], form)))
        yield Case(f"another datatype than the model's, {form}", BAD(infer(
            "addsub", [pair()[0], Tensor("INPUT1", "INT32", [1, 2, 3, 4], [1, 4])], form)))
        yield Case(f"an unknown output, {form}",
                   BAD(infer("addsub", pair(), form, outputs=[{"name": "NO"}])))
        yield Case(f"16 MiB, {form}", infer("addsub", pair(1 << 20), form)) if form == "raw" else (
            Case(f"no elements, {form}", infer("echo", [Tensor("IN_INT32", "INT32", [])], form)))
        yield Case(f"a model that fails, {form}", refusals(500, "INTERNAL")(
            infer("broken", [Tensor("IN_FP32", "FP32", [1.0])], form)))
    if rest:
        yield Case("sent raw, answered as JSON", infer("addsub", pair(), "half"))
        mixed = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}, {"name": "OUTPUT1"}]
        yield Case("outputs in both forms", infer("addsub", pair(), "json", outputs=mixed))
        tensor = Tensor("x", "FP32", [1.0]).head()
        for name, body in (
            ("no JSON", "{"), ("no inputs", "{}"), ("inputs that are no list", '{"inputs": 1}'),
            ("an input without data", json.dumps({"inputs": [tensor]})),
        ):
            yield Case(name, BAD(lambda target, body=body: target.call(
                "POST", "/v2/models/addsub/infer", body)[0]["content-length"]))
        named = json.dumps({"model_name": "other", "inputs": [
            it.head() | {"data": it.values} for it in pair()]})
        yield Case("as curl sends it", lambda target: target.answer("addsub", *target.call(
            "POST", "/v2/models/addsub/infer", named,
            {"content-type": "application/x-www-form-urlencoded"})))
        nan = Tensor("IN_FP32", "FP32", [float("nan"), float("inf"), float("-inf")])
        yield Case("NaN and infinities, raw", infer("echo", [nan], "raw"))
        bad = Tensor("IN_BYTES", "BYTES", [b"\xff\xfe", b""])
        yield Case("texts that are not UTF-8, raw", infer("echo", [bad], "raw"))
        lines = lambda target, text: [  # noqa: E731
            json.loads(line[5:])["text_output"] for line in target.call(
                "POST", "/v2/models/stream/generate_stream", json.dumps({"text_input": text})
            )[1].decode().splitlines() if line.startswith("data:")]
        # Nothing says that `stream` makes texts: only a worker of this form is passed it.
        yield Case("a stream of words", lambda target: [
            word for word in lines(target, "so long and thanks") if word], True,
            refused=("triton-grpc",))
    else:
        nan = Tensor("IN_FP64", "FP64", [float("nan"), float("-inf")])
        yield Case("NaN and infinities, raw", infer("echo", [nan], "raw"))
        bad = Tensor("IN_BYTES", "BYTES", [b"\xff\xfe", b""])
        yield Case("texts that are not UTF-8, raw", infer("echo", [bad], "raw"))
        words = [("w", [Tensor("text_input", "BYTES", ["so long and thanks"])])]
        yield Case("a stream of a decoupled model",
                   lambda target: target.stream("stream", words), True,
                   refused=("triton-rest",))
        many = [(str(n), pair(2 + n)) for n in range(16)]
        yield Case("many in one stream", lambda target: target.stream("addsub", many), True)
    yield from echoed(forms, VALUES)
    yield from common(forms, True)
    yield Case("metadata", lambda target: target.metadata("addsub"))
    yield Case("metadata of a version", lambda target: target.metadata("addsub", "1"))
    yield Case("metadata of an unknown version",
               one_class(lambda target: target.metadata("addsub", "9")))
    yield Case("an unknown version", one_class(infer("addsub", pair(), forms[0], version="9")))


def mlserver(client, worker):
    forms = ("json",) if client == "rest" else ("typed", "raw")
    plain = ["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"]
    yield from echoed(forms, plain)
    yield from common(forms, True)


def kserve(client, worker):
    forms = ("json", "raw") if client == "rest" else ("raw", "typed")
    yield from echoed(forms, ["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"])
    yield from common(forms, True)
    # Over gRPC the server overlooks it, and Tollgate refuses it all the same.
    if client == "rest":
        yield Case("a version", refusals(501)(
            infer("echo", [Tensor("IN_FP32", "FP32", [1.0])], forms[0], version="1")))


SERVERS = {"triton": triton, "mlserver": mlserver, "kserve": kserve}
