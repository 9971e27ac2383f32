"""Rewrites a Relax graph to channels-last activations and packed weights.

TVM's own ``ConvertLayout`` leaves a transposition on both sides of every operator it does not know
(call_tir, clip, reshape: 65 in MobileNetV3-small). This pass keeps up to two forms of each value,
channels first and channels last, and inserts a transposition only if an operator needs the form
that is missing: in a convolutional network, at its input and at its head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst

from tvmkd.stacks.relax import kernels as packed
from tvmkd.stacks.relax import winograd

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
AXIS_LAST = {0: 0, 1: 3, 2: 1, 3: 2}

ELEMENTWISE = {
    f"relax.{name}"
    for name in [
        *("abs", "add", "ceil", "clip", "divide", "erf", "exp", "floor", "greater", "less", "log"),
        *("maximum", "minimum", "multiply", "negative", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu"),
        *("nn.relu", "nn.relu6", "nn.silu", "power", "round", "rsqrt", "sigmoid", "sqrt", "square"),
        *("subtract", "tanh", "where"),
    ]
}
POOLS = {
    "relax.nn.max_pool2d": relax.op.nn.max_pool2d,
    "relax.nn.avg_pool2d": relax.op.nn.avg_pool2d,
}
REDUCTIONS = {f"relax.{name}" for name in ("mean", "sum", "max", "min")}


def channels_last(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrites ``main``; returns the module unchanged if ``main`` is not one dataflow block."""
    main = mod["main"]
    blocks = main.body.blocks
    if len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        return mod
    others = tvm.IRModule(
        {name: func for name, func in mod.functions.items() if name.name_hint != "main"},
        attrs=mod.attrs,  # regions of other engines are among them
    )
    builder = relax.BlockBuilder(others)
    attrs = dict(main.attrs) if main.attrs else {}
    with builder.function("main", list(main.params), attrs=attrs):
        with builder.dataflow():
            rewrite = _Rewrite(builder)
            for binding in blocks[0].bindings:
                rewrite.binding(binding)
            result = builder.emit_output(rewrite.first(main.body.body))
        builder.emit_func_output(result)
    return builder.get()


def _shape(expr: relax.Expr) -> list[int] | None:
    shape = getattr(expr.ty, "shape", None)
    if shape is None or not isinstance(shape, relax.ShapeExpr):
        return None
    values = list(shape.values)
    if not all(isinstance(v, (int, tvm.tirx.IntImm)) for v in values):
        return None
    return [int(v) for v in values]


def _array(expr: relax.Expr) -> np.ndarray | None:
    return expr.value.numpy() if isinstance(expr, GenericConst) else None


class _Rewrite:
    def __init__(self, builder: relax.BlockBuilder) -> None:
        self.builder = builder
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
                            relax.op.permute_dims(relax.TupleGetItem(value, i), TO_FIRST)
                        )
                        for i in range(len(expr.ty.fields))
                    ]
                    self.by_first[expr] = self.builder.emit(relax.Tuple(fields))
                else:
                    self.by_first[expr] = self._permuted(value, TO_FIRST)
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
        """A rank-4 expression in channels-last layout."""
        if isinstance(expr, GenericConst):
            return relax.const(np.ascontiguousarray(expr.value.numpy().transpose(TO_LAST)))
        if expr not in self.by_last:
            self.by_last[expr] = self._permuted(self.first(expr), TO_LAST)
        return self.by_last[expr]

    def _permuted(self, value: relax.Expr, axes: tuple[int, ...]) -> relax.Expr:
        shape = _shape(value)
        if shape is not None:
            # With one channel or one pixel the order in memory does not change: a reshape will do.
            moved = [shape[a] for a in axes]
            if [shape[a] for a in axes if shape[a] > 1] == [s for s in shape if s > 1]:
                order = [a for a in axes if shape[a] > 1]
                if order == sorted(order):
                    return self.builder.emit(relax.op.reshape(value, moved))
        return self.builder.emit(relax.op.permute_dims(value, list(axes)))

    def _is_image(self, expr: relax.Expr) -> bool:
        shape = _shape(expr)
        return shape is not None and len(shape) == 4

    # One binding.

    def binding(self, binding: relax.Binding) -> None:
        var, value = binding.var, binding.value
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

    def _rewritten(self, call: tvm.ir.Call) -> relax.Expr | None:
        """The channels-last form of a call; None if there is none."""
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        handler: Callable[[tvm.ir.Call], relax.Expr | None] | None = None
        if name == "relax.nn.conv2d":
            handler = self._conv2d
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
        return handler(call) if handler is not None else None

    def _conv2d(self, call: tvm.ir.Call) -> relax.Expr | None:
        attrs, weight = call.attrs, _array(call.args[1])
        shape = _shape(call.args[0])
        if weight is None or shape is None or attrs.data_layout != "NCHW":
            return None
        if attrs.kernel_layout != "OIHW" or weight.dtype != np.float32:
            return None
        pads = [int(v) for v in attrs.padding]  # always four: Relax completes them
        strides, dilation = [int(v) for v in attrs.strides], [int(v) for v in attrs.dilation]
        groups, channels = int(attrs.groups), weight.shape[0]
        x = call.args[0]
        out = [int(size) for size in call.ty.shape][2:]
        if winograd.pays(weight.shape, out, strides, dilation, groups):
            return self._winograd(self.last(x), weight, pads, shape[0], out)
        if groups == 1:
            return self.builder.emit_te(
                packed.conv2d, self.last(x), relax.const(packed.pack(weight)), channels, strides,
                pads, dilation, primfunc_name_hint="conv2d", primfunc_attrs=packed.FUSABLE,
            )  # fmt: skip
        if groups == channels == shape[1]:
            per_channel = np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))
            return self.builder.emit_te(
                packed.depthwise, self.last(x), relax.const(per_channel), strides, pads, dilation,
                primfunc_name_hint="depthwise_conv2d", primfunc_attrs=packed.FUSABLE,
            )  # fmt: skip
        return None

    def _winograd(
        self, x: relax.Expr, weight: np.ndarray, pads: list[int], batch: int, out: list[int]
    ) -> relax.Expr:
        emit, opaque = self.builder.emit_te, winograd.OPAQUE
        patches = emit(
            winograd.input_transform, x, pads, out,
            primfunc_name_hint="winograd_input", primfunc_attrs=opaque,
        )  # fmt: skip
        products = emit(
            winograd.product, patches, relax.const(winograd.transform(weight)),
            primfunc_name_hint="winograd_product", primfunc_attrs=opaque,
        )  # fmt: skip
        return emit(
            winograd.output_transform, products, batch, out,
            primfunc_name_hint="winograd_output", primfunc_attrs=packed.FUSABLE,
        )  # fmt: skip

    def _matmul(self, call: tvm.ir.Call) -> relax.Expr | None:
        weight, shape = _array(call.args[1]), _shape(call.args[0])
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            return None
        if shape is None or len(shape) < 2:
            return None
        laid_out = packed.pack(weight.T[:, :, None, None])
        return self.builder.call_te(
            packed.dense, self.first(call.args[0]), relax.const(laid_out), weight.shape[1],
            primfunc_name_hint="dense", primfunc_attrs=packed.FUSABLE,
        )  # fmt: skip

    def _elementwise(self, call: tvm.ir.Call) -> relax.Expr | None:
        tensors = [a for a in call.args if isinstance(a.ty, relax.TensorType)]
        if not any(isinstance(a, relax.Var) and a in self.by_last for a in tensors):
            return None
        args: list[Any] = []
        for arg in call.args:
            array = _array(arg)
            if not isinstance(arg.ty, relax.TensorType):
                args.append(arg)
            elif array is not None and array.ndim <= 4:
                if array.size > 1:
                    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
                    array = np.ascontiguousarray(array.transpose(TO_LAST))
                args.append(array)
            elif self._is_image(arg):
                args.append(self.last(arg))
            else:
                return None
        op = call.op
        if op.name == "relax.divide" and isinstance(args[1], np.ndarray):
            op, args[1] = tvm.ir.Op.get("relax.multiply"), 1 / args[1]
        args = [relax.const(a) if isinstance(a, np.ndarray) else a for a in args]
        return self.builder.emit(tvm.ir.Call(op, args, call.attrs, call.ty_args))

    def _pool(self, call: tvm.ir.Call) -> relax.Expr | None:
        a = call.attrs
        if call.args[0] not in self.by_last or a.layout != "NCHW":
            return None
        return self.builder.emit(
            POOLS[call.op.name](
                self.last(call.args[0]), list(a.pool_size), list(a.strides), list(a.padding),
                list(a.dilation), bool(a.ceil_mode), bool(a.count_include_pad), "NHWC",
            )
        )  # fmt: skip

    def _reduction(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.by_last or not call.attrs.keepdims or call.attrs.axis is None:
            return None
        axes = sorted(AXIS_LAST[int(axis) % 4] for axis in call.attrs.axis)
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        return self.builder.emit(reduce(self.last(call.args[0]), axes, keepdims=True))

    def _pooled(self, call: tvm.ir.Call) -> relax.Expr | None:
        """A reduction over all pixels without ``keepdims``: ``[N, C]`` in both layouts."""
        if call.args[0] not in self.by_last or call.attrs.keepdims or call.attrs.axis is None:
            return None
        if sorted(int(axis) % 4 for axis in call.attrs.axis) != [2, 3]:
            return None
        reduce = getattr(relax.op, call.op.name.removeprefix("relax."))
        return reduce(self.last(call.args[0]), [1, 2], keepdims=False)

    def _axis(self, call: tvm.ir.Call) -> relax.Expr | None:
        concat = call.op.name == "relax.concat"
        if concat and not isinstance(call.args[0], relax.Tuple):
            return None
        values = list(call.args[0].fields) if concat else [call.args[0]]
        if not any(v in self.by_last for v in values) or not all(map(self._is_image, values)):
            return None
        axis = AXIS_LAST[int(call.attrs.axis) % 4]
        if concat:
            return self.builder.emit(relax.op.concat([self.last(v) for v in values], axis))
        sections = call.attrs.indices_or_sections
        parts = [int(s) for s in sections] if hasattr(sections, "__len__") else int(sections)
        return self.builder.emit(relax.op.split(self.last(values[0]), parts, axis))

    # Flattening after global pooling, and the channel shuffle of ShuffleNet.

    def _reshape(self, call: tvm.ir.Call) -> relax.Expr | None:
        value, shape = call.args[0], _shape(call.args[0])
        if value in self.by_last and shape is not None and shape[2:] == [1, 1]:
            return relax.op.reshape(self.by_last[value], call.args[1])
        return None

    def _note_shuffle(self, var: relax.Var, call: tvm.ir.Call) -> None:
        """Remembers ``transpose(reshape(x, [N, g, C/g, H, W]), [0, 2, 1, 3, 4])``."""
        source = call.args[0]
        axes = [int(v) for v in call.attrs.axes] if call.attrs.axes is not None else []
        if axes != [0, 2, 1, 3, 4] or source not in self.reshaped:
            return
        origin, shape = self.reshaped[source], _shape(source)
        if shape is not None and origin in self.by_last:
            self.shuffles[var] = (origin, shape[1], shape[2])

    def _shuffle(self, call: tvm.ir.Call) -> relax.Expr | None:
        if call.args[0] not in self.shuffles:
            return None
        origin, groups, width = self.shuffles[call.args[0]]
        n, channels, height, columns = _shape(origin) or [0] * 4
        target = _shape(call) if call.ty is not None else None
        wanted = [int(v) for v in call.args[1].values]
        if wanted != [n, channels, height, columns] or target not in (None, wanted):
            return None
        split = relax.op.reshape(self.last(origin), [n, height, columns, groups, width])
        swapped = relax.op.permute_dims(self.builder.emit(split), [0, 1, 2, 4, 3])
        return self.builder.emit(
            relax.op.reshape(self.builder.emit(swapped), [n, height, columns, channels])
        )
