"""What the clients' scripts share: arguments, named checks, and the closing line.

A check is a function marked with `@check`; its docstring's first line is what it claims. It fails
by an exception, `expect` gives one a sentence, and `skip` leaves it when the server at hand cannot
be asked. Checks run in the order in which they stand; the last line is `N passed, N failed`, and
the exit status is 1 when any failed.
"""

import argparse
import sys
import traceback

CHECKS = []


class Failed(Exception):
    """What a check claims does not hold."""


class Skipped(Exception):
    """The check cannot be made of this server."""


def check(function):
    CHECKS.append(function)
    return function


def expect(holds, message, *shown):
    """Fails unless `holds`; `shown` is what was there instead."""
    if not holds:
        raise Failed(": ".join([message, *(repr(value) for value in shown)]))


def equal(found, wanted, what):
    expect(found == wanted, f"{what} is {found!r}, not {wanted!r}")


def raises(kind, function, *arguments, **named):
    """The exception of this kind that the call ends with."""
    try:
        result = function(*arguments, **named)
    except kind as problem:
        return problem
    raise Failed(f"no {kind.__name__}, but {result!r}")


def skip(reason):
    raise Skipped(reason)


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", help="http(s)://HOST:PORT[/PREFIX] of the REST side")
    parser.add_argument("--grpc", help="HOST:PORT of the gRPC side")
    parser.add_argument("--token", help="a valid token; without one, checks of tokens are skipped")
    parser.add_argument("--ca", help="PEM file of the authority to trust: TLS is used with gRPC")
    parser.add_argument("--model", required=True, help="a model that generates")
    parser.add_argument("--embedding-model", help="a model that embeds; else those are skipped")
    parser.add_argument(
        "--direct",
        action="store_true",
        help="this is the model server itself: skip what only a proxy does",
    )
    parser.add_argument("--only", help="run only the checks whose name holds this")
    return parser


def run(given, context):
    """Runs every check with `context` and ends the process."""
    passed = failed = 0
    for function in CHECKS:
        name = function.__name__
        if given.only and given.only not in name:
            continue
        try:
            function(context)
        except Skipped as reason:
            print(f"skipped {name}: {reason}")
            continue
        except Failed as problem:
            failed += 1
            print(f"FAILED  {name}: {problem}")
        except Exception as problem:  # noqa: BLE001: whatever a library raises is a failure
            failed += 1
            print(f"FAILED  {name}: {type(problem).__name__}: {problem}")
            traceback.print_exception(problem, limit=-3, file=sys.stdout)
        else:
            passed += 1
            print(f"ok      {name}")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)
