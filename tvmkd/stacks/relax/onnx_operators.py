"""Relax's operators in ONNX: those that upstream's patterns for TensorRT name.

What ONNX cannot say the way TVM computes it is refused with the reason.

Opset 13: what the parser of TensorRT 8.2 reads in full. https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import tvm
import tvm_ffi
from onnx import TensorProto, helper, numpy_helper
from tvm import relax
from tvm.ir.expr import GenericConst

OPSET = 13
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
BYTES = ("int8", "uint8")
"""Dtypes of quantised tensors, which are inside of regions only."""


class Unsupported(Exception):
    """An operator, or a way to call it, that is not put into ONNX; the message says why."""


class Writer:
    """The nodes and constants of a graph that is being written.

    Attributes:
        fixed: names of tensors that are the same in each run: constants, dequantised or not.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.fixed: set[str] = set()
        self._count = 0

    def name(self) -> str:
        """One that nothing in the graph has yet."""
        self._count += 1
        return f"t{self._count}"

    def constant(self, array: Any, dtype: Any = None) -> str:
        """A constant, and its name."""
        name = self.name()
        # Not ascontiguousarray: it makes a vector of a scalar.
        self.constants.append(numpy_helper.from_array(np.array(array, dtype), name))
        self.fixed.add(name)
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node: the name of its output, or a list of them where it has more than one."""
        names = [self.name() for _ in range(outputs)]
        # By its name the parser says which node it refuses.
        label = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, names, label, **attributes))
        return names[0] if outputs == 1 else names


_CHECK_THEMSELVES = ("relax.quantize", "relax.dequantize", "relax.take")
"""Operators that check the dtypes of their arguments: integers are among these."""

Convert = Callable[[Writer, relax.Call, Sequence[Any]], Any]
_CONVERT: dict[str, Convert] = {}


def _of(*names: str) -> Callable[[Convert], Convert]:
    def put(function: Convert) -> Convert:
        _CONVERT.update({f"relax.{name}": function for name in names})
        return function

    return put


def _plain(kind: str) -> Convert:
    def convert(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
        if not all(isinstance(argument.ty, relax.TensorType) for argument in call.args):
            raise Unsupported("it takes a number, not a tensor")
        return to.add(kind, *inputs)

    return convert


for _names, _kinds in (
    ("nn.relu sigmoid tanh exp log sqrt abs", "Relu Sigmoid Tanh Exp Log Sqrt Abs"),
    ("negative sin cos atan ceil floor erf", "Neg Sin Cos Atan Ceil Floor Erf"),
    ("add subtract multiply divide power", "Add Sub Mul Div Pow"),
    ("maximum minimum nn.batch_flatten", "Max Min Flatten"),
):
    for _name, _kind in zip(_names.split(), _kinds.split(), strict=True):
        _of(_name)(_plain(_kind))


def _sizes(kind: relax.TensorType) -> list[int | None]:
    """A tensor's shape; None for a size that is free."""
    if kind.shape is None or not hasattr(kind.shape, "values"):
        raise Unsupported("its shape is known only as it runs")
    return [int(size) if isinstance(size, tvm.tirx.IntImm) else None for size in kind.shape.values]


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _layouts(call: relax.Call, data: str, kernel: str | None = None) -> None:
    """Makes sure that a convolution or a pooling has ONNX's layouts."""
    attrs = call.attrs
    found = str(attrs.data_layout if kernel else attrs.layout)
    wrong = (
        found != data
        or str(attrs.out_layout or data) != data
        or (kernel is not None and str(attrs.kernel_layout) != kernel)
    )
    if wrong:
        raise Unsupported(f"its layout is {found}, not {data}")


@_of("nn.silu")
def _silu(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    return to.add("Mul", inputs[0], to.add("Sigmoid", inputs[0]))


@_of("nn.softmax")
def _softmax(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    return to.add("Softmax", inputs[0], axis=int(call.attrs.axis))


@_of("expand_dims", "squeeze")
def _axes_in_and_out(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    kind = "Squeeze" if call.op.name == "relax.squeeze" else "Unsqueeze"
    axes = call.attrs.axis
    given = [] if axes is None else [to.constant(_ints(axes), np.int64)]
    return to.add(kind, inputs[0], *given)


@_of("permute_dims")
def _permute(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    axes = call.attrs.axes
    more: dict[str, Any] = {} if axes is None else {"perm": _ints(axes)}
    return to.add("Transpose", inputs[0], **more)


def _fit_ceiling(call: relax.Call, kernel: Sequence[int], pads: Sequence[int]) -> bool:
    """Whether rounding up makes a difference to a pooling's output.

    Raises:
        Unsupported: it does, in a way in which ONNX and Relax differ: in a mean's last window, and
            in windows that begin beyond the image.
    """
    attrs = call.attrs
    if not attrs.ceil_mode:
        return False
    axes, differs = len(kernel), False
    for axis, size in enumerate(_sizes(call.args[0].ty)[2:]):
        if size is None:
            raise Unsupported("it rounds a size up that is free")
        stride = int(attrs.strides[axis])
        reach = int(attrs.dilation[axis]) * (kernel[axis] - 1) + 1
        over = size + pads[axis] + pads[axis + axes] - reach
        last = -(-over // stride) * stride
        differs |= over % stride != 0
        if over % stride and last >= size + pads[axis]:
            raise Unsupported("its last window begins beyond the image")
    if differs and "avg" in call.op.name:
        raise Unsupported("it rounds up the size of a mean's windows")
    return differs


@_of("nn.max_pool2d", "nn.avg_pool2d", "nn.max_pool3d", "nn.avg_pool3d")
def _pool(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    attrs, mean = call.attrs, "avg" in call.op.name
    _layouts(call, "NCHW" if "2d" in call.op.name else "NCDHW")
    kernel, pads = _ints(attrs.pool_size), _ints(attrs.padding)
    more: dict[str, Any] = {"ceil_mode": int(_fit_ceiling(call, kernel, pads))}
    if mean:
        more["count_include_pad"] = int(attrs.count_include_pad)
    if max(_ints(attrs.dilation)) > 1:
        # The attribute is of opset 10 for a maximum, and of opset 19 for a mean.
        raise Unsupported("its windows are dilated")
    return to.add(
        "AveragePool" if mean else "MaxPool",
        inputs[0],
        kernel_shape=kernel,
        strides=_ints(attrs.strides),
        pads=pads,
        **more,
    )


@_of("nn.adaptive_avg_pool2d")
def _adaptive_pool(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    _layouts(call, "NCHW")
    given, wanted = _sizes(call.args[0].ty)[2:], _sizes(call.ty)[2:]
    if wanted == [1, 1]:
        return to.add("GlobalAveragePool", inputs[0])
    kernel = []
    for size, out in zip(given, wanted, strict=True):
        if size is None or out is None or size % out:
            raise Unsupported(f"its windows differ: {given} to {wanted}")
        kernel.append(size // out)
    return to.add("AveragePool", inputs[0], kernel_shape=kernel, strides=kernel)


@_of("sum", "prod", "max", "min", "mean")
def _reduce(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    kind = call.op.name.removeprefix("relax.").capitalize()
    axes, keep = call.attrs.axis, int(call.attrs.keepdims)
    if axes is None:
        return to.add(f"Reduce{kind}", inputs[0], keepdims=keep)
    if kind == "Sum":  # the only one whose axes are an input in opset 13
        return to.add("ReduceSum", inputs[0], to.constant(_ints(axes), np.int64), keepdims=keep)
    return to.add(f"Reduce{kind}", inputs[0], axes=_ints(axes), keepdims=keep)


@_of("concat")
def _concat(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    return to.add("Concat", *inputs[0], axis=int(call.attrs.axis or 0))


@_of("split")
def _split(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    if isinstance(call.ty, relax.TensorType):
        return inputs[0]  # into one part
    axis = int(call.attrs.axis)
    sizes = [_sizes(field)[axis] for field in call.ty.fields]
    if None in sizes:
        raise Unsupported("it cuts an axis that is free")
    parts = to.constant(sizes, np.int64)
    return to.add("Split", inputs[0], parts, outputs=len(sizes), axis=axis)


@_of("nn.conv1d", "nn.conv2d", "nn.conv3d", "nn.conv2d_transpose", "nn.conv3d_transpose")
def _conv(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    attrs, turned = call.attrs, "transpose" in call.op.name
    image = {"1": "W", "2": "HW", "3": "DHW"}[call.op.name[len("relax.nn.conv")]]
    _layouts(call, f"NC{image}", f"{'IO' if turned else 'OI'}{image}")
    if inputs[1] not in to.fixed:
        raise Unsupported("its weights are no constant")
    more: dict[str, Any] = {"output_padding": _ints(attrs.output_padding)} if turned else {}
    return to.add(
        "ConvTranspose" if turned else "Conv",
        *inputs,
        strides=_ints(attrs.strides),
        pads=_ints(attrs.padding),
        dilations=_ints(attrs.dilation),
        group=int(attrs.groups),
        **more,
    )


@_of("quantize", "dequantize")
def _quantization(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    down = call.op.name == "relax.quantize"
    whole, floats = (call, call.args[0]) if down else (call.args[0], call)
    scale, zero = call.args[1:]
    if str(whole.ty.dtype) not in BYTES or str(floats.ty.dtype) != "float32":
        raise Unsupported(f"it is of {floats.ty.dtype} and {whole.ty.dtype}, not FP32 and INT8")
    if not isinstance(scale, GenericConst) or not isinstance(zero, GenericConst):
        raise Unsupported("its scale or its zero point is computed")
    scales, zeros = scale.value.numpy(), zero.value.numpy().astype(str(whole.ty.dtype))
    more: dict[str, Any] = {}
    if scales.size == 1:
        scales, zeros = scales.reshape(()), zeros.reshape(-1)[0]
    else:
        more["axis"] = int(call.attrs.axis) % len(whole.ty.shape)
        zeros = np.broadcast_to(zeros, scales.shape)
    kind = "QuantizeLinear" if down else "DequantizeLinear"
    name = to.add(kind, inputs[0], to.constant(scales, np.float32), to.constant(zeros), **more)
    if inputs[0] in to.fixed:
        to.fixed.add(name)
    return name


@_of("take")
def _take(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    data, indices = call.args
    axis = call.attrs.axis
    if not isinstance(indices, GenericConst) or axis is None:
        raise Unsupported("its indices are no constant")
    if str(data.ty.dtype) not in TYPES:
        raise Unsupported(f"it takes {data.ty.dtype}, regions only FP32 and FP16")
    size, wanted = _sizes(data.ty)[int(axis)], indices.value.numpy().astype(np.int64)
    # What TVM does with those depends on its mode; ONNX counts from the end, or fails.
    if size is None or wanted.size == 0 or wanted.min() < 0 or wanted.max() >= size:
        raise Unsupported("its indices are not all inside of the axis")
    return to.add("Gather", inputs[0], to.constant(wanted), axis=int(axis))


@_of("matmul")
def _matmul(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    return to.add("MatMul", *inputs)


@_of("reshape")
def _reshape(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    before, after = call.args[0].ty.shape, call.ty.shape
    sizes = _sizes(call.ty)
    _sizes(call.args[0].ty)
    for axis, size in enumerate(sizes):
        # 0: as it was. One size may be left to be worked out.
        if (
            size is None
            and axis < len(before)
            and tvm_ffi.structural_equal(before[axis], after[axis])
        ):
            sizes[axis] = 0
    if sizes.count(None) > 1:
        raise Unsupported("more than one of its sizes is free")
    wanted = [-1 if size is None else size for size in sizes]
    return to.add("Reshape", inputs[0], to.constant(wanted, np.int64))


@_of("nn.layer_norm")
def _layer_norm(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    axes, (x, scale, shift) = _ints(call.attrs.axes), inputs
    dtype = str(call.args[0].ty.dtype)
    centred = to.add("Sub", x, to.add("ReduceMean", x, axes=axes, keepdims=1))
    spread = to.add("ReduceMean", to.add("Mul", centred, centred), axes=axes, keepdims=1)
    epsilon = to.constant(float(call.attrs.epsilon), dtype)
    found = to.add("Div", centred, to.add("Sqrt", to.add("Add", spread, epsilon)))
    # Whatever the attributes say: TVM's own kernel scales and shifts always.
    return to.add("Add", to.add("Mul", found, scale), shift)


def _numbers(values: Any) -> list[Any]:
    values = getattr(values, "fields", None) or getattr(values, "values", None) or values
    try:
        return [value.value for value in values]
    except (AttributeError, TypeError):
        raise Unsupported("its bounds are known only as it runs") from None


@_of("clip")
def _clip(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    dtype = str(call.args[0].ty.dtype)
    bounds = [to.constant(float(value), dtype) for value in _numbers(call.args[1:])]
    return to.add("Clip", inputs[0], *bounds)


@_of("strided_slice")
def _slice(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    axes, begins, ends, *strides = (_ints(_numbers(value)) for value in call.args[1:])
    given = [to.constant(value, np.int64) for value in (begins, ends, axes, *strides)]
    return to.add("Slice", inputs[0], *given)


@_of("image.resize2d")
def _resize(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    attrs, before, after = call.attrs, _sizes(call.args[0].ty), _sizes(call.ty)
    method = {"nearest_neighbor": "nearest"}.get(attrs.method, str(attrs.method))
    mode: dict[str, Any] = {
        "mode": method,
        "coordinate_transformation_mode": str(attrs.coordinate_transformation_mode),
    }
    if method == "nearest":
        mode["nearest_mode"] = str(attrs.rounding_method)
    if method == "cubic":
        mode["cubic_coeff_a"] = float(attrs.cubic_alpha)
    if None not in after:
        return to.add("Resize", inputs[0], "", "", to.constant(after, np.int64), **mode)
    scales = [1.0, 1.0]
    for old, new in zip(before[2:], after[2:], strict=True):
        if old is None or new is None:
            raise Unsupported("the size of its image is free")
        scales.append(new / old)
    return to.add("Resize", inputs[0], "", to.constant(scales, np.float32), **mode)


def convert(to: Writer, call: relax.Call, inputs: Sequence[Any]) -> Any:
    """Puts an operator into the graph.

    Args:
        to: the graph.
        call: of the operator.
        inputs: the names of its tensors; a list of names for a tuple of them.

    Returns:
        the name of its result, or a list of them.

    Raises:
        Unsupported: it cannot be said in ONNX.
    """
    name = str(call.op.name)
    if name not in _CONVERT:
        raise Unsupported(f"{name.removeprefix('relax.')} is not put into ONNX")
    if name in _CHECK_THEMSELVES:
        return _CONVERT[name](to, call, inputs)
    for argument in call.args:
        kind = argument.ty
        for part in kind.fields if isinstance(kind, relax.TupleType) else [kind]:
            if isinstance(part, relax.TensorType) and str(part.dtype) not in TYPES:
                raise Unsupported(f"it takes {part.dtype}, regions only FP32 and FP16")
    results = call.ty.fields if isinstance(call.ty, relax.TupleType) else [call.ty]
    if any(str(result.dtype) not in TYPES for result in results):
        raise Unsupported(f"it gives {results[0].dtype}, regions only FP32 and FP16")
    return _CONVERT[name](to, call, inputs)
