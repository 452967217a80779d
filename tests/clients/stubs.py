"""Python classes of a file under proto/, generated anew each time, so that they cannot be stale."""

import atexit
import importlib
import pathlib
import shutil
import sys
import tempfile

from google.protobuf import message_factory
from grpc_tools import protoc

# Where the files lie that every compiler brings along (google/protobuf/*.proto).
KNOWN = pathlib.Path(protoc.__file__).with_name("_proto")
PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def load(file: str):
    """Two modules for `proto/FILE`: its messages, and its services' stubs.

    Files that it imports from the same folder are made too.
    """
    folder = tempfile.mkdtemp(prefix="stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    beside = sorted(PROTO.glob(str(pathlib.PurePath(file).with_name("*.proto"))))
    names = [str(path.relative_to(PROTO)) for path in beside] if "/" in file else [file]
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{KNOWN}", *outputs, *names]) != 0:
        sys.exit(f"protoc could not read {PROTO / file}")
    stem = file.removesuffix(".proto").replace("/", ".")
    # It stays there: packages of several modules are looked for anew at each import.
    sys.path.insert(0, folder)
    return importlib.import_module(f"{stem}_pb2"), importlib.import_module(f"{stem}_pb2_grpc")


def class_of(descriptor):
    """The Python class of a message's descriptor."""
    return message_factory.GetMessageClass(descriptor)
