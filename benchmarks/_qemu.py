"""QEMU's user mode with the counting plugin ``qemu_blocks.c``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import folders, resources, toolchain
from tvmkd.base.errors import MissingError

PLUGIN = Path(__file__).with_name("qemu_blocks.c")
PROGRAMS = {"aarch64": "qemu-aarch64", "x86_64": "qemu-x86_64"}
BLOCK = np.dtype([("address", "<u8"), ("instructions", "<u8"), ("runs", "<u8"), ("code", "<u8")])
HEAD = 6
"""Numbers (uint64) in front of the blocks."""
CODE = 8 * HEAD + BLOCK.itemsize * (1 << 20)
"""Where the blocks' code begins in the plugin's file."""


def why_not(architecture: str = "aarch64") -> str | None:
    """Why nothing can be counted here, with the command that mends it; None if it can."""
    program = PROGRAMS[architecture]
    if shutil.which(program) is None:
        return f"no {program} here, which runs and counts: sudo apt-get install qemu-user"
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    major = said.split("version ")[-1].split(".")[0]
    if not major.isdigit() or int(major) > 8:
        return f"the counting plugin is made for QEMU up to 8.2, and this is {major or said!r}"
    return None


def run_tool(command: Sequence[str], needs: str, **more: Any) -> str:
    """Runs a command and returns its output.

    Args:
        needs: what has to be installed for it, for the message.
        more: for `subprocess.run`.

    Raises:
        MissingError: it is not installed, or fails.
    """
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, **more)
    except FileNotFoundError:
        raise MissingError(f"{command[0]} is not installed; this needs {needs}") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise MissingError(f"{command[0]} fails ({lines[-1]}); this needs {needs}")
    return done.stdout


def plugin() -> Path:
    """The counting plugin, compiled once.

    Raises:
        MissingError: there is no compiler.
    """
    key = hashlib.sha256(PLUGIN.read_bytes()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        command = [*toolchain.host_compiler(), "-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
        run_tool([*command, "-o", os.fspath(folder / "blocks.so"), os.fspath(PLUGIN)], "gcc")

    return folders.make_once(resources.cache("native") / f"qemu-{key}", fill) / "blocks.so"


@dataclass(frozen=True)
class Counts:
    """A copy of what the plugin counts.

    Attributes:
        accesses, l1_misses, l2_misses: lines of data, if it follows caches.
        blocks: ``[translations]`` of `BLOCK`.
    """

    accesses: int
    l1_misses: int
    l2_misses: int
    blocks: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Counts:
        """Reads the plugin's file, or a copy of its head and blocks."""
        with path.open("rb") as file:
            head = np.frombuffer(file.read(8 * HEAD), "<u8")
            data = file.read(BLOCK.itemsize * int(head[0]))
        accesses, l1_misses, l2_misses = (int(number) for number in head[2:5])
        return cls(accesses, l1_misses, l2_misses, np.frombuffer(data, BLOCK))

    @staticmethod
    def follow_caches(path: Path, whether: bool) -> None:
        """Lets the plugin follow its caches, which takes most of its time, or not."""
        with path.open("r+b") as file:
            file.seek(8 * (HEAD - 1))
            file.write(int(whether).to_bytes(8, "little"))

    @property
    def instructions(self) -> int:
        """Retired so far."""
        return int((self.blocks["instructions"] * self.blocks["runs"]).sum())


def between(end: Counts, start: Counts, share: float = 1.0) -> np.ndarray:
    """The blocks that ran between two counts: `BLOCK` with ``runs`` as float64.

    Translations of the same instructions are added up.

    Args:
        share: of the runs that is given, to divide by the number of inferences.
    """
    more = end.blocks["runs"].astype(np.float64)
    more[: len(start.blocks)] -= start.blocks["runs"]
    ran = np.flatnonzero(more > 0)
    # QEMU may cut a block at another place when it translates it again: then it is another block.
    keys = np.stack([end.blocks["address"][ran], end.blocks["instructions"][ran]])
    kinds, first, place = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    found = np.empty(len(first), [*BLOCK.descr[:2], ("runs", "<f8"), BLOCK.descr[3]])
    found["address"], found["instructions"] = kinds
    found["runs"] = np.bincount(place.ravel(), more[ran], len(first)) * share
    found["code"] = end.blocks["code"][ran[first]]
    return found
