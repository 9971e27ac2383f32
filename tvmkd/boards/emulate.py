"""Emulated boards: the boards' own server under QEMU, for tests and for trying things out.

The tracker, the upload, the AArch64 instructions and the server are real; the times are not. QEMU's
wall time says nothing about what a kernel costs on a board, so everything measured here is marked
as emulated. Instruction counts are another matter: they repeat, and fewer is better.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from tvmkd.base import folders, toolchain, wheels
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.boards import bundle
from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import START_SECONDS, Fleet, Process, start_tracker
from tvmkd.targets import Target

QEMU = "qemu-aarch64"
SYSTEM = Path("/usr/aarch64-linux-gnu")
PACKAGES = "qemu-user libc6-arm64-cross libstdc++6-arm64-cross libgcc-s1-arm64-cross"
_NEEDED = ("lib/ld-linux-aarch64.so.1", "lib/libstdc++.so.6", "lib/libgcc_s.so.1")


def why_not() -> str | None:
    """Why no AArch64 board can be emulated here, with the command that mends it; None: it can."""
    if shutil.which(QEMU) is None or not all((SYSTEM / name).exists() for name in _NEEDED):
        return f"no emulated boards here: sudo apt-get install {PACKAGES}"
    return None


def why_no_counts() -> str | None:
    """Why emulated boards cannot count instructions here; None if they can."""
    reason = why_not()
    if reason is not None:
        return reason
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True).stdout
    major = said.split("version ")[-1].split(".")[0]
    if not major.isdigit() or int(major) > 8:
        return f"the instruction counter is made for QEMU up to 8.2, and this is {major or said!r}"
    return None


def _cpu(target: Target) -> str:
    if target.device != "cpu":
        raise UsageError(f"{target.name}: an emulated board has no GPU; emulate its CPU")
    if target.architecture != "aarch64":
        raise UsageError(
            f"{target.name}: only AArch64 boards are emulated, and this is {target.architecture}; "
            "a board of this machine's own kind is started with: tvmkd board serve"
        )
    return target.mcpu if target.mcpu.startswith("cortex-") else "max"


def counter() -> Path:
    """The plugin that counts instructions, compiled once.

    Raises:
        MissingError: it cannot be used with the QEMU that is here.
    """
    reason = why_no_counts()
    if reason is not None:
        raise MissingError(reason)
    source = bundle.NATIVE / "icount.c"
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        command = [*toolchain.host_compiler(), "-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
        command += ["-o", os.fspath(folder / "icount.so"), os.fspath(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise MissingError(
                f"the instruction counter cannot be compiled ({last}); apt install gcc"
            )

    return folders.make_once(wheels.cache() / f"icount-{key}", fill) / "icount.so"


def start_board(
    target: Target,
    tracker: str,
    key: str,
    *,
    count_into: Path | None = None,
    port: int = 0,
    root: str | None = None,
) -> Process:
    """Starts one emulated board that ends with this process; it is not waited for.

    Args:
        target: an AArch64 target.
        tracker: ``HOST:PORT``.
        key: to register under.
        count_into: the file for the count of its instructions; None: they are not counted.
        port: where it listens (0: any free one).
        root: a folder whose ``proc`` and ``sys`` it reads instead of this machine's.
    """
    reason = why_not()
    if reason is not None:
        raise MissingError(reason)
    cpu = _cpu(target)
    command = [QEMU, "-cpu", cpu, "-L", os.fspath(SYSTEM)]
    env = {"TVM_NUM_THREADS": "1"}
    if count_into is not None:
        command += ["-plugin", f"file={counter()},counter={count_into}"]
        env["TVMKD_BOARD_ICOUNT"] = os.fspath(count_into)
    if root is not None:
        env["TVMKD_BOARD_ROOT"] = root
    command += [os.fspath(bundle.runtime(target) / bundle.SERVER), "--tracker", tracker]
    command += ["--key", key, "--port", str(port), "--emulated", f"{QEMU} -cpu {cpu}"]
    return Process([*command, "--die-with-parent"], env)


def _end_all(fleet: Fleet) -> None:
    for board in fleet.servers:
        board.end()


@contextlib.contextmanager
def running_emulated_fleet(
    target: Target,
    count: int = 1,
    key: str = "local",
    *,
    icount: bool = False,
    tracker: tuple[str, int] | None = None,
) -> Iterator[Fleet]:
    """A tracker and ``count`` emulated boards while the block runs.

    Args:
        target: an AArch64 target.
        icount: let them count instructions (``tvmkd tune --evaluator icount``).
        tracker: host and port of one that runs already; None starts one.

    Raises:
        MissingError: QEMU or what goes with it is not installed, or a process did not start.
        UsageError: the target is none that is emulated.
    """
    with contextlib.ExitStack() as stack:
        counts = None
        if icount:
            counts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-icount-")))
        own = start_tracker() if tracker is None else None
        if own is not None:
            stack.callback(own.end)
            tracker = ("127.0.0.1", own.wait_until_listening())
        assert tracker is not None
        host, port = tracker
        before = sum(board["key"] == key for board in boards(host, port))
        fleet = Fleet(host, port, key, own)
        stack.callback(_end_all, fleet)
        for number in range(count):
            into = counts / f"{number}" if counts is not None else None
            fleet.servers.append(start_board(target, f"{host}:{port}", key, count_into=into))
        for board in fleet.servers:
            board.wait_until_listening()
        deadline = time.monotonic() + START_SECONDS
        while sum(board["key"] == key for board in boards(host, port)) < before + count:
            if time.monotonic() > deadline:
                raise MissingError(f"the emulated boards did not register at {host}:{port}")
            time.sleep(0.05)
        yield fleet


@contextlib.contextmanager
def emulated_fleet(
    target: Target,
    count: int = 1,
    key: str = "local",
    *,
    icount: bool = False,
    tracker: tuple[str, int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Like :func:`running_emulated_fleet`, but yields ``{"host", "port", "key"}``."""
    with running_emulated_fleet(target, count, key, icount=icount, tracker=tracker) as fleet:
        yield fleet.address()


def keep_alive(fleet: Fleet, tell: Callable[[str], None]) -> NoReturn:
    """Starts boards of ``fleet`` again that have died, on the same port. Ends by an exception."""
    while True:
        for index, board in enumerate(fleet.servers):
            if board.alive():
                continue
            tell(f"the emulated board at port {board.port} has died and is started again")
            board.end()
            fleet.servers[index] = board.again()
            fleet.servers[index].wait_until_listening()
        time.sleep(0.5)
