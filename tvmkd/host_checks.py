"""The checks of ``tvmkd doctor``: one small function per check."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tvmkd import targets
from tvmkd.base import machine, stack_registry
from tvmkd.base.checks import GIB, Check
from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.base.version import __version__

MEMORY_WANTED = 4 * GIB
DISK_WANTED = 2 * GIB


def checks() -> Iterator[Check]:
    """All checks, fastest first, so that the first lines appear at once."""
    yield _python()
    yield from _packages()
    yield _host_target()
    yield _cores()
    yield _memory()
    yield _disk()
    yield _governor()
    yield _compiler()
    yield _zig()
    yield _tracker()
    yield _tvm()
    yield from _other_stacks()


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()}, tvmkd {__version__}")


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    try:
        wanted = importlib.metadata.requires("tvmkd") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", "warn", "tvmkd runs from its source folder", "pip install -e .")
        return
    for text in sorted(wanted):
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        fix = f"pip install '{need.name}{need.specifier}'"
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(need.name, "fail", "is not installed", fix)
            continue
        if need.specifier.contains(version, prereleases=True):
            yield Check(need.name, "ok", version)
        else:
            yield Check(need.name, "fail", f"{version}, wanted {need.specifier}", fix)


def _host_target() -> Check:
    name = f"{machine.cpu_model()} ({machine.architecture()})"
    try:
        return Check("processor", "ok", f"{name}: target {targets.host_name()}")
    except InputError as error:
        return Check("processor", "warn", name, str(error).rpartition("; ")[2])


def _cores() -> Check:
    count = machine.physical_cores()
    return Check("cores", "ok", f"{count} physical cores for this process")


def _memory() -> Check:
    memory = machine.memory_bytes()
    if memory is None:
        return Check("memory", "warn", "cannot be read from /proc/meminfo")
    total, free = memory
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB available"
    if free < MEMORY_WANTED:
        return Check("memory", "warn", text, "close other programs: tuning wants 4 GiB")
    return Check("memory", "ok", text)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / GIB:.1f} GiB free in this folder"
    if free < DISK_WANTED:
        return Check("disk", "warn", text, "free some space, or work in another folder")
    return Check("disk", "ok", text)


def _governor() -> Check:
    name = machine.governor()
    if name is None:
        return Check("governor", "ok", "none is shown (a virtual machine, as a rule)")
    if name == "performance":
        return Check("governor", "ok", name)
    return Check(
        "governor",
        "warn",
        f'"{name}": clocks change while kernels are timed',
        "sudo cpupower frequency-set -g performance",
    )


def _compiler() -> Check:
    found = shutil.which("gcc") or shutil.which("clang")
    if found:
        return Check("linker", "ok", found)
    return Check("linker", "warn", "no gcc: zig links instead", "apt install gcc")


def _zig() -> Check:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", "version"], capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return Check(
            "cross-linker", "warn", "zig does not answer", "pip install --force-reinstall ziglang"
        )
    if done.returncode:
        return Check("cross-linker", "fail", "zig does not run", "pip install ziglang")
    return Check("cross-linker", "ok", f"zig {done.stdout.strip()}")


def _tracker() -> Check:
    host = os.environ.get("TVM_TRACKER_HOST")
    if not host:
        return Check("tracker", "ok", "none is set: tuning starts a local one (TVM_TRACKER_HOST)")
    port = os.environ.get("TVM_TRACKER_PORT", "9190")
    return Check("tracker", "ok", f"{host}:{port} from TVM_TRACKER_HOST and TVM_TRACKER_PORT")


def _tvm() -> Check:
    from tvmkd.stacks.client import StackClient

    fix = "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"
    try:
        with StackClient() as stack:
            answer = stack.available()
    except TvmkdError as error:
        return Check("tvm worker", "fail", str(error), fix)
    if answer.get("reason"):
        return Check("tvm worker", "fail", str(answer["reason"]), fix)
    return Check(
        "tvm worker", "ok", f"TVM {answer['version']}, LLVM {answer.get('llvm', 'unknown')}"
    )


def _other_stacks() -> Iterator[Check]:
    for entry in stack_registry.STACKS:
        if entry.own_interpreter:
            yield _other_stack(entry.name)


def _other_stack(name: str) -> Check:
    from tvmkd.runtime import interpreters
    from tvmkd.stacks.survey import survey

    title = f"{name} stack"
    try:
        interpreters.find(name)
    except MissingError as error:
        return Check(title, "ok", f"not used: {str(error).partition(';')[0]}")
    except TvmkdError as error:
        return Check(title, "warn", str(error), f"tvmkd stack install {name}")
    (row,) = survey([name])
    if row["reason"] is not None:
        return Check(title, "warn", row["reason"], row["fix"] or "tvmkd stack list")
    return Check(title, "ok", f"TVM {row['tvm']}, LLVM {row['llvm']}, {row['python']}")
