"""Compiles a graph's C and the runtime, and links them with the kernels: ``.so`` and ``.a``."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tvmkd.base import elf, resources, wheels
from tvmkd.base.blob_cache import BlobCache
from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.base.toolchain import zig
from tvmkd.boards import symbols
from tvmkd.runtime.standalone_program import ENTRY, NATIVE
from tvmkd.stacks.standalone import calls, frames, source
from tvmkd.stacks.standalone.graph import Graph
from tvmkd.stacks.standalone.source import About
from tvmkd.targets import Toolchain

RUNTIME = ("instance", "exits", "pool", "cpu", "sort")
_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    # A thread's variables without a call, which might allocate.
    "-ftls-model=initial-exec",
    "-fno-stack-protector",
    "-fno-sanitize=all",
    "-Wall",
    "-Wextra",
    "-Werror",
)
_RUNTIMES = re.compile(rb"\btvmkd_rt_\w+")
# Of what computes: for the target's CPU, which is checked when a library is opened. A fused
# multiply-add would round otherwise than Python does.
_FAST = ("-O3", "-ffp-contract=off")


class Package:
    """What is built for one model, in a folder.

    Attributes:
        runtime: the parts of the runtime that are linked in.
        libraries: the C library's parts that the linker is told of.

    Args:
        graph: with the symbols that the object files define.
        about: the model.
        toolchain: of the target.
        kernels: their object files.
        folder: for the files; the object files among them.

    Raises:
        InputError: a kernel calls something that the runtime does not have.
    """

    runtime: tuple[str, ...] = RUNTIME
    libraries: tuple[str, ...] = ("-lm", "-lpthread")

    def __init__(
        self,
        graph: Graph,
        about: About,
        toolchain: Toolchain,
        kernels: Sequence[Path],
        folder: Path,
    ) -> None:
        self._graph, self._about, self._folder = graph, about, folder
        self._toolchain, self._kernels = toolchain, kernels
        self._sorts = bool(calls.by_name(about.name, kernels))
        self._name = source.identifier(about.name)
        machine = toolchain.triple.partition("-")[0]
        if machine not in elf.MACHINES:
            raise UsageError(f"standalone libraries are for {' and '.join(elf.MACHINES)} only")
        self._zig = [*zig(), "cc", "-target", f"{toolchain.triple}.{toolchain.glibc}"]
        cpu = about.cpu.replace("-", "_")
        self._fast = (*_FAST, f"-mcpu={cpu}") if cpu not in ("", "generic") else _FAST
        self._key, self._header = self._names()
        self._objects = [self._model(), *self._runtime()]
        if graph.constants:
            self._objects.append(self._constants(machine))

    def shared(self, path: Path) -> Path:
        """Links the shared library.

        Raises:
            InputError: a kernel calls something that neither the runtime nor the C library has, or
                the library would not load with the target's glibc.
            TvmkdError: the linker failed.
        """
        exported = self._folder / "exported.map"
        exported.write_text(f"{{ global: {ENTRY}; {self._name}_library; local: *; }};\n")
        command = [*self._zig, "-shared", "-s", f"-Wl,--version-script={exported}"]
        command += ["-Wl,-z,defs", "-Wl,--gc-sections", f"-Wl,-soname,lib{self._name}.so"]
        command += [os.fspath(each) for each in (*self._objects, self._entry(), *self._kernels)]
        self._run([*command, *self.libraries, "-o", os.fspath(path)], "linking")
        symbols.check([path], self._toolchain.glibc)
        return path

    def static(self, path: Path) -> Path:
        """Writes the static library; its objects fit glibc and musl.

        A kernel that two models share is the same member in both, so that both may be linked into
        one program.
        """
        path.unlink(missing_ok=True)
        members = [*self._objects, self._entry(), *self._kernels]
        command = [*zig(), "ar", "rcsD", os.fspath(path), *map(os.fspath, members)]
        self._run(command, "writing the static library")
        return path

    def _model(self) -> Path:
        text = self._folder / f"{self._name}.c"
        text.write_text(self._source())
        return self._compiled(text)

    def _source(self) -> str:
        """The C file of the model."""
        return source.write(self._graph, self._about, sorts=self._sorts)

    def _entry(self) -> Path:
        text = self._folder / f"{self._name}_entry.c"
        text.write_text(source.entry(self._about.name))
        return self._compiled(text)

    def _constants(self, machine: str) -> Path:
        path = self._folder / f"{self._name}_constants.o"
        parts = [array.reshape(-1).view("uint8").data for array in self._graph.constants]
        elf.write_data(path, machine, source.constants(self._about.name), parts)
        return path

    def _names(self) -> tuple[str, Path]:
        """A hash of all that decides what code the runtime becomes, and a header that puts it into
        the names of the runtime's functions: a linker takes each of one program's models with the
        runtime that it was built with, or refuses.
        """
        made = (self._zig[2:], _FLAGS, self._fast, _RUNTIMES.pattern, wheels.version("ziglang"))
        digest, names = hashlib.sha256(repr(made).encode()), set[str]()
        for path in sorted(NATIVE.glob("*.[ch]")):
            text = path.read_bytes()
            digest.update(text)
            names.update(name.decode() for name in _RUNTIMES.findall(text))
        key = digest.hexdigest()[:32]
        header = self._folder / "names.h"
        lines = (f"#define {name} {name}_{key[:8]}\n" for name in sorted(names))
        header.write_text("".join(lines))
        return key, header

    def _runtime(self) -> list[Path]:
        """The runtime's object files, from the cache if they were compiled before."""
        cache = BlobCache(resources.cache("standalone"))
        found = []
        for name in (*self.runtime, *(frames.SOURCES if self._about.frames else ())):
            path = self._folder / f"tvmkd_{name}.o"
            key = f"{self._key}-{name}"
            data = cache.get(key)
            if data is None:
                flags = self._fast if name in frames.SOURCES else ()
                data = self._compiled(NATIVE / f"{name}.c", path, flags).read_bytes()
                cache.put(key, data)
            path.write_bytes(data)
            found.append(path)
        return found

    def _compiled(self, text: Path, path: Path | None = None, flags: Sequence[str] = ()) -> Path:
        path = path or text.with_suffix(".o")
        if not path.exists():
            command = [*self._zig, *_FLAGS, *flags, f"-I{NATIVE}", "-c", os.fspath(text)]
            command += ["-include", os.fspath(self._header)]
            self._run([*command, "-o", os.fspath(path)], f"compiling {text.name}")
        return path

    def _run(self, command: list[str], what: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if not done.returncode:
            return
        missing = re.findall(r"undefined symbol: (\S+)", done.stderr)
        if missing:
            raise InputError(
                f"{self._about.name}: cannot be a standalone library: its kernels call "
                f"{', '.join(dict.fromkeys(missing))}, which is in TVM's runtime; build it without "
                "--runtime standalone"
            )
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise TvmkdError(f"{what} failed: {(lines or ['no message'])[0].strip()}")


def texts(name: str) -> dict[str, str]:
    """The files for people who use the library, by name: headers, an example, CMake's."""
    plain = source.identifier(name)
    found = {"tvmkd.h": (NATIVE / "tvmkd.h").read_text(encoding="utf-8")}
    for template, made in (
        ("model.h.in", f"{plain}.h"),
        ("example.c.in", "example.c"),
        ("CMakeLists.txt.in", "CMakeLists.txt"),
    ):
        text = (NATIVE / template).read_text(encoding="utf-8")
        found[made] = text.replace("@NAME@", plain).replace("@UPPER@", plain.upper())
    return found
