#!/usr/bin/env python3
"""Instructions of one request, by function, guests' functions by name: the same figure however busy
the machine is.

    cargo build --profile profiling -p tollgate --features perfmap
    tests/bench/profile/instructions.py target/profiling/tollgate CONFIG.yaml URL [--body FILE]

Starts the proxy under `valgrind --tool=callgrind`, warms it up, counts `--requests` requests over one
connection, and prints instructions a request: in all, in guests, and of the costliest functions, their
own and with what they call. CONFIG has an open route and one thread (`runtime: { threads: 1 }`), and its
worker runs already (`tollgate-bench stub`). Needs valgrind with its callgrind_control.
"""
import argparse
import bisect
import collections
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse

COMPLETION = {"model": "m", "max_tokens": 16, "prompt": "hello wo" * 128}


def ask(connection, path, body):
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        sys.exit(f"{response.status}: {text[:300]!r}")


def names_of(path):
    """Functions by address, as wasmtime writes them for perf."""
    rows = []
    if not os.path.exists(path):
        sys.exit("the guests' functions have no names: build with --features perfmap")
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            start, size, name = line.rstrip("\n").split(" ", 2)
            rows.append((int(start, 16), int(size, 16), name))
    rows.sort()
    starts = [row[0] for row in rows]

    def name(function):
        address = function.split("'")[0]
        if not address.startswith("0x"):
            return function
        at = bisect.bisect(starts, int(address, 16)) - 1
        if at >= 0 and int(address, 16) < rows[at][0] + rows[at][1]:
            return "guest " + rows[at][2]
        return "guest " + address

    return name


def read(path, name):
    """Own instructions of each function, what it called cost, and each pair's calls and cost."""
    known, own, called = {}, collections.Counter(), collections.Counter()
    pairs = collections.defaultdict(lambda: [0, 0])
    current = callee = None
    in_call = False
    count = 0

    def resolve(token):
        number, text = re.match(r"\((\d+)\)(?: (.*))?$", token).groups()
        if text:
            known[number] = name(text)
        return known[number]

    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("fn="):
                current = resolve(line[3:])
            elif line.startswith("cfn="):
                callee = resolve(line[4:])
            elif line.startswith("calls="):
                in_call = True
                count = int(line[6:].split()[0])
            elif line and (line[0].isdigit() or line[0] in "+-*"):
                cost = int(line.split()[-1])
                if in_call:
                    pairs[current, callee][0] += count
                    pairs[current, callee][1] += cost
                if in_call and callee != current:
                    called[current] += cost
                elif not in_call:
                    own[current] += cost
                in_call = False
    return own, called, pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("config")
    parser.add_argument("url")
    parser.add_argument("--body", help="a file; else a completion with a prompt of 1 KiB")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--of", action="append", default=[], metavar="TEXT",
                        help="also who calls the functions that have TEXT in their names")
    arguments = parser.parse_args()
    url = urllib.parse.urlsplit(arguments.url)
    if arguments.body:
        with open(arguments.body, "rb") as file:
            body = file.read()
    else:
        body = json.dumps(COMPLETION).encode()

    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        proxy = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no",
             f"--callgrind-out-file={out}", arguments.binary, "run", arguments.config],
            stdout=log, stderr=log)
        try:
            until = time.monotonic() + 300
            while "ready" not in open(log.name, encoding="utf-8").read():
                if proxy.poll() is not None or time.monotonic() > until:
                    sys.exit(open(log.name, encoding="utf-8").read()[-2000:])
                time.sleep(0.3)
            time.sleep(2)
            connection = http.client.HTTPConnection(url.hostname, url.port)
            for _ in range(50):
                ask(connection, url.path, body)

            def control(*what):
                subprocess.run(["callgrind_control", *what, str(proxy.pid)], check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

            control("-i", "on")
            for _ in range(arguments.requests):
                ask(connection, url.path, body)
            control("-i", "off")
            control("-d")
            time.sleep(1)
            own, called, pairs = read(out + ".1", names_of(f"/tmp/perf-{proxy.pid}.map"))
        finally:
            proxy.kill()
            proxy.wait()

    each = arguments.requests
    guests = sum(cost for function, cost in own.items() if function.startswith("guest "))
    print(f"instructions a request: {sum(own.values()) / each:,.0f}, of guests {guests / each:,.0f}")
    print("      own       all  function")
    totals = collections.Counter({key: own[key] + called[key] for key in set(own) | set(called)})
    for function, _ in own.most_common(arguments.top):
        print(f"{own[function] / each:9,.0f} {totals[function] / each:9,.0f}  {function[:150]}")

    for text in arguments.of:
        print(f"\n    calls       all  callers of {text}")
        callers = [(pair, of) for pair, of in pairs.items() if text in pair[1]]
        for (caller, callee), (count, cost) in sorted(callers, key=lambda row: -row[1][1])[:arguments.top]:
            print(f"{count / each:9.1f} {cost / each:9,.0f}  {caller[:90]} → {callee[:60]}")


if __name__ == "__main__":
    main()
