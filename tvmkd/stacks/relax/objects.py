"""Compiles kernels to object files: side by side, each taken from a cache if it is there.

A process is forked for each core, which schedules and compiles one kernel after the other. TVM
compiles a module's functions one by one in any case; here they also end up in files of their own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

from tvmkd.base import resources
from tvmkd.base.blob_cache import BlobCache
from tvmkd.base.prctl import die_with_parent
from tvmkd.stacks.relax.nan import keep_nan
from tvmkd.stacks.relax.scratch import Scratch
from tvmkd.stacks.relax.stack_arrays import on_stack

PREFIX = "__tvm_ffi_"
"""What TVM puts before a function's name to get its symbol."""

_SCRATCH = struct.Struct("<Q")

Make = Callable[[], tirx.PrimFunc]
"""Gives a kernel's scheduled function."""


@dataclass(frozen=True)
class Compiled:
    """Kernels in object files.

    Attributes:
        objects: the files.
        aliases: the symbol in one of the files of each kernel, by the symbol it is called by.
        scratch: bytes of scratch memory that a thread needs for any of them.
    """

    objects: list[Path]
    aliases: dict[str, str]
    scratch: int = 0


class Objects:
    """The object files of a library's kernels, being compiled. Use as a context manager.

    Args:
        makers: gives each kernel's function, by the kernel's name; called in the forked processes.
        target: an LLVM target.
        folder: for the files.
        cache: None: the user's.
    """

    def __init__(
        self,
        makers: Mapping[str, Make],
        target: tvm.target.Target,
        folder: Path,
        cache: BlobCache | None = None,
    ) -> None:
        self._makers, self._target, self._folder = dict(makers), target, folder
        self._cache = BlobCache(resources.cache("kernels")) if cache is None else cache
        self._names = list(makers)
        self._children: list[int] = []

    def __enter__(self) -> Objects:
        """Starts the processes."""
        queue, fill = os.pipe()
        # A pipe holds 16,384 numbers; what does not fit is compiled by `result`.
        os.set_blocking(fill, False)
        with contextlib.suppress(BlockingIOError):
            for number in range(len(self._names)):
                os.write(fill, struct.pack("=I", number))
        os.close(fill)
        try:
            for _ in range(min(len(os.sched_getaffinity(0)), len(self._names))):
                self._children.append(_forked(functools.partial(self._work, queue)))
        finally:
            os.close(queue)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what still runs."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self._children.clear()

    def result(self) -> Compiled:
        """Waits for the processes.

        A kernel that a process failed on is compiled again in this one, which raises its error.
        """
        while self._children:
            os.waitpid(self._children[0], 0)
            del self._children[0]
        objects, aliases, scratch = {}, {}, 0
        for number, name in enumerate(self._names):
            if not self._note(number).exists():
                self._compile(number)
            key, taken = self._note(number).read_text().split()
            objects[key] = self._folder / f"{key}.o"
            aliases[PREFIX + name] = PREFIX + _symbol(key)
            scratch = max(scratch, int(taken))
        self._cache.trim()
        return Compiled(list(objects.values()), aliases, scratch)

    def _note(self, number: int) -> Path:
        """The file with the key and the scratch memory of a kernel, once its object is complete."""
        return self._folder / f"{number}.key"

    def _work(self, queue: int) -> None:
        """In a process: compiles what the queue names until it is empty."""
        for number in _numbers(queue):
            with contextlib.suppress(Exception):  # of any class; `result` meets it again
                self._compile(number)

    def _compile(self, number: int) -> None:
        function = self._makers[self._names[number]]().without_attr("global_symbol")
        key = key_of(function, self._target)
        data = self._cache.get(key)
        if data is None:
            data = self._compiled(function, key)
            self._cache.put(key, data)
        (scratch,) = _SCRATCH.unpack(data[: _SCRATCH.size])
        for path, content in (
            (self._folder / f"{key}.o", data[_SCRATCH.size :]),
            (self._note(number), f"{key} {scratch}".encode()),
        ):
            part = path.with_suffix(f".{os.getpid()}")
            part.write_bytes(content)
            part.replace(path)  # another process may write the same object

    def _compiled(self, function: tirx.PrimFunc, key: str) -> bytes:
        """The scratch memory that the kernel takes, and its object file."""
        named = tvm.IRModule({"main": function.with_attr("global_symbol", _symbol(key))})
        # Relax checks a model's inputs: the checks in each kernel took half of the code generator's
        # time, and were half of its code.
        scratch = Scratch()
        settings = {"tirx.disable_assert": True}
        with tvm.transform.PassContext(config=settings, instruments=[scratch]), self._target:
            made = on_stack(keep_nan(named))
            library = tvm.tirx.build(made, target=self._target, pipeline="default")
        path = self._folder / f"{key}.{os.getpid()}.o"
        library.write_to_file(str(path))
        data = _SCRATCH.pack(scratch.bytes) + path.read_bytes()
        path.unlink()
        return data


def key_of(function: tirx.PrimFunc, target: tvm.target.Target) -> str:
    """A hash of all that decides what code a function becomes."""
    digest = hashlib.sha256(_made_with())
    settings = tvm.transform.PassContext.current()
    digest.update(f"{target}\0{settings.opt_level}\0{settings.config}\0".encode())
    digest.update(tvm.ir.save_json(function).encode())
    return digest.hexdigest()


@functools.cache
def _made_with() -> bytes:
    """A hash of TVM's version and of this stack's code, which registers rules for TVM's passes."""
    digest = hashlib.sha256(f"{tvm.__version__}\0{tvm_ffi.__version__}\0".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def _symbol(key: str) -> str:
    return f"k{key[:32]}"


def _numbers(queue: int) -> Iterator[int]:
    """The numbers in a pipe that several processes read; four bytes are read in one step."""
    while data := os.read(queue, 4):
        yield struct.unpack("=I", data)[0]


def _forked(work: Callable[[], None]) -> int:
    """Starts ``work`` in a fork of this process and returns its id."""
    with warnings.catch_warnings():
        # The threads that Python 3.12 warns of are TVM's and ONNX Runtime's, idle and not used.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        work()
        status = 0
    finally:
        os._exit(status)  # what the buffers hold is the parent's to write
