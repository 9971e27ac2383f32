"""The compiler stacks: one entry a stack says all that differs between them.

Nothing else lists the names of stacks. What an entry points to is given as ``module:attribute`` and
imported on first use, so that every room can read this module and none needs a compiler for it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from tvmkd.base.errors import UsageError
from tvmkd.base.text import listing, suggest


@dataclass(frozen=True)
class StackEntry:
    """One compiler stack.

    Attributes:
        name: what ``--stack`` calls it; also the module of TVM that only its generation has.
        title: in sentences.
        search: the tuner of TVM that it uses, in sentences.
        worker: class that implements `tvmkd.stacks.base.Stack`.
        tuner_backend: module with the functions of `tvmkd.tuning.tuner_backend.TunerBackend`.
        program: what loads one of its libraries in a process that has its TVM.
        remote_program: what runs one of its libraries on a board over RPC.
        record_files: files of TVM's own tuning database in a records folder.
        byoc: engines that can run regions of a model inside its libraries, see ``--byoc``.
        tensorrt_codegen: global function that a TVM with code generation for TensorRT has.
        variable: environment variable that names its interpreter. None: it runs in the interpreter
            that tvmkd runs in.
        installer: what ``tvmkd stack install`` calls. None: tvmkd's own requirements bring it.
        packages: modules that its worker imports beside TVM, where tvmkd's requirements do not
            bring them.
        versions: first and last version of TVM that its code was written for, None: not limited.
        absent: why a TVM may lack it, in sentences.
    """

    name: str
    title: str
    search: str
    worker: str
    tuner_backend: str
    program: str
    remote_program: str
    record_files: tuple[str, ...]
    byoc: tuple[str, ...]
    tensorrt_codegen: str
    variable: str | None = None
    installer: str | None = None
    packages: tuple[str, ...] = ()
    versions: tuple[tuple[int, int], tuple[int, int]] | None = None
    absent: str = ""

    @property
    def own_interpreter(self) -> bool:
        """True if it needs another Python interpreter than the one that tvmkd runs in."""
        return self.variable is not None

    @property
    def default(self) -> bool:
        """True if this is the stack that is used where none is named."""
        return self.name == DEFAULT


STACKS = (
    StackEntry(
        name="relax",
        title="Relax",
        search="MetaSchedule",
        worker="tvmkd.stacks.relax.stack:RelaxStack",
        tuner_backend="tvmkd.stacks.relax.metaschedule",
        program="tvmkd.runtime.relax_program:RelaxProgram",
        remote_program="tvmkd.boards.remote_program:VirtualMachine",
        record_files=("database_workload.json", "database_tuning_record.json"),
        byoc=("tensorrt", "tensorrt-rtx", "onnxruntime"),
        tensorrt_codegen="relax.ext.tensorrt",
    ),
    StackEntry(
        name="relay",
        title="Relay",
        search="AutoScheduler",
        worker="tvmkd.stacks.relay.stack:RelayStack",
        tuner_backend="tvmkd.stacks.relay.autoscheduler",
        program="tvmkd.runtime.relay_program:relay_program",
        remote_program="tvmkd.boards.remote_program:GraphExecutor",
        record_files=("autoscheduler.json",),
        byoc=("tensorrt",),
        # Relay registers its code generation as a compiler pass, and this function beside it.
        tensorrt_codegen="relay.ext.tensorrt.is_runtime_enabled",
        variable="TVMKD_RELAY_PYTHON",
        installer="tvmkd.stacks.relay.install:install",
        packages=(
            "cloudpickle",
            "numpy",
            "onnx",
            "onnxruntime",
            "psutil",
            "pydantic",
            "tornado",
            "xgboost",
        ),
        versions=((0, 14), (0, 19)),
        absent="0.20 and newer have Relax only",
    ),
)

DEFAULT = STACKS[0].name
"""The stack that is used where none is named."""


def names() -> tuple[str, ...]:
    """The names of all stacks, the default one first."""
    return tuple(entry.name for entry in STACKS)


def get(name: str) -> StackEntry:
    """The entry of a stack.

    Raises:
        UsageError: there is no such stack.
    """
    for entry in STACKS:
        if entry.name == name:
            return entry
    raise UsageError(f'unknown stack "{name}"{suggest(name, names())} (known: {listing(names())})')


def byoc_engines() -> tuple[str, ...]:
    """All engines that can run regions inside the libraries of some stack."""
    return tuple(dict.fromkeys(engine for entry in STACKS for engine in entry.byoc))


def load(place: str) -> Any:
    """Imports what an entry points to: ``module:attribute``, or a module.

    Raises:
        ImportError: the module, or something that it imports, is not there.
    """
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
