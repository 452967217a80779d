"""What both sides share: failures, JSON, Server-Sent Events."""

import json

from wit_world.imports import types


class Refused(Exception):
    """A failure, to be told to whoever asked."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.failure = types.Failure(kind, message, None, None, [])


def invalid(message):
    return Refused(types.FailureKind_InvalidArgument(), message)


def upstream_invalid(message):
    return Refused(types.FailureKind_UpstreamInvalid(), message)


def loads(raw, refused):
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise refused(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise refused("no JSON object")
    return value


def whole(source):
    return types.Need(source, 0, types.Want_All())


def dumps(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(name, data):
    named = f"event: {name}\n".encode() if name else b""
    return named + b"data: " + dumps(data) + b"\n\n"
