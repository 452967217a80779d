"""Python classes of a file under proto/, generated anew each time, so that they cannot be stale."""

import atexit
import importlib
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def load(file: str):
    """Two modules for `proto/FILE`: its messages, and its services' stubs."""
    folder = tempfile.mkdtemp(prefix="stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", f"-I{PROTO}", *outputs, file]) != 0:
        sys.exit(f"protoc could not read {PROTO / file}")
    stem = file.removesuffix(".proto")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(f"{stem}_pb2"), importlib.import_module(f"{stem}_pb2_grpc")
    finally:
        sys.path.remove(folder)
