"""How many warps of a kernel a multiprocessor holds at a time, as a share of the most it can.

Registers, shared memory and the size of a block limit it. Few warps cannot hide what memory takes;
beyond about a half, more seldom help (Volkov, 2016, "Understanding latency hiding on GPUs").
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65_536
"""Of a multiprocessor."""
REGISTER_UNIT = 256
"""Registers of a warp are given in such pieces."""
WARP_UNIT = 4
"""Warps of a block take registers in such groups."""


@dataclass(frozen=True)
class Multiprocessor:
    """The limits of a multiprocessor.

    Attributes:
        warps, blocks: that it holds at most.
        shared: bytes of shared memory.
        unit: bytes in which a block takes shared memory.
        reserved: bytes of shared memory that the system takes in each block.
    """

    warps: int
    blocks: int
    shared: int
    unit: int = 256
    reserved: int = 0


_KIB = 1024
_KNOWN = {
    50: Multiprocessor(64, 32, 64 * _KIB),
    52: Multiprocessor(64, 32, 96 * _KIB),
    53: Multiprocessor(64, 32, 64 * _KIB),
    60: Multiprocessor(64, 32, 64 * _KIB),
    61: Multiprocessor(64, 32, 96 * _KIB),
    62: Multiprocessor(64, 32, 64 * _KIB),
    70: Multiprocessor(64, 32, 96 * _KIB),
    72: Multiprocessor(64, 32, 96 * _KIB),
    75: Multiprocessor(32, 16, 64 * _KIB),
    80: Multiprocessor(64, 32, 164 * _KIB, 128, _KIB),
    86: Multiprocessor(48, 16, 100 * _KIB, 128, _KIB),
    87: Multiprocessor(48, 16, 164 * _KIB, 128, _KIB),
    89: Multiprocessor(48, 24, 100 * _KIB, 128, _KIB),
    90: Multiprocessor(64, 32, 228 * _KIB, 128, _KIB),
    100: Multiprocessor(64, 32, 228 * _KIB, 128, _KIB),
    120: Multiprocessor(48, 24, 100 * _KIB, 128, _KIB),
}
"""By compute capability times ten; one that is not here is taken for the one before."""


def limits(capability: int) -> Multiprocessor:
    """The limits of a compute capability, times ten."""
    known = [each for each in _KNOWN if each <= capability]
    return _KNOWN[max(known, default=min(_KNOWN))]


def occupancy(capability: int, threads: int, registers: int, shared: int) -> float:
    """The share of a multiprocessor's warps that a kernel can use, 0 to 1.

    Args:
        capability: of the GPU, times ten.
        threads: of a block.
        registers: of a thread.
        shared: bytes of shared memory of a block.

    Returns:
        0 where not one block fits.
    """
    most = limits(capability)
    warps = -(-threads // WARP)
    if not warps:
        return 0.0
    of_warp = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = most.blocks
    if of_warp:
        held = REGISTERS // of_warp // WARP_UNIT * WARP_UNIT
        by_registers = held // (-(-warps // WARP_UNIT) * WARP_UNIT)
    of_block = shared + most.reserved
    of_block = -(-of_block // most.unit) * most.unit
    by_shared = most.shared // of_block if of_block else most.blocks
    blocks = min(most.blocks, most.warps // warps, by_registers, by_shared)
    return blocks * warps / most.warps
