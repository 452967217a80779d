"""Pushes a component to an OCI registry with oras, as its users do, and pulls it back.

    oras_registry.py --registry 127.0.0.1:5000 --repository plugins/echo --file echo.wasm [--pull TAG]

Without --pull the file is pushed under the tag `oras`; with it, what is there under that tag is
pulled, and has to be the file.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

import oras.client

CONFIG = "application/vnd.wasm.config.v0+json"
LAYER = "application/wasm"


def push(client, target, file):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(file, os.path.join(folder, "component.wasm"))
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as config:
            json.dump({"architecture": "wasm", "os": "wasip2", "layerDigests": []}, config)
        os.chdir(folder)
        answer = client.push(
            target=target,
            files=[f"component.wasm:{LAYER}"],
            manifest_config=f"config.json:{CONFIG}",
        )
        os.chdir("/")
    return answer.status_code == 201


def pull(client, target, file):
    with tempfile.TemporaryDirectory() as folder:
        pulled = client.pull(target=target, outdir=folder)
        with open(file, "rb") as wanted:
            wanted = wanted.read()
        for path in pulled:
            with open(path, "rb") as found:
                if found.read() != wanted:
                    return False
        return len(pulled) == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--repository", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--pull", metavar="TAG")
    arguments = parser.parse_args()
    client = oras.client.OrasClient(hostname=arguments.registry, insecure=True)
    file = os.path.abspath(arguments.file)
    tag = arguments.pull or "oras"
    target = f"{arguments.registry}/{arguments.repository}:{tag}"
    good = (pull if arguments.pull else push)(client, target, file)
    print(f"{target}: {'as it should be' if good else 'another'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
