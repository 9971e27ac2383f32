"""What the kernel of a recurrent layer computes in which tiles, and its weights in that order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tvmkd.stacks.relax.kernels import lanes_for
from tvmkd.stacks.relax.templates.cpu import Cpu

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
THREAD_COST = 16_000
"""Cycles that starting threads takes: 4 µs at 4 GHz."""
MOST_ROWS = 6
"""Sequences in a tile: the places of more states take more address registers than there are."""
CACHE_BYTES = 32
"""Bytes of weights that a core reads from its second cache in a cycle."""


@dataclass(frozen=True)
class Layer:
    """A recurrent layer of one or two directions, and how its kernel computes it.

    Attributes:
        kind: ``LSTM``, ``GRU`` or ``RNN``.
        steps, batch, hidden: its sizes.
        backward: for each direction, whether it begins with the last step.
        reset_after: of a GRU: whether the reset gate multiplies the product with the state, not the
            state. (ONNX's ``linear_before_reset``.)
        bend: of an RNN: ``tanh`` or ``relu``.
        lanes: floats in a vector.
        vectors: of units in a tile.
        rows: sequences of the batch in a tile.
        threads: which loop they share: ``sequences`` (directions, and parts of the batch),
            ``tiles`` (of each step), or none.
    """

    kind: str
    steps: int
    batch: int
    hidden: int
    backward: tuple[bool, ...]
    reset_after: bool = False
    bend: str = "tanh"
    lanes: int = 8
    vectors: int = 1
    rows: int = 1
    threads: str = ""

    @property
    def directions(self) -> int:
        """One or two."""
        return len(self.backward)

    @property
    def gates(self) -> int:
        """Of a unit."""
        return GATES[self.kind]

    @property
    def units(self) -> int:
        """Of a tile."""
        return self.lanes * self.vectors

    @property
    def tiles(self) -> int:
        """That hold all hidden units."""
        return -(-self.hidden // self.units)

    @property
    def width(self) -> int:
        """Hidden units, with those that fill up the last tile and stay 0."""
        return self.tiles * self.units

    @property
    def depth(self) -> int:
        """Hidden units that a product reads: whole fours."""
        return -(-self.hidden // 4) * 4

    @property
    def products(self) -> tuple[tuple[int, ...], ...]:
        """The gates that are computed together, from the state and then from what is left of it."""
        if self.kind == "GRU" and not self.reset_after:
            return (0, 1), (2,)
        return (tuple(range(self.gates)),)


def planned(layer: Layer, cpu: Cpu) -> Layer:
    """The layer with tiles that fit into the registers of a CPU, and threads where they pay."""
    lanes = lanes_for(layer.hidden, cpu.lanes)
    most, blocks = cpu.in_registers(lanes), -(-layer.hidden // lanes)
    # Sequences share what is loaded of the weights; the parts of a batch are alike.
    parts = -(-layer.batch // max(1, min(most // layer.gates, MOST_ROWS)))
    if layer.directions < cpu.threads and layer.batch >= 2 * cpu.threads:
        parts = max(parts, cpu.threads)
    rows = -(-layer.batch // parts)
    # As many sums as hide the latency of an addition, and no empty vectors.
    wanted = min(cpu.latency * cpu.fma, most)
    fitting = [n for n in (2, 4, 8) if n * layer.gates * rows <= wanted and blocks % n == 0]
    vectors = max(fitting, default=1)
    made = replace(layer, lanes=lanes, vectors=vectors, rows=rows)
    runs = layer.directions * -(-layer.batch // rows)
    step = 4 * layer.gates * made.width * made.depth / CACHE_BYTES
    threads = ""
    if cpu.threads > 1 and runs > 1 and step * layer.steps * runs > 4 * THREAD_COST:
        threads = "sequences"
    elif cpu.threads > 1 and runs == 1 and step > 4 * THREAD_COST:
        threads = "tiles"
    return replace(made, threads=threads)


def in_tiles(layer: Layer, array: np.ndarray) -> np.ndarray:
    """``[D, gates * hidden, ...]`` as ``[D, tiles, gates, units, ...]``, zeros behind."""
    directions, _, *rest = array.shape
    split = array.reshape(directions, -1, layer.hidden, *rest)
    gates = split.shape[1]
    padded = np.zeros((directions, gates, layer.width, *rest), array.dtype)
    padded[:, :, : layer.hidden] = split
    tiled = padded.reshape(directions, gates, layer.tiles, layer.units, *rest)
    return np.ascontiguousarray(np.moveaxis(tiled, 1, 2))


def packed(layer: Layer, recurrent: np.ndarray) -> list[np.ndarray]:
    """The recurrent weights ``[D, gates * hidden, hidden]``, for each of `Layer.products`:
    ``[D, tiles, depth, gates * units]``.
    """
    tiled = in_tiles(layer, recurrent)
    more: list[Any] = [(0, 0)] * 4 + [(0, layer.depth - layer.hidden)]
    turned = np.moveaxis(np.pad(tiled, more), -1, 2)  # [D, tiles, depth, gates, units]
    return [
        np.ascontiguousarray(turned[:, :, :, list(gates)]).reshape(*turned.shape[:3], -1)
        for gates in layer.products
    ]
