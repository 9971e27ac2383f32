"""ONNX's LSTM, GRU and RNN as Relax: one product for the inputs of all steps, then one kernel.

Which nodes these converters may read is said by `tvmkd.export.rewrites.recurrent.is_usual`; others
come unrolled, as plain operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmkd.stacks.relax.expressions import constant, sizes
from tvmkd.stacks.relax.recurrent_kernel import arguments, kernel
from tvmkd.stacks.relax.recurrent_layer import GATES, Layer, in_tiles, packed, planned
from tvmkd.stacks.relax.templates.cpu import Cpu

Converters = Mapping[str, type]


def converters(cpu: Cpu) -> Converters:
    """The importer's class for each of the operators.

    Args:
        cpu: that the kernels are for.
    """

    def converter(kind: str) -> type:
        class Recurrent(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
            """A recurrent layer."""

            @classmethod
            def _impl_v1(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
                return _emitted(bb, kind, inputs, attr, cpu)

        return Recurrent

    return {kind: converter(kind) for kind in GATES}


def _emitted(bb: Any, kind: str, inputs: Any, attr: Mapping[str, Any], cpu: Cpu) -> relax.Tuple:
    """The layer's outputs: all hidden states ``[steps, D, batch, hidden]``, and the last one."""
    data, shape = inputs[0], sizes(inputs[0])
    weights, recurrent, bias = (
        constant(each) if each is not None else None for each in inputs[1:4]
    )
    if shape is None or weights is None or recurrent is None or (bias is None) != (not inputs[3]):
        raise ValueError("its weights are not constant")
    steps, batch, features = shape
    directions, _, hidden = recurrent.shape
    backward = (attr.get("direction", b"forward") == b"reverse", True)[:directions]
    after = kind == "GRU" and bool(attr.get("linear_before_reset", 0))
    bend = (attr.get("activations") or (b"tanh",))[0].decode().lower()
    layer = planned(Layer(kind, steps, batch, hidden, backward, after, bend), cpu)
    if bias is None:
        bias = np.zeros((directions, 2 * layer.gates * hidden), np.float32)
    own, other = np.split(bias, 2, 1)
    made: dict[str, Any] = {}
    if after:
        rest = other[:, 2 * hidden :]
        made["bias"] = in_tiles(layer, rest).reshape(directions, -1)
        other = np.concatenate([other[:, : 2 * hidden], np.zeros_like(rest)], 1)
    columns = in_tiles(layer, weights).reshape(-1, features).T
    shift = in_tiles(layer, own + other).reshape(-1)
    rows = bb.emit(relax.op.reshape(data, [steps * batch, features]))
    product = bb.emit(relax.op.matmul(rows, relax.const(np.ascontiguousarray(columns))))
    product = bb.emit(relax.op.add(product, relax.const(shift)))
    shapes = arguments(layer)
    made["given"] = bb.emit(relax.op.reshape(product, shapes["given"]))
    for number, array in enumerate(packed(layer, recurrent)):
        made[f"weights{number}"] = array
    states = ["hidden", "cell"] if kind == "LSTM" else ["hidden"]
    for place, name in enumerate(states):
        made[f"first_{name}"] = _first(bb, inputs[5 + place], layer, shapes[name])
    outputs = list(shapes)[len(made) :]
    found = relax.call_tir(
        bb.add_func(kernel(layer), kind.lower()),
        [_as_expression(made[name]) for name in shapes if name in made],
        [relax.TensorType(shapes[name], "float32") for name in outputs],
    )
    found = bb.emit(found)
    results = {name: relax.TupleGetItem(found, at) for at, name in enumerate(outputs)}
    return relax.Tuple([_cut(bb, results[name], layer) for name in ("states", *states)])


def _as_expression(value: Any) -> Any:
    return relax.const(value) if isinstance(value, np.ndarray) else value


def _first(bb: Any, given: Any, layer: Layer, shape: tuple[int, ...]) -> Any:
    """A state before the first step, with zeros for the units that fill up the last tile."""
    more = layer.width - layer.hidden
    values = np.zeros(shape, np.float32) if given is None else constant(given)
    if values is not None:
        return values if values.shape == shape else np.pad(values, [(0, 0), (0, 0), (0, more)])
    if not more:
        return given
    zeros = relax.const(np.zeros((*shape[:2], more), np.float32))
    return bb.emit(relax.op.concat([given, zeros], 2))


def _cut(bb: Any, states: Any, layer: Layer) -> Any:
    """States without the units that fill up the last tile."""
    states = bb.emit(states)
    if layer.width == layer.hidden:
        return states
    axis = len(sizes(states) or []) - 1
    return bb.emit(relax.op.strided_slice(states, [axis], [0], [layer.hidden]))
