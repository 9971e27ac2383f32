"""Cycles that LLVM's machine code analyser expects of blocks of code, and whose code they are.

A block is analysed as if it ran again and again: right for the bodies of innermost loops, which
take nearly all of a kernel's time. llvm-mca knows the core's ports, latencies and width, and takes
every load from the first cache.
"""

from __future__ import annotations

import bisect
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _qemu import run_tool

TOOLS = ("llvm-mca", "llvm-mc", "llvm-nm")
NEEDS = "LLVM's tools: sudo apt-get install llvm"
ITERATIONS = 100
MOST_INSTRUCTIONS = 512
HASHED = re.compile(r"k[0-9a-f]{32}")
SHARE = 0.995
"""Of the instructions: the blocks with the rest of them count as their instructions over `WIDTH`.
"""


@dataclass(frozen=True)
class Core:
    """What LLVM calls a core.

    Attributes:
        triple: of the target.
        cpu: its scheduling model.
        width: instructions that it decodes in a cycle.
        mark: bytes of an instruction that no compiler emits, and how it is printed.
    """

    triple: str
    cpu: str
    width: int
    mark: tuple[bytes, str]


_BRK, _INT = (b"\xa0\x01\x3e\xd4", "brk\t#0xf00d"), (b"\xcd\x77", "int\t$119")
CORES = {
    # LLVM uses the Cortex-A57's model for the A72 as well.
    "cortex-a57": Core("aarch64", "cortex-a57", 3, _BRK),
    "cortex-a72": Core("aarch64", "cortex-a72", 3, _BRK),
    "znver3": Core("x86_64", "znver3", 6, _INT),
}


def why_not() -> str | None:
    """What is missing for it; None if nothing is."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    return f"{', '.join(missing)}: not here; sudo apt-get install llvm" if missing else None


def disassembled(blocks: Sequence[bytes], core: Core) -> list[list[str]]:
    """The instructions of each block, as LLVM's assembler reads them; none if LLVM reads no code.

    Raises:
        MissingError: LLVM's tools are not installed, or fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        data = [part for code in blocks for part in (code, core.mark[0])]
        path.write_text("\n".join(",".join(f"0x{byte:02x}" for byte in part) for part in data))
        command = ["llvm-mc", "--disassemble", f"-triple={core.triple}", f"-mcpu={core.cpu}"]
        text = run_tool([*command, str(path)], NEEDS)
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        stripped = line.strip()
        if stripped == core.mark[1]:
            found.append([])
        elif stripped and not stripped.startswith("."):
            found[-1].append(stripped)
    if len(found) == len(blocks) + 1:
        return found[:-1]
    if len(blocks) == 1:
        return [[]]
    half = len(blocks) // 2
    return disassembled(blocks[:half], core) + disassembled(blocks[half:], core)


def cycles(blocks: Sequence[Sequence[str]], core: Core) -> list[float]:
    """Cycles of one run of each block, in a long row of such runs.

    An instruction that the scheduling model does not know makes its block count as instructions
    over the core's width.
    """
    if not blocks:
        return []
    lines = []
    for number, block in enumerate(blocks):
        lines += [f"# LLVM-MCA-BEGIN {number}", *block, "# LLVM-MCA-END"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code.s"
        path.write_text("\n".join(lines) + "\n")
        command = ["llvm-mca", f"-mtriple={core.triple}", f"-mcpu={core.cpu}", "-json"]
        command += [f"-iterations={ITERATIONS}", "-instruction-info=0", "-resource-pressure=0"]
        try:
            text = run_tool([*command, str(path)], NEEDS)
        except Exception:
            if len(blocks) == 1:
                return [len(blocks[0]) / core.width]
            half = len(blocks) // 2
            return cycles(blocks[:half], core) + cycles(blocks[half:], core)
    found = {
        region["Name"]: region["SummaryView"]["TotalCycles"] / ITERATIONS
        for region in json.loads(text)["CodeRegions"]
    }
    return [found[str(number)] for number in range(len(blocks))]


def expected(blocks: np.ndarray, codes: Sequence[bytes], core: Core) -> np.ndarray:
    """Cycles that each block takes in all its runs, ``[blocks]`` float64.

    Args:
        blocks: see `_qemu.between`.
        codes: of each block.
    """
    retired = blocks["instructions"] * blocks["runs"]
    found: np.ndarray = retired / core.width
    order = np.argsort(-retired)
    enough = int(np.searchsorted(np.cumsum(retired[order]), SHARE * retired.sum())) + 1
    chosen = order[:enough]
    parts = [codes[n] for n in chosen]
    read = [(n, block) for n, block in zip(chosen, disassembled(parts, core), strict=True) if block]
    known = [n for n, _ in read]
    found[known] = np.array(cycles([block for _, block in read], core)) * blocks["runs"][known]
    return found


class Symbols:
    """The functions of a library that TVM made, by address."""

    def __init__(self, library: Path) -> None:
        text = run_tool(["llvm-nm", "--defined-only", "-n", str(library)], NEEDS)
        found: list[tuple[int, str]] = []
        for line in text.splitlines():
            address, kind, name = line.split(None, 2)
            if kind in "tTwW" and not name.startswith("$"):
                found.append((int(address, 16), name.removeprefix("__tvm_ffi_")))
        self._addresses, self._names = [a for a, _ in found], [n for _, n in found]
        # A compiled kernel is called by its hash, and has its names in the model beside that.
        self._readable: dict[str, str] = {}
        by_address: dict[int, list[str]] = {}
        for place, name in found:
            by_address.setdefault(place, []).append(name)
        for names in by_address.values():
            for hashed in filter(HASHED.fullmatch, names):
                others = [name for name in names if not HASHED.fullmatch(name)]
                self._readable[hashed] = min(others, key=len, default=hashed)

    def at(self, address: int) -> str:
        """The kernel or function that holds an address."""
        place = bisect.bisect_right(self._addresses, address) - 1
        if place < 0:
            return ""
        name = self._names[place]
        start = HASHED.match(name)
        return name if start is None else self._readable.get(start[0], name)


def in_library(
    blocks: np.ndarray, maps: Sequence[tuple[int, int, int, str]], library: Path
) -> tuple[np.ndarray, int]:
    """Which blocks lie in a library, ``[blocks]`` bool, and the address that it was loaded at."""
    parts = [(first, last, offset) for first, last, offset, path in maps if path == str(library)]
    inside = np.zeros(len(blocks), bool)
    for first, last, _ in parts:
        inside |= (blocks["address"] >= first) & (blocks["address"] < last)
    return inside, min((first for first, *_ in parts), default=0)
