"""Functions of one quantised tensor become tables: ``relax.take`` of 256 bytes.

Between two quantised tensors there may be any elementwise operators, with roundings between them
(GELU has five in a QDQ file): if all that they read is one tensor of bytes and single constants,
the result depends on a byte. The table is computed in float32, step by step as the graph says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvmkd.stacks.relax.expressions import constant, dataflow, number, operator, sizes
from tvmkd.stacks.relax.lookup import SIZE
from tvmkd.stacks.relax.quantized_tensor import BYTES
from tvmkd.stacks.relax.replaced import replaced

Values = np.ndarray
Rule = Callable[..., Values]


def _wide(function: Callable[[Values], Values]) -> Rule:
    """In float64: an error of half an ulp in float32."""
    return lambda x: function(x.astype(np.float64)).astype(np.float32)


_ERF = np.vectorize(math.erf, otypes=[np.float64])
_RULES: dict[str, Rule] = {
    **{name: getattr(np, name) for name in ("add", "subtract", "multiply", "divide", "maximum")},
    **{name: getattr(np, name) for name in ("minimum", "negative", "abs", "sqrt", "square")},
    **{name: _wide(getattr(np, name)) for name in ("exp", "log", "tanh", "sin", "cos")},
    "power": np.power,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "erf": _wide(_ERF),
    "sigmoid": _wide(lambda x: 1 / (1 + np.exp(-x))),
    "nn.relu": lambda x: np.maximum(x, np.float32(0)),
    "nn.relu6": lambda x: np.clip(x, np.float32(0), np.float32(6)),
    "nn.silu": _wide(lambda x: x / (1 + np.exp(-x))),
    "nn.gelu": _wide(lambda x: x / 2 * (1 + _ERF(x / math.sqrt(2)))),
    "nn.gelu_tanh": _wide(
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
}
RULES = {f"relax.{name}": rule for name, rule in _RULES.items()}
"""What an operator does to float32 values."""


class _NotOne(Exception):
    """A value is no function of one tensor of bytes."""


def tables(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrites ``main``; a module without such functions stays as it is."""
    bindings = dataflow(mod)
    if bindings is None:
        return mod
    return replaced(mod, _Functions(bindings).found)


class _Functions:
    """The functions in a graph.

    Attributes:
        found: the expression that each variable becomes.
    """

    def __init__(self, bindings: Any) -> None:
        self.values = {binding.var: binding.value for binding in bindings}
        self.found: dict[Any, Any] = {}
        self._bytes: dict[Any, tuple[Any, Values]] = {}
        self._floats: dict[Any, tuple[Any, Values] | None] = {}
        for binding in bindings:
            if operator(binding.value) == "relax.quantize":
                self._quantize(binding.var, binding.value)

    def _quantize(self, var: Any, call: Any) -> None:
        dtype = _dtype(call)
        form = self._form(call)
        if dtype not in BYTES or form is None:
            return
        try:
            root, values = self._value(call.args[0])
        except _NotOne:
            return
        if root is None or sizes(root) is None or sizes(root) != sizes(call):
            return
        scale, zero = form
        low, high = BYTES[dtype]
        with np.errstate(all="ignore"):
            table = np.rint(values / scale) + np.float32(zero)
        if np.isnan(table).any():
            return
        table = np.clip(table, low, high).astype(dtype)
        self._bytes[var] = root, table
        self.found[var] = relax.op.take(relax.const(table), root, axis=0)

    def _form(self, call: Any) -> tuple[np.ndarray, int] | None:
        """One scale and zero point."""
        scale, zero = (constant(arg) for arg in call.args[1:3])
        if scale is None or zero is None or scale.size != 1 or zero.size != 1:
            return None
        if scale.dtype != np.float32 or not scale.reshape(()) > 0:
            return None
        return scale.reshape(()), int(zero.reshape(()))

    def _value(self, expr: Any) -> tuple[Any, Values]:
        """The variable that an expression is a function of, and its value for each byte.

        The variable is None for a constant, which has one value.

        Raises:
            _NotOne: it reads more than one variable, or is none of the known operators.
        """
        if not isinstance(expr, relax.Var):
            single = number(expr)
            if single is None:
                raise _NotOne
            return None, np.asarray(single, np.float32)
        if expr not in self._floats:
            self._floats[expr] = None
            self._floats[expr] = self._computed(self.values.get(expr))
        found = self._floats[expr]
        if found is None:
            raise _NotOne
        return found

    def _computed(self, value: Any) -> tuple[Any, Values]:
        name = operator(value)
        if name == "relax.dequantize":
            return self._dequantized(value)
        if name not in RULES or _dtype(value) != "float32":
            raise _NotOne
        parts = [self._value(arg) for arg in value.args]
        roots = {root for root, _ in parts if root is not None}
        if len(roots) != 1:
            raise _NotOne
        (root,) = roots
        with np.errstate(all="ignore"):
            return root, RULES[name](*(values for _, values in parts))

    def _dequantized(self, call: Any) -> tuple[Any, Values]:
        data, form = call.args[0], self._form(call)
        dtype, single = _dtype(data), number(data)
        if dtype not in BYTES or form is None or _dtype(call) != "float32":
            raise _NotOne
        if single is not None:  # a constant, quantised like the rest
            return None, (np.asarray(single) - form[1]).astype(np.float32) * form[0]
        if not isinstance(data, relax.Var):
            raise _NotOne
        root, table = self._bytes.get(data, (data, np.arange(SIZE, dtype=np.uint8).view(dtype)))
        scale, zero = form
        return root, (table.astype(np.int32) - zero).astype(np.float32) * scale


def _dtype(expr: Any) -> str:
    return str(expr.ty.dtype).removeprefix("T.")
