"""What a cell is made of: cases that are asked twice, and what is said of the two answers.

A cell is a client's protocol and a worker. Each of its cases is asked of the real server in the
client's protocol, and then of Tollgate with that worker behind it. The outcome is one of

* same: the answers are equal in all that the case compares;
* refused: the worker's protocol cannot say it, and Tollgate said so (4xx or 501, with a message);
* FAILED: anything else.
"""

import dataclasses
import json
import sys
from collections.abc import Callable

VERDICTS = ("same", "refused", "FAILED")


class Refusal(Exception):
    """An error answer: `status` is HTTP's, or the name of gRPC's code."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message

    # What a refusal for want of words may be called.
    FIT = {400, 404, 422, 501, "INVALID_ARGUMENT", "UNIMPLEMENTED", "FAILED_PRECONDITION"}


@dataclasses.dataclass
class Case:
    name: str
    # Asks a target, and returns what is compared.
    ask: Callable
    stream: bool = False
    # Workers whose protocol, or whose plugin, cannot say this.
    refused: tuple = ()
    # By worker: what strips an answer of that which its protocol does not carry.
    loose: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Outcome:
    case: Case
    verdict: str
    detail: str = ""


def answer(case, target):
    """The answer or the refusal, as plain data."""
    try:
        return case.ask(target)
    except Refusal as problem:
        return problem


def compare(case, direct, through, worker):
    wanted, found = answer(case, direct), answer(case, through)
    if worker in case.refused:
        if isinstance(found, Refusal) and found.status in Refusal.FIT and found.message:
            return Outcome(case, "refused", str(found))
        return Outcome(case, "FAILED", f"not refused: {found!r}")
    if isinstance(wanted, Refusal) or isinstance(found, Refusal):
        if isinstance(wanted, Refusal) and isinstance(found, Refusal):
            if wanted.status == found.status:
                return Outcome(case, "same", str(found))
        return Outcome(case, "FAILED", f"{found!r}, directly {wanted!r}")
    loosen = case.loose.get(worker)
    if loosen is not None:
        wanted, found = loosen(wanted), loosen(found)
    difference = first_difference(wanted, found)
    if difference:
        return Outcome(case, "FAILED", difference)
    return Outcome(case, "same")


def first_difference(wanted, found, at="answer"):
    """Where two answers part; numbers that were computed may differ in their last digits."""
    if isinstance(wanted, float) and isinstance(found, float):
        if wanted == found or abs(wanted - found) <= 1e-5 * max(1.0, abs(wanted)):
            return None
        if wanted != wanted and found != found:
            return None
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in [*wanted, *(set(found) - set(wanted))]:
            if name not in wanted or name not in found:
                side = "through Tollgate" if name in found else "directly"
                return f"{at}.{name} only {side}: {found.get(name, wanted.get(name))!r}"
            parted = first_difference(wanted[name], found[name], f"{at}.{name}")
            if parted:
                return parted
        return None
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return f"{at} has {len(found)} members, directly {len(wanted)}"
        for index, pair in enumerate(zip(wanted, found, strict=True)):
            parted = first_difference(*pair, f"{at}[{index}]")
            if parted:
                return parted
        return None
    return None if wanted == found else f"{at} is {found!r}, directly {wanted!r}"


def run(name, worker, cases, direct, through, only):
    """Compares every case of a cell, or those whose name holds `only`."""
    outcomes = []
    for case in cases:
        if only and only not in case.name:
            continue
        outcome = compare(case, direct, through, worker)
        outcomes.append(outcome)
        form = "stream" if case.stream else "unary"
        detail = f": {outcome.detail.splitlines()[0][:300]}" if outcome.detail else ""
        print(f"{outcome.verdict:8}{name}, {form}, {case.name}{detail}", flush=True)
    return outcomes


def summary(outcomes):
    """The counts of a cell, by form, and which cases were refused or failed."""

    def counted(stream):
        chosen = [outcome for outcome in outcomes if outcome.case.stream == stream]
        return {
            verdict: sum(outcome.verdict == verdict for outcome in chosen)
            for verdict in VERDICTS
        }

    return {
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


def finish(cells, out):
    """Writes the cells for the table, prints the closing line, and ends."""
    if out:
        out.write_text(json.dumps(cells, indent=2) + "\n")
    failed = sum(len(cell["failed"]) for cell in cells)
    passed = sum(
        cell[form][verdict]
        for cell in cells for form in ("unary", "stream") for verdict in VERDICTS[:-1]
    )
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
