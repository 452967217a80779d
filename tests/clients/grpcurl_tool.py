"""grpcurl as a program that is run: what the checks of several protocols share."""

import json
import pathlib
import subprocess
import sys

from checks import arguments, expect, run

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Context:
    """`proto` is the file under proto/ that is given where reflection shall not be asked."""

    def __init__(self, given, proto):
        self.given = given
        self.model = given.model
        self.proto = proto
        # One more header of the calls, as `NAME: VALUE`.
        self.header = None

    def run(self, *words, data=None, token=True, trusted=True, proto=False):
        """Exit status, what it printed, and what it complained of."""
        command = [self.given.grpcurl, "-max-time", "120"]
        if not self.given.ca:
            command += ["-plaintext"]
        elif trusted:
            command += ["-cacert", self.given.ca]
        if token and self.given.token:
            command += ["-H", f"Authorization: Bearer {self.given.token}"]
        if self.header:
            command += ["-H", self.header]
        if proto:
            command += ["-import-path", str(ROOT / "proto"), "-proto", self.proto]
        if data is not None:
            command += ["-d", data]
        verbs = [word for word in words if word in ("list", "describe")]
        rest = [word for word in words if word not in verbs]
        command += [self.given.grpc, *verbs, *rest]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def ok(self, *words, **named):
        status, printed, problem = self.run(*words, **named)
        expect(status == 0, "grpcurl failed", problem.strip())
        return printed

    def answers(self, *words, **named):
        """The messages that came, with names as they stand in the .proto file."""
        decoder, text, found = json.JSONDecoder(), self.ok(*words, **named).strip(), []
        while text:
            message, end = decoder.raw_decode(text)
            found.append(snake(message))
            text = text[end:].strip()
        return found

    def refused(self, wanted, *words, **named):
        status, printed, problem = self.run(*words, **named)
        expect(status != 0, "no failure", printed)
        expect(wanted in problem, f"not {wanted}", problem.strip())
        return problem


def snake(value):
    """Canonical JSON has names in camel case; some builds print the original ones."""
    if isinstance(value, dict):
        return {
            "".join(f"_{c.lower()}" if c.isupper() else c for c in name): snake(member)
            for name, member in value.items()
        }
    return [snake(member) for member in value] if isinstance(value, list) else value


def main(about, proto):
    """Reads the arguments and runs the checks that were declared."""
    parser = arguments(about)
    beside = pathlib.Path(sys.executable).with_name("grpcurl")
    parser.add_argument("--grpcurl", default=str(beside if beside.exists() else "grpcurl"))
    given = parser.parse_args()
    if not given.grpc:
        raise SystemExit("--grpc is needed")
    run(given, Context(given, proto))
