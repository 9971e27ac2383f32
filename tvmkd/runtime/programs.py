"""Loads a compiled library: in this process, or in one of its stack's interpreter."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tvmkd.base import stack_registry
from tvmkd.base.errors import MissingError
from tvmkd.runtime.program import LoadError, Program, Spec
from tvmkd.runtime.subprocess_program import SubprocessProgram
from tvmkd.runtime.tvm_process import torch_kept_out

_RUNTIME_ONLY = "TVM_USE_RUNTIME_LIB"  # upstream reads it when tvm is imported


def _here(stack: str) -> bool:
    """True if this interpreter's TVM has the stack; TVM is not imported for it."""
    found = importlib.util.find_spec("tvm")
    return bool(found and found.origin and (Path(found.origin).parent / stack).is_dir())


@contextlib.contextmanager
def without_compiler(stack: str) -> Iterator[None]:
    """Inside the block this process imports a stack's TVM without its compiler, in half the time.

    For a process that only runs libraries. It does not concern its children. A stack with an
    interpreter of its own gains nothing by it: its TVM loads fast and would print a line.
    """
    before = os.environ.get(_RUNTIME_ONLY)
    if not stack_registry.get(stack).own_interpreter:
        os.environ[_RUNTIME_ONLY] = "1"
    try:
        yield
    finally:
        os.environ.pop(_RUNTIME_ONLY, None)
        if before is not None:
            os.environ[_RUNTIME_ONLY] = before


def preload(stack: str) -> None:
    """Imports a stack's TVM without its compiler, so that `open_program` finds it imported.

    A stack with an interpreter of its own imports it fast, when it loads a library.
    """
    if not stack_registry.get(stack).own_interpreter:
        with without_compiler(stack), torch_kept_out():
            importlib.import_module("tvm")


def open_program(stack: str, library: Path, specs: Sequence[Spec]) -> Program:
    """Loads a library of a stack.

    Raises:
        UsageError: there is no such stack.
        MissingError: its TVM cannot be imported here.
        LoadError: its TVM cannot load the library.
    """
    entry = stack_registry.get(stack)
    if entry.own_interpreter and not _here(stack):
        return SubprocessProgram(stack, library, specs)
    try:
        program: Program = stack_registry.load(entry.program)(library, specs)
        return program
    except ImportError as error:
        raise MissingError(
            f"TVM cannot be imported ({error}); install it: "
            "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"
        ) from None
    except Exception as error:  # TVM raises what it likes here
        import tvm

        line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise LoadError(line[0], f"TVM {tvm.__version__}") from None
