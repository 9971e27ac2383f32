"""Loads a compiled library: in this process, or in one of its stack's interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.runtime.program import LoadError, Program, Spec
from tvmkd.runtime.relax_program import RelaxProgram
from tvmkd.runtime.relay_program import relay_program
from tvmkd.runtime.subprocess_program import SubprocessProgram

PROGRAMS: dict[str, Callable[[Path, Sequence[Spec]], Program]] = {
    "relax": RelaxProgram,
    "relay": relay_program,
}


def _has_relay() -> bool:
    """Whether this interpreter's TVM is one with Relay, found out without importing it."""
    found = importlib.util.find_spec("tvm")
    return bool(found and found.origin and (Path(found.origin).parent / "relay").is_dir())


def open_program(stack: str, library: Path, specs: Sequence[Spec]) -> Program:
    """Loads a library of a stack.

    Raises:
        UsageError: there is no such stack.
        MissingError: its TVM cannot be imported here.
        LoadError: its TVM cannot load the library.
    """
    if stack not in PROGRAMS:
        raise UsageError(f"unknown stack {stack!r}; known: {', '.join(PROGRAMS)}")
    if stack == "relay" and not _has_relay():
        return SubprocessProgram(stack, library, specs)
    try:
        return PROGRAMS[stack](library, specs)
    except ImportError as error:
        raise MissingError(
            f"TVM cannot be imported ({error}); install it: "
            "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"
        ) from None
    except Exception as error:  # TVM raises what it likes here
        import tvm

        line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise LoadError(line[0], f"TVM {tvm.__version__}") from None
