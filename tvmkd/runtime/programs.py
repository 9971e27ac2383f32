"""Loads a compiled library: in this process, or in one of its stack's interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tvmkd.base import stack_registry
from tvmkd.base.errors import MissingError
from tvmkd.base.runtimes import STANDALONE, TVM
from tvmkd.runtime import relax_runtime
from tvmkd.runtime.program import LoadError, Program, Spec
from tvmkd.runtime.standalone_program import StandaloneProgram
from tvmkd.runtime.subprocess_program import SubprocessProgram


def _here(stack: str) -> bool:
    """True if this interpreter's TVM has the stack; TVM is not imported for it."""
    found = importlib.util.find_spec("tvm")
    return bool(found and found.origin and (Path(found.origin).parent / stack).is_dir())


def preload(stack: str) -> None:
    """Loads the runtime of a stack, so that `open_program` finds it loaded.

    A stack with an interpreter of its own imports it fast, when it loads a library.
    """
    if not stack_registry.get(stack).own_interpreter:
        relax_runtime.load()


def open_program(stack: str, library: Path, specs: Sequence[Spec], runtime: str = TVM) -> Program:
    """Loads a library of a stack.

    Args:
        stack: what built it.
        library: the file.
        specs: its inputs.
        runtime: `TVM`, or `STANDALONE` for a library that needs none.

    Raises:
        UsageError: there is no such stack.
        MissingError: its TVM cannot be imported here.
        LoadError: its TVM cannot load the library.
    """
    if runtime == STANDALONE:
        return StandaloneProgram(library, specs)
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
