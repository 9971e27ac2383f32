"""Rewrites a Relax graph of quantised tensors so that it computes with their integers.

In an ONNX file in QDQ form each tensor is quantised and dequantised again, and the operators
between compute in float. Here a convolution or matrix product of dequantised tensors becomes one
kernel: integers in, int32 sums, and integers or floats out. Operators that only move values, and
maxima, move the integers. What else reads a dequantised tensor dequantises it by itself, so that
this is fused into its kernel and no tensor of floats is stored.

Scales and sums are combined as ONNX Runtime does, for the same rounding of halves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst

from tvmkd.stacks.relax import quantized_kernels as kernels
from tvmkd.stacks.relax.dot_products import EACH, PLAIN, Dot, available, exact, select
from tvmkd.stacks.relax.expressions import bounds, constant, dataflow, operator, sizes, variables
from tvmkd.stacks.relax.kernels import FUSABLE
from tvmkd.stacks.relax.layout import to_first, to_last
from tvmkd.stacks.relax.quantized_tensor import BYTES, Low

MOVES = {
    f"relax.{name}"
    for name in [
        *("reshape", "permute_dims", "squeeze", "expand_dims", "strided_slice", "split"),
        *("flatten", "nn.batch_flatten", "nn.max_pool2d", "broadcast_to"),
    ]
}
"""Operators of one tensor whose outputs hold only values of their inputs."""


def integers(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Rewrites ``main``; an imported module without quantised tensors stays as it is."""
    bindings = dataflow(mod)
    if bindings is None:
        return mod
    names = {operator(binding.value) for binding in bindings}
    if "relax.dequantize" not in names:
        return mod
    main = mod["main"]
    others = {name: func for name, func in mod.functions.items() if name.name_hint != "main"}
    builder = relax.BlockBuilder(tvm.IRModule(others, attrs=mod.attrs))
    with builder.function("main", list(main.params), attrs=dict(main.attrs or {})):
        with builder.dataflow():
            rewrite = _Rewrite(builder, target, bindings, main.body.body)
            for binding in bindings:
                rewrite.binding(binding.var, binding.value)
            result = builder.emit_output(rewrite.plain(main.body.body))
        builder.emit_func_output(result)
    return builder.get()


class _Rewrite:
    def __init__(
        self, builder: relax.BlockBuilder, target: Any, bindings: Any, result: Any
    ) -> None:
        self.builder, self.target = builder, target
        self.low: dict[Any, Low] = {}
        self.done: dict[Any, Any] = {}
        self.skipped: set[Any] = set()
        self.readers: dict[Any, list[Any]] = defaultdict(list)
        self.values = {binding.var: binding.value for binding in bindings}
        for binding in bindings:
            for var in variables(binding.value):
                self.readers[var].append(binding)
        for var in variables(result):
            self.readers[var].append(None)
        self.handlers: dict[str, Callable[[Any, Any], bool]] = {
            "relax.dequantize": self._dequantize,
            "relax.quantize": self._quantize,
            "relax.nn.conv2d": self._conv2d,
            "relax.nn.avg_pool2d": self._average,
            "relax.matmul": self._matmul,
            "relax.mean": self._mean,
            "relax.concat": self._concat,
            **dict.fromkeys(MOVES, self._move),
        }

    def binding(self, var: Any, value: Any) -> None:
        """Rewrites one binding."""
        if var in self.skipped or var in self.done or var in self.low:
            return
        handler = self.handlers.get(operator(value))
        if handler is not None and handler(var, value):
            return
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self.low:
            low = self.low[value.tuple_value]
            part = self.builder.emit(relax.TupleGetItem(low.value, value.index))
            self.low[var] = replace(low, value=part)
            return
        self.done[var] = self.builder.emit(self.plain(value))

    def plain(self, expr: Any) -> Any:
        """An expression over rewritten variables; what is quantised is dequantised for it."""
        if isinstance(expr, relax.Var):
            if expr not in self.low:
                return self.done.get(expr, expr)
            low = self.low[expr]
            if isinstance(expr.ty, relax.TupleType):
                fields = [
                    self._floats(replace(low, value=relax.TupleGetItem(low.value, number)))
                    for number in range(len(expr.ty.fields))
                ]
                return relax.Tuple(fields)
            return self._floats(low)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.plain(field) for field in expr.fields])
        if isinstance(expr, tvm.ir.Call):
            args = [self.plain(arg) for arg in expr.args]
            return tvm.ir.Call(expr.op, args, expr.attrs, expr.ty_args)
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self.plain(expr.tuple_value), expr.index)
        return expr

    def _floats(self, low: Low) -> Any:
        if low.array is not None:
            return relax.const(low.floats())
        axis = 0 if low.axis is None else low.axis
        return self.builder.emit(
            relax.op.dequantize(
                self._integers(low), relax.const(low.scale),
                relax.const(low.zero.astype(low.dtype)), axis=axis, out_dtype="float32",
            )
        )  # fmt: skip

    # Quantised tensors.

    def _dequantize(self, var: Any, call: Any) -> bool:
        scale, zero = constant(call.args[1]), constant(call.args[2])
        if scale is None or zero is None or scale.dtype != np.float32:
            return False
        if str(call.ty.dtype) != "float32" or not np.all(scale > 0):
            return False
        axis: int | None = int(call.attrs.axis)
        if scale.size == zero.size == 1:
            axis, scale, zero = None, scale.reshape(()), zero.reshape(())
        elif scale.ndim != 1:
            return False
        else:
            zero = np.broadcast_to(zero.reshape(-1), scale.shape)
            axis = int(call.attrs.axis) % len(call.args[0].ty.shape)
        array = constant(call.args[0])
        value = call.args[0] if array is not None else self.plain(call.args[0])
        dtype = str(call.args[0].ty.dtype).removeprefix("T.")
        if "int" not in dtype:
            return False
        self.low[var] = Low(value, dtype, scale, zero, axis, array)
        return True

    def _quantize(self, var: Any, call: Any) -> bool:
        """Quantised again as it was: nothing to do."""
        low, wanted = self.low.get(call.args[0]), self._form(call)
        if low is None or wanted is None or not low.same(wanted):
            return False
        self.done[var] = self._integers(low)
        return True

    def _integers(self, low: Low) -> Any:
        """The integers as a variable."""
        return low.value if isinstance(low.value, relax.Var) else self.builder.emit(low.value)

    def _form(self, call: Any) -> Low | None:
        """Scale, zero point and dtype that a tensor is quantised to, if each is one number."""
        scale, zero = constant(call.args[1]), constant(call.args[2])
        if scale is None or zero is None or scale.size != 1 or zero.size != 1:
            return None
        dtype = str(call.ty.dtype).removeprefix("T.")
        if scale.dtype != np.float32 or not scale.reshape(()) > 0 or dtype not in BYTES:
            return None
        return Low(None, dtype, scale.reshape(()), zero.reshape(()))

    def _move(self, var: Any, call: Any) -> bool:
        low = self.low.get(call.args[0])
        if low is None:
            return False
        if low.array is not None:
            return self._move_constant(var, call, low)
        if low.axis is not None:
            return False
        args = [self._integers(low), *(self.plain(arg) for arg in call.args[1:])]
        moved = self.builder.emit(tvm.ir.Call(call.op, args, call.attrs))
        self.low[var] = replace(low, value=moved)
        return True

    def _move_constant(self, var: Any, call: Any, low: Low) -> bool:
        assert low.array is not None
        name, shape = operator(call), sizes(call)
        if name == "relax.permute_dims" and call.attrs.axes is not None:
            axes = [int(axis) for axis in call.attrs.axes]
            axis = None if low.axis is None else axes.index(low.axis)
            array = np.ascontiguousarray(low.array.transpose(axes))
            self.low[var] = replace(low, value=relax.const(array), array=array, axis=axis)
            return True
        if name == "relax.reshape" and shape is not None:
            self.done[var] = relax.const(low.floats().reshape(shape))
            return True
        return False

    def _concat(self, var: Any, call: Any) -> bool:
        """Integers are joined: where they differ in form, each part is quantised as the whole."""
        if not isinstance(call.args[0], relax.Tuple):
            return False
        found = [self.low.get(field) for field in call.args[0].fields]
        lows = [low for low in found if low is not None and low.axis is None]
        if len(lows) < len(found):
            return False
        reader = self._reader(var)
        quantised = reader is not None and operator(reader.value) == "relax.quantize"
        form = self._form(reader.value) if quantised else None
        wanted = form or lows[0]
        if not form and not all(low.same(wanted) for low in lows):
            return False
        parts = [self._as(low, wanted) for low in lows]
        joined = self.builder.emit(relax.op.concat(parts, int(call.attrs.axis)))
        self.low[var] = replace(wanted, value=joined, array=None)
        return True

    def _as(self, low: Low, wanted: Low) -> Any:
        """The integers of a tensor that is quantised as another one."""
        if low.same(wanted):
            return self._integers(low)
        return self.builder.emit(
            relax.op.quantize(
                self._floats(low), relax.const(wanted.scale),
                relax.const(wanted.zero.astype(wanted.dtype)), axis=0, out_dtype=wanted.dtype,
            )
        )  # fmt: skip

    def _mean(self, var: Any, call: Any) -> bool:
        low, shape = self.low.get(call.args[0]), sizes(call.args[0])
        if low is None or low.axis is not None or shape is None or low.dtype not in BYTES:
            return False
        axes = [int(axis) for axis in call.attrs.axis or range(len(shape))]
        count = int(np.prod([shape[axis] for axis in axes]))
        emit = self.builder.emit
        wide = emit(relax.op.astype(self._integers(low), "int32"))
        total = emit(relax.op.sum(wide, axes, bool(call.attrs.keepdims)))
        total = emit(relax.op.subtract(total, relax.const(int(low.zero) * count, "int32")))
        unit = relax.const(np.float32(low.scale / np.float32(count)))
        self.done[var] = emit(relax.op.multiply(emit(relax.op.astype(total, "float32")), unit))
        return True

    # Convolutions and matrix products.

    def _operands(self, call: Any) -> tuple[Low, Low] | None:
        x, weight = (self.low.get(arg) for arg in call.args[:2])
        if x is None or weight is None or x.axis is not None or x.array is not None:
            return None
        if weight.array is None or x.dtype not in BYTES or weight.dtype not in BYTES:
            return None
        return (x, weight) if sizes(call.args[0]) is not None else None

    def _conv2d(self, var: Any, call: Any) -> bool:
        operands, attrs = self._operands(call), call.attrs
        if operands is None or str(attrs.data_layout) != "NCHW":
            return False
        if operands[1].axis not in (None, 0) or str(attrs.kernel_layout) != "OIHW":
            return False
        return self._convolved(var, call, operands, int(attrs.groups))

    def _average(self, var: Any, call: Any) -> bool:
        """An average over windows is a depthwise convolution with equal weights."""
        low, shape, attrs = self.low.get(call.args[0]), sizes(call.args[0]), call.attrs
        if low is None or low.axis is not None or low.array is not None or shape is None:
            return False
        padded = any(int(pad) for pad in attrs.padding)
        if low.dtype not in BYTES or str(attrs.layout) != "NCHW" or attrs.ceil_mode:
            return False
        if padded and not attrs.count_include_pad:
            return False
        size = [int(extent) for extent in attrs.pool_size]
        ones = np.ones((shape[1], 1, *size), np.int8)
        each = np.float32(1 / np.prod(size))
        weight = Low(None, "int8", np.array(each), np.zeros((), np.int8), array=ones)
        return self._convolved(var, call, (low, weight), shape[1])

    def _convolved(self, var: Any, call: Any, operands: tuple[Low, Low], groups: int) -> bool:
        x, weight = operands
        shape, attrs = sizes(call.args[0]) or [], call.attrs
        taps = weight.centred().transpose(0, 2, 3, 1)
        channels = len(taps)
        space: dict[str, Any] = {
            "strides": [int(v) for v in attrs.strides],
            "pads": [int(v) for v in attrs.padding],
            "dilation": [int(v) for v in attrs.dilation],
            "zero": int(x.zero),
        }
        image = self.builder.emit(relax.op.permute_dims(self._integers(x), to_last(4)))
        if groups > 1 and groups == shape[1] and channels % groups == 0:
            if channels > groups:
                image = self.builder.emit_te(kernels.repeated, image, channels // groups)
            make, packed, more = self._depthwise(taps[..., 0], space, call)
        else:
            packing = self._packing(taps, groups)
            if packing is None:
                return False
            dot, taps, groups = packing
            make, packed = kernels.conv2d, kernels.pack(taps, dot)
            more = {"dot": dot, "groups": groups, "channels": channels}
        end, value = self._emit(make, var, image, packed, operands, taps, 1, space | more)
        self.done[end] = self.builder.emit(relax.op.permute_dims(value, to_first(4)))
        return True

    def _depthwise(
        self, taps: np.ndarray, space: dict[str, Any], call: Any
    ) -> tuple[Callable[..., Any], np.ndarray, dict[str, Any]]:
        """A kernel, its weights, and options; by an instruction if there is one that pays.

        Args:
            taps: ``[C, KH, KW]``.
        """
        channels, height, width = taps.shape
        columns = (sizes(call) or [])[3]
        found = [] if space["dilation"][1] > 1 else available(self.target)
        for dot in sorted(found, key=lambda dot: channels % dot.lanes > 0):
            cell = kernels.Cell.of(width, space["strides"][1], columns, dot.group)
            if dot not in EACH or not cell.pays(height, space["strides"][0]):
                continue
            packed = kernels.pack_depthwise(taps, dot, cell)
            if exact(dot, packed.reshape(-1, dot.group)):
                return kernels.depthwise_dot, packed, {
                    "dot": dot, "cell": cell, "channels": channels,
                }  # fmt: skip
        packed = np.ascontiguousarray(taps.transpose(1, 2, 0).astype(np.int16))
        return kernels.depthwise, packed, {"dot": PLAIN}

    def _packing(self, taps: np.ndarray, groups: int) -> tuple[Dot, np.ndarray, int] | None:
        """An instruction, and the weights and groups that it is used with; None: there is none.

        Args:
            taps: ``[OC, KH, KW, IC / groups]``.
        """
        if groups == 1:
            rows = taps.reshape(-1, taps.shape[-1])
            return select(self.target, rows, len(taps)), taps, groups
        for dot in available(self.target):
            wide, left = kernels.merged(taps, groups, dot.lanes)
            whole = (wide.shape[3] % dot.depth, len(taps) // left % dot.lanes) == (0, 0)
            if (whole or left == 1) and exact(dot, wide.reshape(-1, wide.shape[-1])):
                return dot, wide, left
        return None

    def _matmul(self, var: Any, call: Any) -> bool:
        operands = self._operands(call)
        if operands is None:
            return False
        x, weight = operands
        rank = len(sizes(call.args[0]) or [])
        if rank < 2 or weight.array is None or weight.array.ndim != 2 or weight.axis == 0:
            return False
        taps = weight.centred().T
        dot = select(self.target, taps, len(taps))
        packed = kernels.pack(taps[:, None, None, :], dot)
        data, more = self._integers(x), {"zero": int(x.zero), "channels": len(taps)}
        end, value = self._emit(
            kernels.dense, var, data, packed, (x, weight), taps, rank - 1, more | {"dot": dot}
        )
        self.done[end] = value
        return True

    def _emit(
        self,
        make: Callable[..., Any],
        var: Any,
        data: Any,
        packed: np.ndarray,
        operands: tuple[Low, Low],
        taps: np.ndarray,
        axis: int,
        options: dict[str, Any],
    ) -> tuple[Any, Any]:
        """Emits a kernel with what follows it; the variable that it gives, and its value.

        Args:
            taps: weights less their zero points, ``[OC, ...]``.
            axis: of the channels.
        """
        x, weight = operands
        dot, channels = options["dot"], len(taps)
        flat = taps.reshape(channels, -1)
        zeros = flat.sum(1) * kernels.data_zero(dot, x.dtype, int(x.zero))
        unit = np.broadcast_to(x.scale * weight.scale, (channels,))
        end, bias, offset, how, scale = self._following(var, unit, axis)
        fixed: list[Any] = [bias - zeros, unit if scale is None else unit / scale]
        most = (np.abs(flat).sum(1) * 255 + np.abs(bias)) * fixed[1]
        if offset is not None:
            fixed.append(offset if scale is None else offset / scale)
            most = most + np.abs(fixed[2])
        small = self.target.kind.name == "llvm" and most.max(initial=0) < kernels.SMALL
        how = replace(how, small=bool(small))
        fixed[0] = fixed[0].astype(np.int32)
        fixed[1:] = [each.astype(np.float32) for each in fixed[1:]]
        if make is not kernels.depthwise:
            fixed = [kernels.padded_channels(each, dot) for each in fixed]
        value = self.builder.emit_te(
            partial(make, **options, how=how), data, *map(relax.const, [packed, *fixed]),
            primfunc_name_hint=f"quantized_{make.__name__}", primfunc_attrs=FUSABLE,
        )  # fmt: skip
        return end, value

    def _following(
        self, var: Any, unit: np.ndarray, axis: int
    ) -> tuple[Any, np.ndarray, np.ndarray | None, kernels.Rounded, np.float32 | None]:
        """What is done to sums before anything else reads them.

        Returns:
            the last variable; an int32 bias and a float32 offset for each channel; the rounding,
            and its scale.
        """
        bias, offset = np.zeros(len(unit), np.int64), None
        reader = self._reader(var)
        values = self._added(reader, var, axis, len(unit)) if reader is not None else None
        if values is not None:
            self.skipped.add(var)
            var = reader.var
            whole = np.rint(values.astype(np.float64) / unit)
            if np.allclose(whole * unit, values, rtol=1e-6, atol=0) and abs(whole).max() < 2**30:
                bias = whole.astype(np.int64)
            else:
                offset = values
        end, low, high, between = var, -np.inf, np.inf, [var]
        while (reader := self._reader(end)) is not None:
            if operator(reader.value) == "relax.quantize":
                form = self._form(reader.value)
                if form is None:
                    break
                least, most = BYTES[form.dtype]
                zero = int(form.zero)
                with np.errstate(invalid="ignore"):
                    levels = [np.rint(np.float32(v) / form.scale) + zero for v in (low, high)]
                first, last = (int(np.clip(level, least, most)) for level in levels)
                self.skipped.update(between)
                how = kernels.Rounded(form.dtype, zero, first, last)
                return reader.var, bias, offset, how, np.float32(form.scale)
            bound = bounds(reader.value)
            if bound is None:
                break
            low, high = (min(max(value, bound[0]), bound[1]) for value in (low, high))
            end = reader.var
            between.append(end)
        return var, bias, offset, kernels.Rounded(), None

    def _reader(self, var: Any) -> Any:
        """The one binding that reads a variable."""
        found = self.readers[var]
        return found[0] if len(found) == 1 else None

    def _constant(self, var: Any) -> None:
        """Computes a variable now if it is a constant: its binding may come later."""
        value = self.values.get(var)
        if operator(value) not in {"relax.dequantize", *MOVES}:
            return
        for argument in variables(value):
            self._constant(argument)
        if all(self._is_constant(argument) for argument in variables(value)):
            self.binding(var, value)

    def _is_constant(self, var: Any) -> bool:
        low = self.low.get(var)
        return isinstance(self.done.get(var), GenericConst) or (
            low is not None and low.array is not None
        )

    def _added(self, binding: Any, var: Any, axis: int, channels: int) -> np.ndarray | None:
        """The float32 constant that is added to each channel."""
        if operator(binding.value) != "relax.add":
            return None
        (other,) = [arg for arg in binding.value.args if not arg.same_as(var)] or [None]
        if isinstance(other, relax.Var):
            self._constant(other)
            low, other = self.low.get(other), self.done.get(other)
            array = low.floats() if low is not None and low.array is not None else constant(other)
        else:
            array = constant(other) if other is not None else None
        rank = len(binding.var.ty.shape)
        if array is None or array.dtype != np.float32 or array.ndim > rank:
            return None
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        if any(size != 1 for at, size in enumerate(array.shape) if at != axis):
            return None
        return np.broadcast_to(array.reshape(-1), (channels,))
