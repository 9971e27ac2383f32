"""What the kernels of a standalone library call of TVM, and whether the C runtime has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tvmkd.base.errors import InputError

FUNCTIONS = frozenset(f"tvm.contrib.sort.{name}" for name in ("topk", "argsort", "sort"))
"""Functions that kernels may call by name: ``sort.c`` has them."""

POINTERS = frozenset(
    f"__TVM{name}"
    for name in (
        "BackendAllocWorkspace",
        "BackendFreeWorkspace",
        "BackendParallelLaunch",
        "FFIEnvModLookupFromImports",
        "FFIFunctionCall",
        "FFIHandleInitOnce",
    )
)
"""Pointers that kernels call through: the runtime sets these. Others would stay null."""

_FUNCTION = re.compile(rb"\0\.tvm_func\.([\w.]+)\0")
_POINTER = re.compile(rb"\0(__TVM\w+)(?=\0)")


def by_name(name: str, objects: Iterable[Path]) -> frozenset[str]:
    """The functions that kernels call by name.

    Args:
        name: the model's, for messages.
        objects: the kernels' object files; TVM names what they call in their tables of strings.

    Raises:
        InputError: they call something else than `FUNCTIONS`, or through other `POINTERS`.
    """
    functions: set[str] = set()
    pointers: set[str] = set()
    for path in objects:
        data = path.read_bytes()
        functions.update(found.decode() for found in _FUNCTION.findall(data))
        pointers.update(found.decode() for found in _POINTER.findall(data))
    if missing := sorted((functions - FUNCTIONS) | (pointers - POINTERS)):
        raise InputError(
            f"{name}: cannot be a standalone library: its kernels call {', '.join(missing)}, which "
            "is in TVM's runtime; build it without --runtime standalone"
        )
    return frozenset(functions)
