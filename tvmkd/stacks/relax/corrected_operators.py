"""ONNX operators that TVM's importer computes in another way than ONNX, corrected.

They take the place of the importer's own classes: see `tvmkd.stacks.relax.importer.read`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tvm import relax, te, tirx
from tvm.ir.expr import GenericConst
from tvm.relax.frontend.onnx import onnx_frontend

_NO_ARITHMETIC = ("float8", "float6_", "float4", "int4", "uint4", "int2", "uint2")


_within = onnx_frontend._normalize_negative_indices


def within(bb: Any, indices: Any, extent: Any) -> Any:
    """Indices of gathering and scattering that are never outside of the tensor.

    ONNX Runtime refuses an index that is out of range; a kernel would read or write the memory
    beside the tensor. Here it becomes the nearest one.

    Args:
        bb: of the function that is being imported.
        indices: as in the ONNX file; negative ones count from the end.
        extent: the size of the axis, broadcasts with ``indices``; a constant is the depth of a
            OneHot, which has nothing at an index that is out of range.
    """
    found = _within(bb, indices, extent)
    if isinstance(indices, GenericConst) or isinstance(extent, GenericConst):
        return found
    dtype = indices.ty.dtype.dtype
    one, zero = (relax.const(value, dtype) for value in (1, 0))
    found = bb.normalize(relax.op.minimum(found, bb.normalize(relax.op.subtract(extent, one))))
    return found if dtype.startswith("u") else bb.normalize(relax.op.maximum(found, zero))


class ScatterElements(onnx_frontend.ScatterElements):  # type: ignore[misc]
    """Never writes outside of the tensor: see `within`."""

    @classmethod
    def _inside(cls, bb: Any, inputs: Any, attr: Any) -> list[Any]:
        data, indices, updates = inputs[0], inputs[1], inputs[2]
        dtype = indices.ty.dtype.dtype
        extent = onnx_frontend._axis_extent(bb, data, attr.get("axis", 0), dtype)
        return [data, within(bb, indices, extent), updates]

    @classmethod
    def _impl_v11(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        return super()._impl_v11(bb, cls._inside(bb, inputs, attr), attr, params)

    @classmethod
    def _impl_v16(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        return super()._impl_v16(bb, cls._inside(bb, inputs, attr), attr, params)

    @classmethod
    def _impl_v18(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        return super()._impl_v18(bb, cls._inside(bb, inputs, attr), attr, params)


class Clip(onnx_frontend.Clip):  # type: ignore[misc]
    """Clip with constant bounds as one operator.

    The importer guards each bound against NaN with ``where`` and expands Clip into two opaque
    kernels, which neither fuse with a convolution by name nor take a layout.
    """

    @classmethod
    def _impl_v13(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        bounds = []
        for at, missing in ((1, -np.inf), (2, np.inf)):
            bound = inputs[at] if len(inputs) > at else None
            if bound is None:
                bounds.append(missing)
            elif isinstance(bound, GenericConst) and not np.isnan(bound.value.numpy()).any():
                bounds.append(float(bound.value.numpy()))
            else:
                return super()._impl_v13(bb, inputs, attr, params)
        x, dtype = inputs[0], inputs[0].ty.dtype
        if "float" not in str(dtype):
            return super()._impl_v13(bb, inputs, attr, params)
        low, high = bounds
        if np.isinf(high):
            return x if np.isinf(low) else relax.op.maximum(x, relax.const(low, dtype))
        if np.isinf(low):
            return relax.op.minimum(x, relax.const(high, dtype))
        # Of bounds that cross, ONNX takes the upper one.
        return relax.op.clip(x, min(low, high), high)


def _of_two(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A maximum or minimum that is NaN where its first operand is: TVM's own is where the second
    one is, if that is not a constant.
    """

    def both(left: Any, right: Any) -> Any:
        result = operator(left, right)
        if "float" not in str(left.ty.dtype) or isinstance(left, GenericConst):
            return result
        if isinstance(right, GenericConst) and right.value.numpy().size == 1:
            return result
        return relax.op.where(relax.op.isnan(left), left, result)

    return both


def _folded(operator: Callable[[Any, Any], Any], mean: bool = False) -> type:
    """``Max``, ``Min``, ``Sum`` or ``Mean`` of any number of tensors, pair by pair.

    The importer stacks them and reduces over the stack.
    """

    class Folded(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
        @classmethod
        def _impl_v1(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
            total = reduce(lambda one, other: bb.normalize(operator(one, other)), list(inputs))
            if mean:
                total = relax.op.divide(total, relax.const(len(inputs), inputs[0].ty.dtype))
            return total

    return Folded


def _checked(operator: type) -> type:
    """``Cast`` or ``CastLike``, which refuses types that TVM does not compute with rightly."""

    class Checked(operator):  # type: ignore[misc]
        @classmethod
        def get_converter(cls, opset: int) -> Any:
            original = super().get_converter(opset)

            def convert(bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
                kinds = [str(each.ty.dtype) for each in inputs if hasattr(each.ty, "dtype")]
                if "to" in attr:
                    kinds.append(TensorProto.DataType.Name(attr["to"]).lower())
                for kind in kinds:
                    if kind.removeprefix("T.").startswith(_NO_ARITHMETIC):
                        raise ValueError(f"TVM does not compute with the type {kind}")
                return original(bb, inputs, attr, params)

            return convert

    return Checked


class Refused(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
    """An operator whose number of outputs only a run would show."""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        raise ValueError("it gives a number of elements that depends on the data")


class BitShift(onnx_frontend.BitShift):  # type: ignore[misc]
    """Shifts by the width or more: 0, or the sign from the left; CPUs take the amount modulo it."""

    @classmethod
    def _impl_v11(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        data, amount = inputs
        dtype = str(data.ty.dtype).removeprefix("T.")
        if isinstance(amount, GenericConst):
            return super()._impl_v11(bb, inputs, attr, params)
        zero, width = relax.const(0, dtype), np.dtype(dtype).itemsize * 8
        far = relax.op.greater(amount, relax.const(width - 1, dtype))
        end = bb.normalize(relax.op.multiply(data, zero))
        if dtype.startswith("int"):
            far = relax.op.logical_or(far, relax.op.less(amount, zero))
            if attr["direction"] == b"RIGHT":
                sign = relax.op.less(data, zero)
                end = relax.op.where(sign, relax.const(-1, dtype), zero)
        far = bb.normalize(far)
        near = bb.normalize(relax.op.where(far, zero, amount))
        shifted = bb.normalize(super()._impl_v11(bb, [data, near], attr, params))
        return relax.op.where(far, bb.normalize(end), shifted)


class BitCast(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
    """The same bits as another type of the same width, which the importer lacks."""

    @classmethod
    def _impl_v26(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        dtype = str(helper.tensor_dtype_to_np_dtype(attr["to"]))
        if str(inputs[0].ty.dtype).removeprefix("T.") == "bool":
            return relax.op.astype(inputs[0], dtype)

        def kernel(data: Any) -> Any:
            return te.compute(
                data.shape, lambda *at: tirx.reinterpret(dtype, data(*at)), name="bit_cast"
            )

        return bb.emit_te(kernel, inputs[0])


class Softplus(onnx_frontend.Softplus):  # type: ignore[misc]
    """Softplus with one function: the importer's logarithm of an exponential is 0 below -17, and
    only one of the two is vectorised (`tvmkd.stacks.relax.vector_math`).
    """

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Any, attr: Any, params: Any) -> Any:
        if str(inputs[0].ty.dtype).removeprefix("T.") != "float32":
            return super()._impl_v1(bb, inputs, attr, params)
        return bb.emit_te(softplus, inputs[0], primfunc_name_hint="softplus")


def softplus(x: te.Tensor) -> te.Tensor:
    """``max(x, 0) + log1p(exp(-abs(x)))``, where ``log1p(e) = 2 atanh(e / (2 + e))`` is a series in
    odd powers of at most a third.
    """

    def value(*at: Any) -> Any:
        e = tirx.exp(0.0 - tirx.abs(x[at]))
        s = e / (e + 2.0)
        square = s * s
        total: Any = tirx.const(1 / 17, "float32")
        for power in range(15, 0, -2):
            total = total * square + tirx.const(1 / power, "float32")
        return tirx.max(x[at], 0.0) + 2.0 * s * total

    return te.compute(x.shape, value, name="softplus")


CORRECTED: dict[str, type] = {
    "BitCast": BitCast,
    "BitShift": BitShift,
    "Cast": _checked(onnx_frontend.Cast),
    "ScatterElements": ScatterElements,
    "CastLike": _checked(onnx_frontend.CastLike),
    "Clip": Clip,
    "Max": _folded(_of_two(relax.op.maximum)),
    "Mean": _folded(relax.op.add, mean=True),
    "Min": _folded(_of_two(relax.op.minimum)),
    "NonMaxSuppression": Refused,
    "NonZero": Refused,
    "Softplus": Softplus,
    "Sum": _folded(relax.op.add),
    "Unique": Refused,
}
