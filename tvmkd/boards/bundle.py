"""What turns a bare board into a TVM RPC server: our C server, TVM's runtime libraries, a script.

The server is built here with zig, which brings headers and stubs for any glibc; the libraries come
out of the wheels of the pinned TVM. Nothing is compiled on the board, and nothing there is Python.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvmkd.base import folders, wheels
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.files import write_bytes
from tvmkd.base.toolchain import zig
from tvmkd.base.version import __version__
from tvmkd.boards import symbols
from tvmkd.targets import Target

NATIVE = Path(__file__).parent / "native"
SERVER = "tvmkd-board"
CUDA = "libtvm_runtime_cuda.so"
SOURCES = (
    *("main", "net", "text", "tracker", "session", "facts", "count"),
    *("board_files", "board_power"),
)
FILES = (SERVER, *wheels.NAMES)
SUMS = "SHA256SUMS"

Tell = Callable[[str], None]


def _quiet(_text: str) -> None:
    pass


def _compile(target: Target, libraries: Path, out: Path) -> None:
    command = [*_compiler(target, "cc", out), "-std=gnu11", f"-L{libraries}"]
    command += [f'-DTVMKD_VERSION="{__version__}"', f'-DTVM_VERSION="{wheels.TVM_VERSION}"']
    command += [os.fspath(NATIVE / f"{name}.c") for name in SOURCES]
    # The runtime registers its functions as it is loaded: nothing refers to it by name.
    command += ["-ltvm_ffi", "-Wl,--no-as-needed", "-ltvm_runtime", "-ltvm_runtime_extra", "-ldl"]
    _run(command, SERVER)


def _compile_cuda(target: Target, libraries: Path, out: Path) -> None:
    """TVM's device runtime for the board's GPU, over the driver alone: no CUDA toolkit is used."""
    command = [*_compiler(target, "c++", out), "-std=c++17", "-shared", "-fPIC", f"-L{libraries}"]
    command += ["-fvisibility=hidden", "-isystem", os.fspath(wheels.installed("tvm", "include"))]
    command += [os.fspath(NATIVE / "cuda.cc"), "-ltvm_ffi", "-ltvm_runtime", "-ldl"]
    _run(command, CUDA)


def _compiler(target: Target, language: str, out: Path) -> list[str]:
    toolchain = target.toolchain
    command = [*zig(), language, "-target", f"{toolchain.triple}.{toolchain.glibc}"]
    if target.mcpu and target.mcpu != "generic":
        command.append(f"-mcpu={target.mcpu.replace('-', '_')}")
    command += ["-O2", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,-rpath,$ORIGIN"]
    # The headers of others as a system's: their warnings are not ours.
    command += ["-isystem", os.fspath(wheels.installed("tvm_ffi", "include"))]
    return [*command, "-o", os.fspath(out)]


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise TvmkdError(f"{what} cannot be compiled: {(lines or ['no message'])[0].strip()}")


def files(target: Target) -> tuple[str, ...]:
    """The names of what is made for a target: with a GPU in it one more."""
    return (*FILES, CUDA) if target.device == "cuda" else FILES


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def runtime(target: Target, tell: Tell = _quiet) -> Path:
    """A folder with the server and the libraries for ``target``, ready to be copied and run.

    Made once and kept in the cache, under a name that changes with everything that goes in.

    Args:
        target: what to make it for.
        tell: gets what is being done.

    Raises:
        UsageError: there is no TVM for its architecture.
        MissingError: the wheels cannot be downloaded, or there is no compiler.
        InputError: something in it would not load on the target's system.
    """
    made = {
        "sources": [_digest(path) for path in sorted(NATIVE.glob("*.[ch]*"))],
        "target": [target.toolchain.triple, target.toolchain.glibc, target.mcpu, target.device],
        "versions": [__version__, wheels.TVM_VERSION, wheels.FFI_VERSION],
    }
    key = hashlib.sha256(repr(made).encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        libraries = wheels.libraries(target.architecture, tell)
        tell(f"compiling {SERVER} for {target.toolchain.triple}, glibc {target.toolchain.glibc}")
        for name in wheels.NAMES:
            shutil.copy(libraries / name, folder / name)
        _compile(target, folder, folder / SERVER)
        if CUDA in files(target):
            tell("compiling the runtime for the GPU (the first time takes a minute)")
            _compile_cuda(target, folder, folder / CUDA)
        tell("checking which symbols they need")
        symbols.check([folder / name for name in files(target)], target.toolchain.glibc)

    return folders.make_once(wheels.cache() / f"runtime-{target.architecture}-{key}", fill)


def bundle(target: Target, out: Path, *, tell: Tell = _quiet) -> dict[str, Any]:
    """Writes the archive for a board: the same bytes for the same content.

    Args:
        target: the board.
        out: the ``.tar.gz`` to write.
        tell: gets what is being done.

    Returns:
        ``{"path", "bytes", "sha256", "files": {name: {"bytes", "sha256", "needs"}}}``.

    Raises:
        InputError: ``out`` cannot be written, or a file would not load on the board.
        UsageError, MissingError: see :func:`runtime`.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"{out}: cannot be written: its folder is missing or it is one itself")
    folder = runtime(target, tell)
    paths = {name: folder / name for name in files(target)}
    needs = symbols.check(paths.values(), target.toolchain.glibc)
    contents = {name: path.read_bytes() for name, path in paths.items()}
    for name in ("start.sh", "tvmkd-board.service", "README.txt"):
        contents[name] = (NATIVE / name).read_bytes()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    lines = [f"{sums[name]}  {name}\n" for name in sorted(sums)]
    contents[SUMS] = "".join(lines).encode()
    tell(f"writing {out}")
    data = _archive(contents, executable={SERVER, "start.sh"})
    write_bytes(out, data)
    return {
        "path": os.fspath(out),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "files": {
            name: {"bytes": len(contents[name]), "sha256": sums[name], "needs": needs.get(name, {})}
            for name in sorted(sums)
        },
    }


def _archive(contents: dict[str, bytes], executable: set[str]) -> bytes:
    """A ``.tar.gz`` without dates or owners in it, everything under ``tvmkd-board/``."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(contents):
            entry = tarfile.TarInfo(f"tvmkd-board/{name}")
            entry.size = len(contents[name])
            entry.mode = 0o755 if name in executable else 0o644
            archive.addfile(entry, io.BytesIO(contents[name]))
    return gzip.compress(plain.getvalue(), 6, mtime=0)
