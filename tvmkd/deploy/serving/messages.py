"""The protocol's messages, as classes made at run time from ``inference.binpb``.

In a descriptor pool of their own: the generated code of other clients (tritonclient's, KServe's)
registers messages of the same names in the process's pool, and two definitions cannot be there.
Nor does this depend on the version of protobuf's code generator, as generated code does.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SOURCE, COMPILED = FOLDER / "inference.proto", FOLDER / "inference.binpb"
PACKAGE, SERVICE = "inference", "GRPCInferenceService"


@functools.cache
def _pool() -> Any:
    from google.protobuf.descriptor_pb2 import (  # type: ignore[import-untyped]
        FileDescriptorSet,
    )
    from google.protobuf.descriptor_pool import (  # type: ignore[import-untyped]
        DescriptorPool,
    )

    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        pool.Add(file)
    return pool


@functools.cache
def message(name: str) -> Any:
    """The class of a message, such as ``ModelInferRequest``."""
    from google.protobuf.message_factory import (  # type: ignore[import-untyped]
        GetMessageClass,
    )

    return GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@functools.cache
def methods() -> dict[str, tuple[Any, Any]]:
    """The service's methods: the classes of request and response."""
    service = _pool().FindServiceByName(f"{PACKAGE}.{SERVICE}")
    return {
        method.name: (message(method.input_type.name), message(method.output_type.name))
        for method in service.methods
    }


def compiled() -> bytes:
    """``inference.proto`` as a FileDescriptorSet, made by grpcio-tools."""
    import tempfile

    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / COMPILED.name
        words = ["protoc", f"-I{FOLDER}", f"--descriptor_set_out={output}", str(SOURCE)]
        if protoc.main(words) != 0:
            raise SystemExit(f"{SOURCE}: protoc failed")
        return output.read_bytes()


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
    sys.exit(0)
