"""Rewrites a Relax graph to channels-last activations and packed weights.

TVM's own ``ConvertLayout`` leaves a transposition on both sides of every operator it does not know
(call_tir, clip, reshape: 65 in MobileNetV3-small). This pass keeps up to two forms of each value,
channels first and channels last, and inserts a transposition only if an operator needs the form
that is missing: in a convolutional network, at its input and at its head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst

from tvmkd.stacks.relax import convolution
from tvmkd.stacks.relax.expressions import constant, dataflow, operator, sizes
from tvmkd.stacks.relax.strided import Strided
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.views import origin

RANKS = (3, 4, 5)
"""Batch, channels, and one to three spatial axes."""

_NAMES = """
abs acos asin astype atan ceil clip cos cosh dequantize divide equal erf exp floor greater
greater_equal isfinite isinf isnan less less_equal log logical_and logical_not logical_or maximum
minimum multiply negative nn.gelu nn.gelu_tanh nn.leakyrelu nn.relu nn.relu6 nn.selu nn.silu
nn.softplus not_equal power quantize round rsqrt sigmoid sign sin sinh sqrt square subtract add tan
tanh trunc where
"""
ELEMENTWISE = {f"relax.{name}" for name in _NAMES.split()}
POOLS = {
    f"relax.nn.{kind}_pool{rank}d": getattr(relax.op.nn, f"{kind}_pool{rank}d")
    for kind in ("max", "avg")
    for rank in (1, 2, 3)
}
CONVOLUTIONS = {f"relax.nn.conv{rank}d" for rank in (1, 2, 3)}
TRANSPOSED = {f"{name}_transpose" for name in CONVOLUTIONS}
SOFTMAX = {
    "relax.nn.softmax": relax.op.nn.softmax,
    "relax.nn.log_softmax": relax.op.nn.log_softmax,
}
MOVES = ("relax.reshape", "relax.permute_dims", "relax.squeeze", "relax.expand_dims")
REDUCTIONS = {f"relax.{name}" for name in ("mean", "sum", "max", "min")}


def channels_last(mod: tvm.IRModule, cpu: Cpu | None = None) -> tvm.IRModule:
    """Rewrites ``main``; returns the module unchanged if ``main`` is not one dataflow block.

    Args:
        cpu: of the target; None: one with AVX2.
    """
    main, bindings = mod["main"], dataflow(mod)
    if bindings is None:
        return mod
    others = tvm.IRModule(
        {name: func for name, func in mod.functions.items() if name.name_hint != "main"},
        attrs=mod.attrs,  # regions of other engines are among them
    )
    builder = relax.BlockBuilder(others)
    attrs = dict(main.attrs) if main.attrs else {}
    with builder.function("main", list(main.params), attrs=attrs):
        with builder.dataflow():
            values = {binding.var: binding.value for binding in bindings}
            rewrite = _Rewrite(builder, values, cpu or Cpu())
            for binding in bindings:
                rewrite.binding(binding)
            result = builder.emit_output(rewrite.first(main.body.body))
        builder.emit_func_output(result)
    return builder.get()


def to_last(rank: int) -> list[int]:
    """The permutation from channels first to channels last."""
    return [0, *range(2, rank), 1]


def to_first(rank: int) -> list[int]:
    """The permutation from channels last to channels first."""
    return [0, rank - 1, *range(1, rank - 1)]


def axis_last(axis: int, rank: int) -> int:
    """Where an axis of the channels-first form is in the channels-last form."""
    return to_last(rank).index(axis % rank)


def _rank(expr: relax.Expr) -> int:
    return int(expr.ty.ndim)


def _number(value: Any) -> int:
    return int(getattr(value, "value", value))


def _has_inverse(value: Any) -> bool:
    """Whether a divisor is an array of floats whose inverses are normal numbers."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        inverse = np.abs(1 / value)
    return bool(np.all((inverse >= np.finfo(value.dtype).tiny) & np.isfinite(inverse)))


class _Rewrite:
    def __init__(self, builder: relax.BlockBuilder, values: Mapping[Any, Any], cpu: Cpu) -> None:
        self.builder, self.values, self.cpu = builder, values, cpu
        self.by_first: dict[relax.Var, relax.Expr] = {}
        self.by_last: dict[relax.Var, relax.Expr] = {}
        self.reshaped: dict[relax.Var, relax.Expr] = {}
        self.shuffles: dict[relax.Var, tuple[relax.Expr, int, int]] = {}

    # A value in one of its two forms.

    def first(self, expr: relax.Expr) -> relax.Expr:
        """The expression in its original layout, over rewritten variables."""
        if isinstance(expr, relax.Var):
            if expr not in self.by_first and expr in self.by_last:
                value = self.by_last[expr]
                if isinstance(expr.ty, relax.TupleType):
                    fields = [
                        self.builder.emit(
                            relax.op.permute_dims(
                                relax.TupleGetItem(value, i), to_first(int(field.ndim))
                            )
                        )
                        for i, field in enumerate(expr.ty.fields)
                    ]
                    self.by_first[expr] = self.builder.emit(relax.Tuple(fields))
                else:
                    self.by_first[expr] = self._permuted(value, to_first(_rank(expr)))
            return self.by_first.get(expr, expr)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.first(field) for field in expr.fields])
        if isinstance(expr, tvm.ir.Call):
            args = [self.first(arg) for arg in expr.args]
            return tvm.ir.Call(expr.op, args, expr.attrs, expr.ty_args)
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self.first(expr.tuple_value), expr.index)
        return expr

    def last(self, expr: relax.Expr) -> relax.Expr:
        """An expression with channels in channels-last layout."""
        order = to_last(_rank(expr))
        if isinstance(expr, GenericConst):
            return relax.const(np.ascontiguousarray(expr.value.numpy().transpose(order)))
        if expr not in self.by_last:
            self.by_last[expr] = self._permuted(self.first(expr), order)
        return self.by_last[expr]

    def _permuted(self, value: relax.Expr, axes: list[int]) -> relax.Expr:
        shape = sizes(value)
        if shape is not None:
            # With one channel or one pixel the order in memory does not change: a reshape will do.
            moved = [shape[a] for a in axes]
            if [shape[a] for a in axes if shape[a] > 1] == [s for s in shape if s > 1]:
                order = [a for a in axes if shape[a] > 1]
                if order == sorted(order):
                    return self.builder.emit(relax.op.reshape(value, moved))
        return self.builder.emit(relax.op.permute_dims(value, axes))

    def _is_image(self, expr: relax.Expr) -> bool:
        shape = sizes(expr)
        return shape is not None and len(shape) in RANKS

    # One binding.

    def binding(self, binding: relax.Binding) -> None:
        var, value = binding.var, binding.value
        if self._moved(var, value) or self._viewed(var, value):
            return
        rewritten = self._rewritten(value) if isinstance(value, tvm.ir.Call) else None
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self.by_last:
            taken = relax.TupleGetItem(self.by_last[value.tuple_value], value.index)
            rewritten = self.builder.emit(taken)
        if rewritten is not None:
            self.by_last[var] = rewritten
            return
        plain = None
        if isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.Op):
            if value.op.name == "relax.matmul":
                plain = self._matmul(value)
            elif value.op.name == "relax.reshape":
                plain = self._reshape(value)
            elif value.op.name in REDUCTIONS:
                plain = self._pooled(value)
            if value.op.name == "relax.permute_dims":
                self._note_shuffle(var, value)
            elif value.op.name == "relax.reshape":
                self.reshaped[var] = value.args[0]
        self.by_first[var] = self.builder.emit(plain if plain is not None else self.first(value))

    def _moved(self, var: relax.Var, value: relax.Expr) -> bool:
        """Whether a value is an image's other form, which is made only where it is needed."""
        if not isinstance(value, tvm.ir.Call) or not isinstance(value.op, tvm.ir.Op):
            return False
        if value.op.name != "relax.permute_dims" or not self._is_image(value.args[0]):
            return False
        axes, rank = [int(axis) for axis in value.attrs.axes or ()], _rank(value.args[0])
        if rank < 4:  # most often tokens, which have one form
            return False
        if axes == to_last(rank):
            self.by_first[var] = self.last(value.args[0])
        elif axes == to_first(rank):
            self.by_last[var] = self.first(value.args[0])
        else:
            return False
        return True

    def _viewed(self, var: relax.Var, value: relax.Expr) -> bool:
        """Whether a value is a reshape of an earlier one, where one of them is an image.

        Tokens ``[N, H * W, C]`` are the same array as an image with channels last.
        """
        shape = sizes(value) if operator(value) in MOVES else None
        if shape is None:
            return False
        image = len(shape) == 4

        def usable(view: Strided) -> bool:
            last = view.transposed(to_last(4)) if image else view
            return last.is_whole

        found = origin(var, self.values, usable, image=self._has_last)
        if found is None or math.prod(shape) != math.prod(sizes(found.source) or []):
            return False
        if not found.last and (not image or found.view.is_whole):
            return False
        source = self.by_last[found.source] if found.last else self.first(found.source)
        if image:
            moved = [shape[axis] for axis in to_last(4)]
            self.by_last[var] = self.builder.emit(relax.op.reshape(source, moved))
        else:
            self.by_first[var] = self.builder.emit(relax.op.reshape(source, shape))
        return True

    def _has_last(self, expr: relax.Expr) -> bool:
        return isinstance(expr, relax.Var) and _rank(expr) == 4 and expr in self.by_last

    def _rewritten(self, call: tvm.ir.Call) -> relax.Expr | None:
        """The channels-last form of a call; None if there is none."""
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        handler: Callable[[tvm.ir.Call], relax.Expr | None] | None = None
        if name in CONVOLUTIONS:
            handler = self._convolution
        elif name in TRANSPOSED:
            handler = self._transposed
        elif name in ELEMENTWISE:
            handler = self._elementwise
        elif name in POOLS:
            handler = self._pool
        elif name in REDUCTIONS:
            handler = self._reduction
        elif name in ("relax.concat", "relax.split"):
            handler = self._axis
        elif name == "relax.reshape":
            handler = self._shuffle
        elif name == "relax.image.resize2d":
            handler = self._resize
        elif name == "relax.strided_slice":
            handler = self._slice
        elif name == "relax.nn.pad":
            handler = self._pad
        elif name in SOFTMAX:
            handler = self._softmax
        elif name == "relax.take":
            handler = self._table
        return handler(call) if handler is not None else None

    def _weight(self, call: tvm.ir.Call) -> np.ndarray | None:
        """The weight of a convolution; None: it is not constant, or no kernel of ours takes it."""
        weight = constant(call.args[1])
        if weight is None or weight.dtype != np.float32 or not convolution.plain_layout(call):
            return None
        return None if sizes(call.args[0]) is None else weight

    def _convolution(self, call: tvm.ir.Call) -> relax.Expr | None:
        weight = self._weight(call)
        if weight is None:
            return None
        images, _, *out = (int(size) for size in call.ty.shape)
        return convolution.convolution(
            self.builder, lambda: self.last(call.args[0]), weight, call.attrs, images, out, self.cpu
        )

    def _transposed(self, call: tvm.ir.Call) -> relax.Expr | None:
        weight, shape = self._weight(call), sizes(call.args[0])
        if weight is None or shape is None:
            return None
        out = [int(size) for size in call.ty.shape][2:]
        return convolution.transposed(
            self.builder, lambda: self.last(call.args[0]), weight, call.attrs, shape[2:], out,
            self.cpu.lanes,
        )  # fmt: skip

    def _matmul(self, call: tvm.ir.Call) -> relax.Expr | None:
        weight, shape = constant(call.args[1]), sizes(call.args[0])
        dtypes = {str(each.ty.dtype) for each in (*call.args, call)}
        if shape is None or len(shape) < 2 or dtypes != {"float32"}:
            return None
        if weight is not None and weight.ndim == 2:
            return convolution.dense(self.builder, self.first(call.args[0]), weight, self.cpu.lanes)
        left, right = (self.first(arg) for arg in call.args)
        other, out = sizes(right), sizes(call)
        if other is None or len(other) != len(shape) or len(shape) < 3 or out is None:
            return None
        return convolution.batch_matmul(self.builder, left, right, out, self.cpu.lanes)

    def _elementwise(self, call: tvm.ir.Call) -> relax.Expr | None:
        tensors = [a for a in call.args if isinstance(a.ty, relax.TensorType)]
        if not any(isinstance(a, relax.Var) and a in self.by_last for a in tensors):
            return None
        scaled = call.op.name in ("relax.quantize", "relax.dequantize")
        if scaled and any(sizes(a) not in ([], [1]) for a in tensors[1:]):
            return None  # of each channel
        args: list[Any] = []
        rank = _rank(call)
        if rank not in RANKS:
            return None
        for arg in call.args:
            array = constant(arg)
            if not isinstance(arg.ty, relax.TensorType):
                args.append(arg)
            elif array is not None and array.ndim <= rank:
                if array.size > 1:
                    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
                    array = np.ascontiguousarray(array.transpose(to_last(rank)))
                args.append(array)
            elif self._is_image(arg) and _rank(arg) == rank:
                args.append(self.last(arg))
            else:
                return None
        op = call.op
        if op.name == "relax.divide" and _has_inverse(args[1]):
            op, args[1] = tvm.ir.Op.get("relax.multiply"), 1 / args[1]
        args = [relax.const(a) if isinstance(a, np.ndarray) else a for a in args]
        return self.builder.emit(tvm.ir.Call(op, args, call.attrs, call.ty_args))

    def _pool(self, call: tvm.ir.Call) -> relax.Expr | None:
        a = call.attrs
        if call.args[0] not in self.by_last or not str(a.layout).startswith("NC"):
            return None
        return self.builder.emit(
            POOLS[call.op.name](
                self.last(call.args[0]), list(a.pool_size), list(a.strides), list(a.padding),
                list(a.dilation), bool(a.ceil_mode), bool(a.count_include_pad),
                "N" + str(a.layout)[2:] + "C",
            )
        )  # fmt: skip

    def _reduction(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.by_last or not call.attrs.keepdims or call.attrs.axis is None:
            return None
        rank = _rank(call)
        axes = sorted(axis_last(int(axis), rank) for axis in call.attrs.axis)
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        return self.builder.emit(reduce(self.last(call.args[0]), axes, keepdims=True))

    def _pooled(self, call: tvm.ir.Call) -> relax.Expr | None:
        """A reduction over all pixels without ``keepdims``: ``[N, C]`` in both layouts."""
        if call.args[0] not in self.by_last or call.attrs.keepdims or call.attrs.axis is None:
            return None
        rank = _rank(call.args[0])
        if sorted(int(axis) % rank for axis in call.attrs.axis) != list(range(2, rank)):
            return None
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        return reduce(self.last(call.args[0]), list(range(1, rank - 1)), keepdims=False)

    def _axis(self, call: tvm.ir.Call) -> relax.Expr | None:
        concat = call.op.name == "relax.concat"
        if concat and not isinstance(call.args[0], relax.Tuple):
            return None
        values = list(call.args[0].fields) if concat else [call.args[0]]
        if not any(v in self.by_last for v in values) or not all(map(self._is_image, values)):
            return None
        axis = axis_last(int(call.attrs.axis), _rank(values[0]))
        if concat:
            return self.builder.emit(relax.op.concat([self.last(v) for v in values], axis))
        sections = call.attrs.indices_or_sections
        parts = [int(s) for s in sections] if hasattr(sections, "__len__") else int(sections)
        return self.builder.emit(relax.op.split(self.last(values[0]), parts, axis))

    def _resize(self, call: tvm.ir.Call) -> relax.Expr | None:
        attrs = call.attrs
        if call.args[0] not in self.by_last or str(attrs.layout) != "NCHW":
            return None
        names = ("method", "coordinate_transformation_mode", "rounding_method",
                 "cubic_alpha", "cubic_exclude", "extrapolation_value")  # fmt: skip
        same = {name: getattr(attrs, name) for name in names}
        return self.builder.emit(
            relax.op.image.resize2d(
                self.last(call.args[0]), call.args[1], tuple(map(float, attrs.roi)), "NHWC",
                out_dtype=attrs.out_dtype,
                **same,
            )
        )  # fmt: skip

    def _softmax(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.by_last:
            return None
        axis = axis_last(int(call.attrs.axis), _rank(call))
        return self.builder.emit(SOFTMAX[call.op.name](self.last(call.args[0]), axis))

    def _table(self, call: tvm.ir.Call) -> relax.Expr | None:
        table, index = call.args
        if index not in self.by_last or constant(table) is None or _rank(table) != 1:
            return None
        return self.builder.emit(relax.op.take(table, self.last(index), axis=0))

    def _slice(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.by_last or not isinstance(call.args[1], relax.Tuple):
            return None
        rank = _rank(call.args[0])
        axes = relax.Tuple(
            [relax.prim_value(axis_last(_number(axis), rank)) for axis in call.args[1].fields]
        )
        args = [self.last(call.args[0]), axes, *call.args[2:]]
        return self.builder.emit(tvm.ir.Call(call.op, args, call.attrs, call.ty_args))

    def _pad(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.by_last:
            return None
        attrs = call.attrs
        widths = [int(width) for width in attrs.pad_width]
        pairs = [widths[2 * i : 2 * i + 2] for i in range(len(widths) // 2)]
        moved = [width for axis in to_last(len(pairs)) for width in pairs[axis]]
        return self.builder.emit(
            relax.op.nn.pad(
                self.last(call.args[0]), moved, str(attrs.pad_mode), float(attrs.pad_value)
            )
        )

    # Flattening after global pooling, and the channel shuffle of ShuffleNet.

    def _reshape(self, call: tvm.ir.Call) -> relax.Expr | None:
        value, shape = call.args[0], sizes(call.args[0])
        if value in self.by_last and shape is not None and set(shape[2:]) == {1}:
            return relax.op.reshape(self.by_last[value], call.args[1])
        return None

    def _note_shuffle(self, var: relax.Var, call: tvm.ir.Call) -> None:
        """Remembers ``transpose(reshape(x, [N, g, C/g, H, W]), [0, 2, 1, 3, 4])``."""
        source = call.args[0]
        axes = [int(v) for v in call.attrs.axes] if call.attrs.axes is not None else []
        if axes != [0, 2, 1, 3, 4] or source not in self.reshaped:
            return
        origin, shape = self.reshaped[source], sizes(source)
        if shape is not None and origin in self.by_last:
            self.shuffles[var] = (origin, shape[1], shape[2])

    def _shuffle(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.shuffles:
            return None
        origin, groups, width = self.shuffles[call.args[0]]
        n, channels, height, columns = sizes(origin) or [0] * 4
        target = sizes(call) if call.ty is not None else None
        wanted = [int(v) for v in call.args[1].values]
        if wanted != [n, channels, height, columns] or target not in (None, wanted):
            return None
        split = relax.op.reshape(self.last(origin), [n, height, columns, groups, width])
        swapped = relax.op.permute_dims(self.builder.emit(split), [0, 1, 2, 4, 3])
        return self.builder.emit(
            relax.op.reshape(self.builder.emit(swapped), [n, height, columns, channels])
        )
