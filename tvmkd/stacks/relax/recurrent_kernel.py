"""LSTM, GRU and RNN as one kernel that computes all steps of a layer.

The inputs of all steps are multiplied by their weights in front, in one product. What is left of a
step is the product of the last state with the recurrent weights, and the gates. A tile of it is all
gates of some units: their sums stay in registers until the new state is stored. The weights of a
tile lie in memory in the order in which they are read, one stream for the whole step.

Directions, and sequences of a batch, do not read each other: they run side by side in threads. The
loops are written by hand, because a step reads what the one before wrote: no schedule applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - as in TVM

from tvmkd.stacks.relax.recurrent_layer import Layer

LEAST_SUMS = 8
"""That are computed side by side: each addition waits for the one before."""
_OPAQUE = 8  # Relax's kOpaque: nothing is fused into the kernel
_DTYPE = "float32"


def arguments(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of the kernel's arguments, all float32, by name; outputs last.

    ``given`` is the inputs' part of the gates, ``weights0`` and so on are
    `tvmkd.stacks.relax.recurrent_layer.packed`, and ``bias`` is added to the product of the last
    gate of a GRU that resets after it. Outputs: the last cell state (LSTM), the last hidden state,
    and all hidden states.
    """
    state = (layer.directions, layer.batch, layer.width)
    sizes = layer.directions, layer.tiles, layer.gates * layer.units
    found: dict[str, tuple[int, ...]] = {"given": (layer.steps, layer.batch, *sizes)}
    for number, gates in enumerate(layer.products):
        width = len(gates) * layer.units
        found[f"weights{number}"] = (layer.directions, layer.tiles, layer.depth, width)
    if layer.reset_after:
        found["bias"] = (layer.directions, layer.width)
    names = ("cell", "hidden") if layer.kind == "LSTM" else ("hidden",)
    found.update({f"first_{name}": state for name in names})
    found.update(dict.fromkeys(names, state))
    found["states"] = (layer.steps, *state)
    return found


def kernel(layer: Layer) -> tirx.PrimFunc:
    """The kernel, with the arguments of `arguments`."""
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_attr({"op_pattern": _OPAQUE, "tirx.noalias": True})
            given = {
                name: T.arg(name, T.buffer(shape, _DTYPE, layout=None))
                for name, shape in arguments(layer).items()
            }
            whole, left = divmod(layer.batch, layer.rows)
            for first, count, rows in ((0, whole, layer.rows), (whole * layer.rows, 1, left)):
                if count and rows:
                    _sequences(layer, given, first, count, rows)
        return builder.get()


def _sequences(layer: Layer, given: dict[str, Any], start: int, count: int, rows: int) -> None:
    """All steps of ``count`` times ``rows`` sequences, in each direction."""
    threads = layer.threads == "sequences" and layer.directions * count > 1
    with (T.parallel if threads else T.serial)(0, layer.directions * count) as number:
        first = number % count * rows + start
        _Run(layer, given, number // count, [first + row for row in range(rows)]).steps()


class _Run:
    """The steps of a few sequences in one direction.

    Args:
        given: the kernel's arguments, by name.
        direction: its number.
        rows: the numbers of the sequences.
    """

    def __init__(
        self, layer: Layer, given: dict[str, Any], direction: Any, rows: Sequence[Any]
    ) -> None:
        self.layer, self.given, self.direction, self.rows = layer, given, direction, rows

    def steps(self) -> None:
        """Puts the loop over time here."""
        layer = self.layer
        for name in ("hidden", "cell") if layer.kind == "LSTM" else ("hidden",):
            self._copied(f"first_{name}", name)
        # What a GRU that resets the state leaves of it, and its update gates.
        shape = (len(self.rows), layer.width)
        two = len(layer.products) > 1
        left, update = (self.memory(shape) for _ in range(2)) if two else (None, None)
        with T.serial(0, layer.steps) as step:
            at = self._time(step)
            for number in range(len(layer.products)):
                loop = T.parallel if layer.threads == "tiles" else T.serial
                with loop(0, layer.tiles) as tile:
                    _Tile(self, at, tile, number, left, update).computed()
            self._copied("states", "hidden", at)

    def memory(self, shape: tuple[int, ...], scope: str = "global") -> Any:
        """Takes memory for an array here."""
        return T.alloc_buffer(shape, _DTYPE, scope=scope, layout=None)

    def load(self, array: Any, *place: Any) -> Any:
        """A vector of an argument or of another array."""
        array = self.given[array] if isinstance(array, str) else array
        return array.vload(list(place), f"{_DTYPE}x{self.layer.lanes}")

    def store(self, array: Any, value: Any, *place: Any) -> None:
        """Puts the storing of a vector here."""
        array = self.given[array] if isinstance(array, str) else array
        *front, last = place
        T.buffer_store(array, value, [*front, tirx.Ramp(last, 1, self.layer.lanes)])

    def _time(self, step: Any) -> Any:
        """The number of the step that is computed as number ``step``."""
        backward, last = self.layer.backward, self.layer.steps - 1
        if len(set(backward)) == 1:
            return last - step if backward[0] else step
        return tirx.Select(tirx.EQ(self.direction, int(backward[1])), last - step, step)

    def _copied(self, source: str, name: str, *at: Any) -> None:
        layer = self.layer
        with T.serial(0, layer.width // layer.lanes) as block:
            for row in self.rows:
                place = (self.direction, row, block * layer.lanes)
                self.store(name, self.load(source, *at, *place), *place)


class _Tile:
    """One product of a tile with the state, and the gates of its units.

    Args:
        at: the number of the step.
        tile, number: of the tile and of the product.
        left, update: arrays ``[rows, width]`` between the two products of a GRU.
    """

    def __init__(self, run: _Run, at: Any, tile: Any, number: int, left: Any, update: Any) -> None:
        self._run, self._at, self._tile, self._number = run, at, tile, number
        self._left, self._update, self._layer = left, update, run.layer
        self._gates = run.layer.products[number]
        self._size = len(self._gates) * run.layer.units
        side_by_side = self._size // run.layer.lanes * len(run.rows)
        self._parts = 1 if side_by_side >= LEAST_SUMS else 2 if side_by_side > 2 else 4

    def computed(self) -> None:
        """Puts the computation here."""
        layer, rows = self._layer, range(len(self._run.rows))
        sums = [self._started(row) for row in rows]
        with T.serial(0, layer.depth // self._parts) as k:
            for part in range(self._parts):
                for row in rows:
                    self._added(sums[row], row, k * self._parts + part, part)
        for row in rows:
            for unit in range(0, layer.units, layer.lanes):
                self._finished(sums[row], row, unit)

    def _started(self, row: int) -> Any:
        """The sums of a row: what they begin with, several for each gate."""
        run, lanes = self._run, self._layer.lanes
        total = run.memory((self._parts * self._size,), "local")
        for place in range(0, self._parts * self._size, lanes):
            value: Any = tirx.Broadcast(tirx.const(0.0, _DTYPE), lanes)
            if place < self._size:
                gate, unit = divmod(place, self._layer.units)
                if self._layer.reset_after and gate == 2:
                    value = run.load("bias", run.direction, self._unit(unit))
                else:
                    value = self._input(self._gates[gate], row, unit)
            run.store(total, value, place)
        return total

    def _added(self, total: Any, row: int, k: Any, part: int) -> None:
        run, lanes = self._run, self._layer.lanes
        if self._number:
            state = self._left[row, k]
        else:
            state = run.given["hidden"][run.direction, run.rows[row], k]
        spread = tirx.Broadcast(state, lanes)
        for place in range(0, self._size, lanes):
            weights = run.load(f"weights{self._number}", run.direction, self._tile, k, place)
            own = part * self._size + place
            run.store(total, run.load(total, own) + spread * weights, own)

    def _finished(self, total: Any, row: int, unit: int) -> None:
        """The new state of a vector of units."""
        run, layer = self._run, self._layer
        own = [_Sum(run, total, gate * layer.units + unit) for gate in range(len(self._gates))]
        for part in range(1, self._parts):
            for each in own:
                each.set(each.value + run.load(total, part * self._size + each.place))
        state = (run.direction, run.rows[row], self._unit(unit))
        if layer.kind == "LSTM":
            self._lstm(own, state)
        elif layer.kind == "GRU":
            self._gru(own, row, unit, state)
        else:
            zero = tirx.Broadcast(tirx.const(0.0, _DTYPE), layer.lanes)
            relu = layer.bend == "relu"
            new = tirx.max(own[0].value, zero) if relu else tirx.tanh(own[0].value)
            run.store("states", new, self._at, *state)

    def _lstm(self, own: Sequence[_Sum], state: tuple[Any, ...]) -> None:
        run, (enter, leave, keep, proposal) = self._run, own
        for gate in (enter, leave, keep):
            gate.set(tirx.sigmoid(gate.value))
        proposal.set(tirx.tanh(proposal.value))
        cell = keep
        cell.set(keep.value * run.load("cell", *state) + enter.value * proposal.value)
        run.store("cell", cell.value, *state)
        run.store("states", leave.value * tirx.tanh(cell.value), self._at, *state)

    def _gru(self, own: Sequence[_Sum], row: int, unit: int, state: tuple[Any, ...]) -> None:
        run, place, (*bent, new) = self._run, (row, self._unit(unit)), own
        hidden = run.load("hidden", *state)
        if len(self._gates) == 2:
            bent = list(own)
        for gate in bent:
            gate.set(tirx.sigmoid(gate.value))
        if len(self._gates) == 2:
            run.store(self._update, own[0].value, *place)
            run.store(self._left, own[1].value * hidden, *place)
            return
        if self._layer.reset_after:
            new.set(self._input(2, row, unit) + own[1].value * new.value)
        new.set(tirx.tanh(new.value))
        update = own[0].value if self._layer.reset_after else run.load(self._update, *place)
        # (1 - z) * new + z * state, in one product less.
        run.store("states", new.value + update * (hidden - new.value), self._at, *state)

    def _input(self, gate: int, row: int, unit: int) -> Any:
        """The inputs' part of a gate."""
        run = self._run
        place = (self._at, run.rows[row], run.direction, self._tile)
        return run.load("given", *place, gate * self._layer.units + unit)

    def _unit(self, unit: int) -> Any:
        return self._tile * self._layer.units + unit


class _Sum:
    """A vector of sums, in a register.

    Args:
        total: the array that it is in.
        place: where.
    """

    def __init__(self, run: _Run, total: Any, place: int) -> None:
        self._run, self._total, self.place = run, total, place

    @property
    def value(self) -> Any:
        """What is in it."""
        return self._run.load(self._total, self.place)

    def set(self, value: Any) -> None:
        """Puts the storing of another value here."""
        self._run.store(self._total, value, self.place)
