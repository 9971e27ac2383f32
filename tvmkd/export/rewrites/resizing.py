"""``Resize`` of every mode: what TVM does not compute exactly becomes Gathers and matrices.

The weights of an axis are what ONNX Runtime's own Resize makes of unit vectors, so that they agree
to the last bit of a coordinate. https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tvmkd.export.rewrites.integers import attributes, given
from tvmkd.export.rewrites.plain import cast, constant_like
from tvmkd.export.site import Refused, Site

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_MAX_TAPS = 4  # neighbours of one output: more are one product with a matrix
_PLAIN_LINEAR = {"half_pixel", "align_corners", "asymmetric"}


@dataclass(frozen=True)
class _Axis:
    """One axis that changes its size.

    Attributes:
        axis: which one.
        weights: [size after, size before].
        outside: which outputs lie outside the region of interest.
    """

    axis: int
    weights: np.ndarray
    outside: np.ndarray


def resize(site: Site) -> None:
    """Lowers the node unless TVM computes its form exactly.

    Raises:
        Refused: its sizes are computed, or integers are interpolated by a cubic.
    """
    shape = site.sizes()
    if "" not in {given(site, 2), given(site, 3)} and not site.sizes(2):
        raise Refused("has both scales and sizes")
    scales, sizes = site.value(2), site.value(3)
    if (scales is None or not scales.size) and sizes is None:
        raise Refused("has scales or sizes that are not constant")
    roi = site.value(1)
    if site.attribute("coordinate_transformation_mode") == "tf_crop_and_resize" and roi is None:
        raise Refused("has a region of interest that is not constant")
    mode = site.attribute("mode", "nearest")
    kind = site.elem_type()
    request = _Request(site, shape, scales, sizes, roi)
    changed = request.axes()
    if mode != "nearest" and kind not in _FLOATS:
        raise Refused(f"interpolates integers ({mode})")
    if not changed:
        site.become("Identity", [given(site, 0)])
    elif mode == "nearest":
        _nearest(site, shape, changed)
    elif not _plain(site, shape, changed, scales if sizes is None else None):
        _weighted(site, shape, changed)


class _Request:
    """Scales or sizes of every axis."""

    def __init__(
        self,
        site: Site,
        shape: Sequence[int],
        scales: np.ndarray | None,
        sizes: np.ndarray | None,
        roi: np.ndarray | None,
    ) -> None:
        rank = len(shape)
        named = site.attribute("axes")
        self._axes = [axis % rank for axis in (range(rank) if named is None else named)]
        self._shape = shape
        self._site = site
        self._options = attributes(site, "axes")
        self._sizes = None if sizes is None else dict(zip(self._axes, sizes.tolist(), strict=True))
        self._scales = None
        if sizes is None and scales is not None:
            self._scales = dict(zip(self._axes, scales.tolist(), strict=True))
        self._roi: dict[int, tuple[float, float]] = {}
        if roi is not None and roi.size == 2 * len(self._axes):
            begins, ends = roi.reshape(2, -1).tolist()
            self._roi = {a: (b, e) for a, b, e in zip(self._axes, begins, ends, strict=True)}

    def axes(self) -> list[_Axis]:
        """The axes that change, with what ONNX Runtime does to each."""
        found = []
        for axis in self._axes:
            crops = self._roi.get(axis, (0.0, 1.0)) != (0.0, 1.0)
            crops &= self._options.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
            size = self._shape[axis]
            policy = self._options.get("keep_aspect_ratio_policy", b"stretch") != b"stretch"
            if self._sizes is not None:
                same = self._sizes[axis] == size and not policy
            else:
                same = self._scales is not None and self._scales[axis] == 1
            if same and not crops:
                continue
            found.append(self._measured(axis))
        return found

    def _measured(self, axis: int) -> _Axis:
        size = self._shape[axis]
        unit = np.eye(size, dtype=np.float32)
        policy = self._options.get("keep_aspect_ratio_policy", b"stretch") != b"stretch"
        if policy and self._sizes is not None:
            # The axis that sets the scale of all stands beside this one.
            ratios = {at: self._sizes[at] / self._shape[at] for at in self._axes}
            smallest = self._options["keep_aspect_ratio_policy"] == b"not_larger"
            other = (min if smallest else max)(ratios, key=lambda at: ratios[at])
            data = np.ascontiguousarray(
                np.broadcast_to(unit[:, None, :, None], (size, 1, size, self._shape[other]))
            )
            wanted = [self._sizes[axis], self._sizes[other]]
            result = _run(data, self._options, sizes=wanted)[:, 0, :, 0]
            return _Axis(axis, result.T, np.zeros(result.shape[1], bool))
        data = unit.T[None, None]
        crop = self._roi.get(axis)
        if self._sizes is not None:
            result = _run(data, self._options, sizes=[self._sizes[axis], size], crop=crop)
        else:
            assert self._scales is not None
            result = _run(data, self._options, scales=[self._scales[axis], 1.0], crop=crop)
        weights = result[0, 0]
        outside = np.zeros(len(weights), bool)
        if crop is not None:
            # Of ones, only what lies outside becomes 0.
            options = {**self._options, "extrapolation_value": 7.0}
            ones = _run(np.zeros_like(data), options, crop=crop, like=weights.shape[0])
            outside = ones[0, 0, :, 0] == 7
            weights = np.where(outside[:, None], 0, weights)
        return _Axis(axis, weights, outside)


def _run(
    data: np.ndarray,
    options: Mapping[str, Any],
    *,
    sizes: Sequence[int] | None = None,
    scales: Sequence[float] | None = None,
    crop: tuple[float, float] | None = None,
    like: int | None = None,
) -> np.ndarray:
    """ONNX Runtime's Resize of axes 2 and 3 of a tensor of four."""
    import onnxruntime

    if like is not None:
        sizes = [like, data.shape[3]]
    region = np.array([0, 0, crop[0], 0, 1, 1, crop[1], 1] if crop else [], np.float32)
    whole = dict(options)
    if whole.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        whole["axes"] = [2, 3]
        wanted = np.array(sizes, np.int64)
    else:
        wanted = np.array([*data.shape[:2], *sizes], np.int64) if sizes else np.array([], np.int64)
    factors = np.array([1, 1, *scales] if scales else [], np.float32)
    values: dict[str, np.ndarray] = {"roi": region, "scales": factors}
    names = ["x", "roi", "scales"]
    if sizes:
        values = {"roi": region, "sizes": wanted}
        names = ["x", "roi", "", "sizes"]
    node = helper.make_node("Resize", names, ["y"], **whole)
    graph = helper.make_graph(
        [node],
        "axis",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, data.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = 18 if {"antialias", "axes", "keep_aspect_ratio_policy"} & whole.keys() else 13
    version = [helper.make_opsetid("", max(opset, 19 if _is_new(whole) else 13))]
    model = helper.make_model(graph, opset_imports=version, ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    result: np.ndarray = session.run(None, {"x": data})[0]
    return result


def _is_new(options: Mapping[str, Any]) -> bool:
    return options.get("coordinate_transformation_mode") == b"half_pixel_symmetric"


def _spatial(shape: Sequence[int], changed: Sequence[_Axis]) -> bool:
    return len(shape) == 4 and all(each.axis in {2, 3} for each in changed)


def _after(shape: Sequence[int], changed: Sequence[_Axis]) -> list[int]:
    sizes = list(shape)
    for each in changed:
        sizes[each.axis] = len(each.weights)
    return sizes


def _nearest(site: Site, shape: Sequence[int], changed: Sequence[_Axis]) -> None:
    indices = {each.axis: each.weights.argmax(1) for each in changed}
    repeats = all(
        len(found) % shape[axis] == 0
        and np.array_equal(found, np.arange(len(found)) // (len(found) // shape[axis]))
        for axis, found in indices.items()
    )
    inside = not any(each.outside.any() for each in changed)
    if repeats and inside and _spatial(shape, changed):
        options = {
            "coordinate_transformation_mode": b"asymmetric",
            "mode": b"nearest",
            "nearest_mode": b"floor",
        }
        _by_sizes(site, _after(shape, changed), options)
        return
    data = given(site, 0)
    for axis, found in indices.items():
        steps = np.unique(np.diff(found))
        if len(found) > 1 and len(steps) == 1 and steps[0] > 0:
            begin, step = int(found[0]), int(steps[0])
            bounds = [[begin], [int(found[-1]) + 1], [axis], [step]]
            data = site.add("Slice", [data, *(site.constant(value) for value in bounds)])
        else:
            data = site.add("Gather", [data, site.constant(found)], axis=axis)
    site.become("Identity", [_extrapolated(site, data, shape, changed)])


def _plain(
    site: Site, shape: Sequence[int], changed: Sequence[_Axis], scales: np.ndarray | None
) -> bool:
    """Whether TVM computes this form as it is; its sizes are put in then."""
    options = attributes(site)
    transformation = str(site.attribute("coordinate_transformation_mode", "half_pixel"))
    after = _after(shape, changed)
    if transformation == "pytorch_half_pixel" and all(after[each.axis] > 1 for each in changed):
        transformation = "half_pixel"
    fine = (
        transformation in _PLAIN_LINEAR
        and not options.get("antialias", 0)
        and not options.get("exclude_outside", 0)
        and options.get("keep_aspect_ratio_policy", b"stretch") == b"stretch"
        and _spatial(shape, changed)
        and all(after[axis] > 1 and shape[axis] > 1 for axis in (2, 3))
        and site.elem_type() == TensorProto.FLOAT
    )
    if not fine:
        return False
    if scales is not None:
        # TVM knows sizes only; where they were rounded down, its scale is another one.
        named = site.attribute("axes") or range(len(shape))
        pairs = zip(named, scales.tolist(), strict=True)
        if any(np.float32(shape[axis] * scale) != after[axis] for axis, scale in pairs):
            return False
    kept: dict[str, Any] = {
        name: options[name] for name in ("mode", "cubic_coeff_a") if name in options
    }
    kept["coordinate_transformation_mode"] = transformation.encode()
    _by_sizes(site, after, kept)
    return True


def _by_sizes(site: Site, sizes: Sequence[int], options: dict[str, Any]) -> None:
    """A Resize to these sizes; the node is left alone if it is one already."""
    found = site.value(3)
    same = found is not None and found.tolist() == list(sizes) and not given(site, 1)
    if not same or attributes(site) != options:
        site.become("Resize", [given(site, 0), "", "", site.constant(sizes)], **options)


def _weighted(site: Site, shape: Sequence[int], changed: Sequence[_Axis]) -> None:
    data, kind = given(site, 0), site.elem_type()
    data = cast(site, data, TensorProto.FLOAT) if kind == TensorProto.FLOAT16 else data
    for each in changed:
        taps = int((each.weights != 0).sum(1).max())
        if taps <= _MAX_TAPS:
            data = _taps(site, data, each, taps, len(shape))
        else:
            data = _product(site, data, each, len(shape))
    data = _extrapolated(site, data, shape, changed)
    site.become("Identity", [cast(site, data, kind)])


def _taps(site: Site, data: str, each: _Axis, taps: int, rank: int) -> str:
    """The sum of a few neighbours, each gathered and weighted."""
    order = np.argsort(-np.abs(each.weights), axis=1, kind="stable")[:, :taps]
    order.sort(axis=1)
    column = [1] * rank
    column[each.axis] = -1
    total = ""
    for tap in range(taps):
        weights = np.take_along_axis(each.weights, order[:, tap : tap + 1], 1).reshape(column)
        near = site.add("Gather", [data, site.constant(order[:, tap])], axis=each.axis)
        part = site.add("Mul", [near, constant_like(site, weights, data)])
        total = site.add("Add", [total, part]) if total else part
    return total


def _product(site: Site, data: str, each: _Axis, rank: int) -> str:
    """A product with the matrix of all weights."""
    if each.axis == rank - 1:
        return site.add("MatMul", [data, constant_like(site, each.weights.T, data)])
    matrix = constant_like(site, each.weights, data)
    if each.axis == rank - 2:
        return site.add("MatMul", [matrix, data])
    order = [axis for axis in range(rank) if axis != each.axis]
    order.insert(rank - 2, each.axis)
    turned = site.add("Transpose", [data], perm=order)
    product = site.add("MatMul", [matrix, turned])
    return site.add("Transpose", [product], perm=[order.index(axis) for axis in range(rank)])


def _extrapolated(site: Site, data: str, shape: Sequence[int], changed: Sequence[_Axis]) -> str:
    """The value outside the region of interest, where the node has one."""
    mask = np.zeros([1] * len(shape), bool)
    for each in changed:
        column = [1] * len(shape)
        column[each.axis] = -1
        mask = mask | each.outside.reshape(column)
    if not mask.any():
        return data
    value = constant_like(site, site.attribute("extrapolation_value", 0.0), data)
    return site.add("Where", [site.constant(mask), value, data])
