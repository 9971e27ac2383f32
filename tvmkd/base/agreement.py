"""Decides whether a compiled model's outputs agree with the reference's.

How large an error is allowed comes from the network: from how far apart runs of it lie that differ
only in rounding (the *noise*). Where an output carries a signal, no error above a share of its
spread (largest minus smallest value) is allowed, whatever offset the output has, and each channel
counts by itself: class scores beside boxes in pixels are held to the spread of the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

Arrays = Mapping[str, np.ndarray]

NOISE_FACTOR = 16.0
"""An error of so many times the noise is allowed up to the bound of the precision."""
SILENT_FACTOR = 6.0
"""An error of so many times the noise is allowed always: the signal is not much above it."""
TIPPED_FACTOR = 2.0
"""Behind a quantiser an error of so many times the largest noise is allowed up to the bound."""
MOST_TIPPED = 0.15
"""The largest share of the spread that is allowed behind a quantiser, whatever the noise: three
times the bound of QDQ models."""
TIGHTEST = 0.1
"""A share of the bound that is allowed always, since compilers approximate functions."""
LEAST = 8
"""Numbers that a channel needs so that its spread says how large its signal is."""


@dataclass(frozen=True)
class Output:
    """What one output of a model should be.

    Attributes:
        name: of the output.
        runs: for each sample the output of the reference, then those of other runs of the same
            network that differ only in rounding.
        bound: the largest error of a float output, as a share of its spread.
        steps: for an integer output: how far a quantiser may round to the other side.
        channels: judge each channel by its own spread; a quantised tensor has one scale for all.
        tighten: allow less than the bound where there is little noise. Not for engines that compute
            less exactly than ONNX Runtime, such as TensorRT with TF32.
        source: for an output of indices (ArgMax, TopK): the tensor that they point into, with the
            runs of the same samples; another index counts if the value there is as good.
        axis: of ``source`` that the indices point along.
        more: there can be more runs. Until they are there, they count as equal to the first: since
            a run can only allow more, what agrees then agrees with them too.
    """

    name: str
    runs: Sequence[Sequence[np.ndarray]]
    bound: float
    steps: int = 0
    channels: bool = True
    tighten: bool = True
    source: Output | None = None
    axis: int = 0
    more: bool = False


@dataclass(frozen=True)
class Result:
    """How far one output is from the reference, at the value that is worst by what is allowed.

    Attributes:
        name: of the output.
        agrees: within what is allowed.
        error: the difference as a share of the output's spread; infinite where dtype, shape or the
            places of NaN and infinity differ.
        allowed: what is allowed there, as the same share.
        reason: why it does not agree, for people; else empty.
        sample: number of the sample.
    """

    name: str
    agrees: bool
    error: float = 0.0
    allowed: float = 0.0
    reason: str = ""
    sample: int = 0


@dataclass(frozen=True)
class Verdict:
    """How a library's outputs compare with the reference.

    Attributes:
        agrees: all outputs do.
        error: the largest error of `outputs`; infinite if the library crashed.
        reason: why it does not agree, for people; else empty.
        outputs: the result of each output.
    """

    agrees: bool
    error: float
    reason: str = ""
    outputs: tuple[Result, ...] = field(default=())


def compare(wanted: Sequence[Output], found: Arrays) -> Verdict:
    """Compares a library's outputs with the reference's.

    Args:
        wanted: each output of the reference.
        found: output ``j`` of sample ``i`` as ``"i.j"``.
    """
    results = tuple(
        judge(output, [found.get(f"{i}.{j}") for i in range(len(output.runs))])
        for j, output in enumerate(wanted)
    )
    wrong = [result for result in results if not result.agrees]
    return Verdict(
        not wrong,
        max((result.error for result in results), default=0.0),
        wrong[0].reason if wrong else "",
        results,
    )


def judge(output: Output, got: Sequence[np.ndarray | None]) -> Result:
    """Compares one output, sample by sample; the worst sample is the result.

    Where rounding decides about a shape, as of a list of detections, any that a run has is right,
    and only the runs that have it count.
    """
    pairs = zip(got, output.runs, strict=True)
    output = replace(output, runs=[_alike(array, runs) for array, runs in pairs])
    for number, (array, (wanted, *_)) in enumerate(zip(got, output.runs, strict=True)):
        problem = _form(array, wanted)
        if problem:
            reason = f'output "{output.name}" {problem}'
            return Result(output.name, False, float("inf"), 0.0, reason, number)
    present = [array for array in got if array is not None]
    if not any(array.size for array in present):
        return Result(output.name, True)
    floats = output.runs[0][0].dtype.kind == "f" and output.source is None
    of_kind = _floats if floats else _integers
    if len({array.shape for array in present}) == 1:
        return max(of_kind(output, present), key=lambda each: each[0])[1]
    found = []
    for number, array in enumerate(present):
        if array.size:
            (worst,) = of_kind(_alone(output, number), [array])
            found.append((worst[0], replace(worst[1], sample=number)))
    return max(found, key=lambda each: each[0])[1]


def _alike(got: np.ndarray | None, runs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The runs with the shape of ``got``; those with the shape of the first if there is none."""
    shapes = [run.shape for run in runs]
    shape = got.shape if got is not None and got.shape in shapes else shapes[0]
    return [run for run in runs if run.shape == shape]


def _alone(output: Output, number: int) -> Output:
    """The output of one sample."""
    source = output.source and replace(output.source, runs=[output.source.runs[number]])
    return replace(output, runs=[output.runs[number]], source=source)


def _form(got: np.ndarray | None, wanted: np.ndarray) -> str:
    if got is None:
        return "is missing"
    if got.shape != wanted.shape:
        return f"has shape {list(got.shape)}, ONNX Runtime gives {list(wanted.shape)}"
    if got.dtype != wanted.dtype:
        return f"is {got.dtype}, ONNX Runtime gives {wanted.dtype}"
    return ""


def _floats(output: Output, got: Sequence[np.ndarray]) -> Iterator[tuple[float, Result]]:
    allowed = allowances(output)
    for number, (array, runs) in enumerate(zip(got, output.runs, strict=True)):
        wide = [run.astype(np.float64) for run in runs]
        wanted, found = wide[0], array.astype(np.float64)
        # Where the runs themselves disagree about infinity, any of them is right.
        certain = np.all([_kind(run) == _kind(wanted) for run in wide], axis=0)
        same_kind = (_kind(found) == _kind(wanted)) | _overflows(array, runs[0])
        finite = np.isfinite(found) & np.isfinite(wanted)
        with np.errstate(invalid="ignore"):
            error = np.where(finite, np.abs(found - wanted), 0.0)
        error = np.where(certain & ~same_kind, np.inf, error)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(error > 0, error / allowed[number], 0.0)
        worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        scale = _scale(wanted)
        share, most = float(error[worst]) / scale, float(allowed[number][worst]) / scale
        agrees = bool(ratio[worst] <= 1.0)
        reason = "" if agrees else _reason(output.name, share, most, array, runs[0], worst)
        yield float(ratio[worst]), Result(output.name, agrees, share, most, reason, number)


def _integers(output: Output, got: Sequence[np.ndarray]) -> Iterator[tuple[float, Result]]:
    """An integer is right if a run has it, or lies between runs, ``steps`` more to both sides."""
    slack = allowances(output.source) if output.source is not None else None
    for number, (array, runs) in enumerate(zip(got, output.runs, strict=True)):
        # So that a step below 0 of a uint8 is no 255.
        kept = runs[0].dtype.kind == "f" or runs[0].dtype.itemsize > 4
        wide = [run if kept else run.astype(np.int64) for run in runs]
        found = array.astype(wide[0].dtype)
        low, high = np.minimum.reduce(wide), np.maximum.reduce(wide)
        right = np.asarray((found >= low - output.steps) & (found <= high + output.steps))
        right |= _no_integer(runs[0])
        if output.source is not None and slack is not None and not right.all():
            whole = array.dtype.kind != "f" or array == np.rint(array)
            right |= _tied(output, output.source, number, array, slack[number]) & whole
        wrong = int(right.size - right.sum())
        if not wrong:
            yield 0.0, Result(output.name, True, sample=number)
            continue
        worst = np.unravel_index(int(np.argmin(right)), right.shape)
        share = wrong / right.size
        reason = f"differs in {wrong} of {right.size} integers"
        reason = f'output "{output.name}" {reason}: {_values(array, runs[0], worst)}'
        yield 1.0 + share, Result(output.name, False, share, 0.0, reason, number)


def _no_integer(wanted: np.ndarray) -> np.ndarray:
    """Where a float became an integer that cannot hold it: what it becomes, ONNX leaves open.

    x86 CPUs give the smallest number.
    """
    if wanted.dtype not in (np.int32, np.int64):
        return np.zeros(wanted.shape, bool)
    return np.asarray(wanted == np.iinfo(wanted.dtype).min)


def _tied(
    output: Output, source: Output, number: int, got: np.ndarray, slack: np.ndarray
) -> np.ndarray:
    """Where another index points at a value that is as good, up to what is allowed there."""
    data, axis = source.runs[number][0], output.axis % source.runs[number][0].ndim
    wanted = output.runs[number][0]
    shape = [size for at, size in enumerate(data.shape) if at != axis]
    per_lane = wanted.size // max(1, int(np.prod(shape)))
    lanes = [*shape[:axis], per_lane, *shape[axis:]]
    there, here = got.reshape(lanes).astype(np.int64), wanted.reshape(lanes).astype(np.int64)
    inside = (there >= 0) & (there < data.shape[axis])
    there = np.where(inside, there, here)
    values = data.astype(np.float64)
    gap = np.abs(np.take_along_axis(values, there, axis) - np.take_along_axis(values, here, axis))
    most = 2 * np.maximum(
        np.take_along_axis(slack, there, axis), np.take_along_axis(slack, here, axis)
    )
    if per_lane > 1:  # TopK: no index twice
        order = np.sort(there, axis)
        inside &= ~(np.diff(order, axis=axis) == 0).any(axis=axis, keepdims=True)
    return np.asarray(inside & (gap <= most)).reshape(got.shape)


def allowances(output: Output) -> list[np.ndarray]:
    """The largest difference allowed at each value of a float output, for each sample.

    With the spread ``s`` and the noise ``n`` of the values that count together (the whole output,
    or a channel of it), the bound ``b`` of the precision and the wanted value ``w``::

        max(min(b·s, 10·b·|w| + 0.1·b·s, max(16·n, 0.1·b·s)), 6·n)

    The least over the whole output and the channels along its second and last axes. Behind a
    quantiser, ``2·(largest noise)`` takes the place of the second term where it is larger, and the
    largest noise is allowed up to ``0.15·s``: the few values where a rounding tips over are as far
    off near zero as elsewhere. There nothing beyond ``0.15·s`` is allowed. Rounding the output
    itself is always allowed, and so is rounding at 1 where the output is not smaller than that:
    ONNX Runtime's sigmoid is 0 below -18, and exact ones are not.
    """
    wanted = [runs[0].astype(np.float64) for runs in output.runs]
    others = any(len(runs) > 1 for runs in output.runs)
    noise = [_noise(runs) if others else np.zeros(()) for runs in output.runs]
    measured = others or output.more
    info = np.finfo(output.runs[0][0].dtype)
    least = min(4 * float(info.eps), output.bound * max(map(_largest, wanted)))
    least += 2 * float(info.tiny)
    floors = [2 * float(info.eps) * np.abs(w) + least for w in wanted]
    result = [np.full(w.shape, np.inf) for w in wanted]
    for group in _groups(wanted[0].shape, len(wanted), output.channels):
        spreads = group(wanted, _spread)
        levels = group(noise, _level) if others else noise
        for number, (w, s, n) in enumerate(zip(wanted, spreads, levels, strict=True)):
            size = np.abs(np.nan_to_num(w, posinf=0.0, neginf=0.0))
            s = np.where(s > 0, s, size if w.size == 1 else 0.0)
            tips = 0.0 if output.channels else _largest(noise[number])
            near = np.maximum(output.bound * (10 * size + 0.1 * s), TIPPED_FACTOR * tips)
            most = np.maximum(np.minimum(output.bound * s, near), tips)
            if measured and output.channels and output.tighten:
                most = np.minimum(most, np.maximum(NOISE_FACTOR * n, TIGHTEST * output.bound * s))
            most = np.maximum(most, SILENT_FACTOR * np.maximum(n, noise[number]))
            if not output.channels:
                most = np.minimum(most, MOST_TIPPED * s)
            result[number] = np.minimum(result[number], most)
    return [
        np.maximum(most, np.where(np.isfinite(floor), floor, 0.0))
        for most, floor in zip(result, floors, strict=True)
    ]


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))


Group = Callable[[Sequence[np.ndarray], Callable[..., np.ndarray]], list[np.ndarray]]


def _groups(shape: tuple[int, ...], samples: int, channels: bool) -> Iterator[Group]:
    """Which values count together: each yields a reduction over them, broadcast to the values."""
    size = int(np.prod(shape))
    yield lambda arrays, of: _reduced(arrays, of, None, alone=size > 1)
    axes = {1, len(shape) - 1} if len(shape) > 1 and channels else set()
    for axis in sorted(axes):
        values = size // max(1, shape[axis])
        if shape[axis] > 1 and values * samples >= LEAST:
            alone = values >= LEAST
            yield lambda arrays, of, axis=axis, alone=alone: _reduced(  # type: ignore[misc]
                arrays, of, axis, alone=alone
            )


def _reduced(
    arrays: Sequence[np.ndarray],
    of: Callable[..., np.ndarray],
    axis: int | None,
    *,
    alone: bool,
) -> list[np.ndarray]:
    """``of`` over all axes but ``axis``; over all samples together if one has too few values."""
    others = tuple(at for at in range(arrays[0].ndim) if at != axis)
    same = all(array.shape == arrays[0].shape for array in arrays)
    if alone or not same:
        return [of(array, others) for array in arrays]
    pooled = of(np.stack(arrays), (0, *(at + 1 for at in others)))[0]
    return [pooled] * len(arrays)


def _spread(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    finite = np.isfinite(values)
    high = np.max(values, axis=axes, keepdims=True, initial=-np.inf, where=finite)
    low = np.min(values, axis=axes, keepdims=True, initial=np.inf, where=finite)
    return np.asarray(np.maximum(high - low, 0.0))


def _level(noise: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    # No maximum: few values that are far off, where a comparison tips over, say nothing of others.
    return np.asarray(np.quantile(noise, 0.9, axis=axes, keepdims=True))


def _noise(runs: Sequence[np.ndarray]) -> np.ndarray:
    """How far other runs lie from the first; 0 where one of them is not finite."""
    first = runs[0].astype(np.float64)
    noise = np.zeros(first.shape)
    for run in runs[1:]:
        with np.errstate(invalid="ignore"):
            apart = np.abs(run.astype(np.float64) - first)
        noise = np.maximum(noise, np.where(np.isfinite(apart), apart, 0.0))
    return noise


def _kind(values: np.ndarray) -> np.ndarray:
    """0 for a number, 1 for NaN, 2 and 3 for the two infinities."""
    kinds = np.isnan(values) + 2 * np.isposinf(values) + 3 * np.isneginf(values)
    return np.asarray(kinds)


def _overflows(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where one is infinite and the other near it: the order of a sum decides about that."""
    if got.dtype.itemsize < 4:
        return np.zeros(got.shape, bool)  # float16 ends so early that other numbers are near
    most = float(np.finfo(got.dtype).max) / 16
    with np.errstate(invalid="ignore"):
        near = (np.abs(got) > most) & (np.abs(wanted) > most)
    return np.asarray(near & (np.sign(got) == np.sign(wanted)))


def _scale(wanted: np.ndarray) -> float:
    """What an error is a share of: the spread; without one the largest magnitude, or 1."""
    finite = wanted[np.isfinite(wanted)]
    if not finite.size:
        return 1.0
    return float(np.ptp(finite)) or float(np.abs(finite).max()) or 1.0


def _reason(
    name: str,
    share: float,
    most: float,
    got: np.ndarray,
    wanted: np.ndarray,
    at: tuple[np.intp, ...],
) -> str:
    if not np.isfinite(share):
        return f'output "{name}" is {_values(got, wanted, at)}'
    return (
        f'output "{name}" differs by {share:.2g} of its spread ({most:.2g} is allowed): '
        f"{_values(got, wanted, at)}"
    )


def _values(got: np.ndarray, wanted: np.ndarray, at: tuple[np.intp, ...]) -> str:
    place = f" at {[int(index) for index in at]}" if at else ""
    if got.dtype.kind == "f":
        return f"{float(got[at]):.4g}{place}, ONNX Runtime has {float(wanted[at]):.4g}"
    return f"{got[at]}{place}, ONNX Runtime has {wanted[at]}"
