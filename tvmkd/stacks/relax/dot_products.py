"""Instructions that sum products of bytes, as tensor intrinsics of schedules.

An instruction adds ``steps * group`` products to each of ``lanes`` int32 sums: the same values of
the data for every lane, weights of its own for each. Which one a kernel uses follows from the
features of the target and from the weights themselves: all of them sum exactly.
"""

# mypy: disable-error-code="untyped-decorator,valid-type"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T  # noqa: N812 - as in TVM
from tvm.target import Target, codegen

from tvmkd.stacks.relax.interleave import product

SUM = "dot_sum"
"""The name of the block that sums; schedule templates recognise these kernels by it."""
PREFIX = "tvmkd.dot."
"""Of the names of tensor intrinsics: records name them."""


@dataclass(frozen=True)
class Dot:
    """An instruction, or a short sequence of them.

    Attributes:
        name: of the tensor intrinsic without `PREFIX`; empty: plain loops that LLVM vectorises.
        lanes: int32 sums.
        steps, group: products for each sum, in two factors: see `tvmkd.stacks.relax.quantized_conv`
            for the order of the weights in memory.
        data, weight: dtypes.
        registers: sums of a tile that fit into the registers of the target.
        products: cycles of one instruction where nothing waits.
    """

    name: str
    lanes: int
    steps: int
    group: int
    data: str
    weight: str
    registers: int
    products: float

    @property
    def depth(self) -> int:
        """Products for each sum."""
        return self.steps * self.group


PLAIN = Dot("", 8, 1, 1, "int16", "int16", 12, 1.0)
AVX2_PAIRS = Dot("avx2_pairs", 8, 1, 2, "int16", "int16", 12, 0.5)
AVX2_BYTES = Dot("avx2_bytes", 8, 1, 4, "uint8", "int8", 12, 1.0)
AVX512_PAIRS = Dot("avx512_pairs", 16, 1, 2, "int16", "int16", 26, 1.0)
AVX512_BYTES = Dot("avx512_bytes", 16, 1, 4, "uint8", "int8", 26, 1.5)
VNNI_256 = Dot("vnni_256", 8, 1, 4, "uint8", "int8", 13, 0.5)
VNNI_512 = Dot("vnni_512", 16, 1, 4, "uint8", "int8", 27, 0.5)
NEON_SMULL = Dot("neon_smull", 8, 2, 2, "int8", "int8", 10, 6.0)
NEON_SDOT = Dot("neon_sdot", 8, 1, 4, "int8", "int8", 12, 1.0)
ALL = {
    dot.name: dot
    for dot in (
        *(PLAIN, AVX2_PAIRS, AVX2_BYTES, AVX512_PAIRS, AVX512_BYTES),
        *(VNNI_256, VNNI_512, NEON_SMULL, NEON_SDOT),
    )
}

EACH = (AVX2_PAIRS, AVX2_BYTES, AVX512_PAIRS, AVX512_BYTES, VNNI_256, VNNI_512)
"""Those that can have data of its own for each lane: see `intrinsic_each`."""


def available(target: Target) -> list[Dot]:
    """The instructions of a target, the fastest first; the last one holds any weights."""
    if target.kind.name != "llvm":
        return [PLAIN]

    def has(*features: str) -> bool:
        return all(bool(codegen.target_has_features(name, target)) for name in features)

    if has("avx512bw", "avx512vnni"):
        return [VNNI_512, VNNI_256, AVX512_PAIRS, AVX2_PAIRS]
    if has("avxvnni"):
        return [VNNI_256, AVX2_PAIRS]
    if has("avx512bw"):
        return [AVX512_BYTES, AVX2_BYTES, AVX512_PAIRS, AVX2_PAIRS]
    if has("avx2"):
        return [AVX2_BYTES, AVX2_PAIRS]
    if has("neon", "dotprod"):
        return [NEON_SDOT, PLAIN]
    return [NEON_SMULL, PLAIN] if has("neon") else [PLAIN]


def select(target: Target, weight: np.ndarray, channels: int) -> Dot:
    """The fastest instruction that sums exactly; with fewer lanes where none would be idle then.

    Args:
        weight: integers less their zero points, ``[rows, K]`` in the order in which they are
            summed; each row is filled with zeros to a multiple of an instruction's depth.
        channels: of the output, or of one group of it.
    """
    found = [dot for dot in available(target) if exact(dot, weight)]
    whole = [dot for dot in found if dot.data == found[0].data and channels % dot.lanes == 0]
    return (whole or found)[0]


def exact(dot: Dot, weight: np.ndarray) -> bool:
    """Whether an instruction sums products with these weights exactly, whatever the data.

    Args:
        weight: as for `select`.
    """
    if dot.weight == "int16" or not weight.size:
        return True
    if weight.min() < -128 or weight.max() > 127:
        return False
    padded = np.pad(weight.astype(np.int32), ((0, 0), (0, -weight.shape[1] % dot.depth)))
    if dot in (AVX2_BYTES, AVX512_BYTES):
        # Two products are summed in 16 bits: 255 times 128 fits.
        pairs = padded.reshape(len(padded), -1, 2)
        return bool(max(np.maximum(sign * pairs, 0).sum(2).max() for sign in (1, -1)) <= 128)
    if dot is NEON_SMULL:
        # So are the products of the steps: 128 times 255 fits.
        sums = np.abs(padded.reshape(len(padded), -1, dot.steps, dot.group)).sum(2)
        return bool(sums.max() <= 255)
    return True


def intrinsic(dot: Dot) -> str:
    """The name of an instruction's tensor intrinsic, which is registered if it is not yet."""
    name = PREFIX + dot.name
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *_functions(dot, _BODIES[dot.name]))
    return name


def intrinsic_each(dot: Dot) -> str:
    """As `intrinsic`, where each lane has a word of data of its own: x86 only."""
    name = f"{PREFIX}each_{dot.name}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, *_functions_each(dot, _BODIES[dot.name]))
    return name


def register_all() -> None:
    """Registers every instruction: a record may name any."""
    for name in _BODIES:
        intrinsic(ALL[name])
    for dot in EACH:
        intrinsic_each(dot)


def _functions(dot: Dot, sums: Callable[..., Any]) -> tuple[Any, Any]:
    """What an instruction computes, and how."""
    lanes, steps, group, depth = dot.lanes, dot.steps, dot.group, dot.depth
    kinds = f"{dot.data}x{depth}", f"{dot.weight}x{depth * lanes}", f"int32x{lanes}"

    @T.prim_func(s_tir=True)
    def meaning(
        data: T.Buffer((depth,), dot.data, offset_factor=1),
        weight: T.Buffer((lanes, group), dot.weight, offset_factor=1),
        total: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:lanes], data[0:depth], weight[0:lanes, 0:group])
            T.writes(total[0:lanes])
            for i, k in T.grid(lanes, group):
                with T.sblock("update"):
                    at, q = T.axis.remap("SR", [i, k])
                    total[at] = total[at] + T.Cast("int32", data[q]) * T.Cast(
                        "int32", weight[at, q]
                    )

    @T.prim_func(s_tir=True)
    def code(
        data: T.Buffer((depth,), dot.data, offset_factor=1),
        weight: T.Buffer((lanes, group), dot.weight, offset_factor=1),
        total: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:lanes], data[0:depth], weight[0:lanes, 0:group])
            T.writes(total[0:lanes])
            total[T.ramp(T.int32(0), 1, lanes)] = sums(
                data.vload([0], kinds[0]),
                weight.vload([0, 0], kinds[1]),
                total.vload([0], kinds[2]),
            )

    @T.prim_func(s_tir=True)
    def meaning_in_steps(
        data: T.Buffer((depth,), dot.data, offset_factor=1),
        weight: T.Buffer((steps, lanes, group), dot.weight, offset_factor=1),
        total: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:lanes], data[0:depth], weight[0:steps, 0:lanes, 0:group])
            T.writes(total[0:lanes])
            for j, i, k in T.grid(steps, lanes, group):
                with T.sblock("update"):
                    at, u, q = T.axis.remap("SRR", [i, j, k])
                    total[at] = total[at] + T.Cast("int32", data[u * group + q]) * T.Cast(
                        "int32", weight[u, at, q]
                    )

    @T.prim_func(s_tir=True)
    def code_in_steps(
        data: T.Buffer((depth,), dot.data, offset_factor=1),
        weight: T.Buffer((steps, lanes, group), dot.weight, offset_factor=1),
        total: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:lanes], data[0:depth], weight[0:steps, 0:lanes, 0:group])
            T.writes(total[0:lanes])
            total[T.ramp(T.int32(0), 1, lanes)] = sums(
                data.vload([0], kinds[0]),
                weight.vload([0, 0, 0], kinds[1]),
                total.vload([0], kinds[2]),
            )

    return (meaning, code) if steps == 1 else (meaning_in_steps, code_in_steps)


def _functions_each(dot: Dot, sums: Callable[..., Any]) -> tuple[Any, Any]:
    """What an instruction computes with a word of data for each lane, and how."""
    lanes, group = dot.lanes, dot.group
    kinds = f"{dot.data}x{group * lanes}", f"{dot.weight}x{group * lanes}", f"int32x{lanes}"

    @T.prim_func(s_tir=True)
    def meaning(
        data: T.Buffer((lanes,), "int32", offset_factor=1),
        weight: T.Buffer((lanes, group), dot.weight, offset_factor=1),
        total: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:lanes], data[0:lanes], weight[0:lanes, 0:group])
            T.writes(total[0:lanes])
            for i in T.serial(lanes):
                with T.sblock("update"):
                    at = T.axis.spatial(lanes, i)
                    total[at] = total[at] + product(data[at], [weight[at, q] for q in range(group)])

    @T.prim_func(s_tir=True)
    def code(
        data: T.Buffer((lanes,), "int32", offset_factor=1),
        weight: T.Buffer((lanes, group), dot.weight, offset_factor=1),
        total: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:lanes], data[0:lanes], weight[0:lanes, 0:group])
            T.writes(total[0:lanes])
            total[T.ramp(T.int32(0), 1, lanes)] = sums(
                tirx.reinterpret(kinds[0], data.vload([0], kinds[2])),
                weight.vload([0, 0], kinds[1]),
                total.vload([0], kinds[2]),
            )

    return meaning, code


def _call(name: str, dtype: str, *args: Any) -> Any:
    return tirx.call_llvm_pure_intrin(dtype, name, *args)


def _repeated(data: Any, times: int, dtype: str) -> Any:
    """Four bytes, repeated; or so many of them, as they are."""
    kind, _, lanes = str(data.ty).removeprefix("T.").partition("x")
    if int(lanes) * np.dtype(kind).itemsize > 4:
        return tirx.reinterpret(dtype, data)
    return tirx.reinterpret(dtype, tirx.Broadcast(tirx.reinterpret("int32", data), times))


def _pairs(multiply: str, lanes: int) -> Callable[..., Any]:
    def sums(data: Any, weight: Any, total: Any) -> Any:
        spread = _repeated(data, lanes, f"int16x{2 * lanes}")
        return total + _call(multiply, f"int32x{lanes}", spread, weight)

    return sums


def _bytes(first: str, second: str, lanes: int) -> Callable[..., Any]:
    def sums(data: Any, weight: Any, total: Any) -> Any:
        spread = _repeated(data, lanes, f"uint8x{4 * lanes}")
        halves = _call(first, f"int16x{2 * lanes}", spread, weight)
        ones = tirx.Broadcast(tirx.const(1, "int16"), 2 * lanes)
        return total + _call(second, f"int32x{lanes}", halves, ones)

    return sums


def _vnni(name: str, lanes: int) -> Callable[..., Any]:
    # LLVM 22 changed the operands from int32 to bytes.
    kind = f"int8x{4 * lanes}" if codegen.llvm_version_major() >= 22 else f"int32x{lanes}"

    def sums(data: Any, weight: Any, total: Any) -> Any:
        operands = _repeated(data, lanes, kind), tirx.reinterpret(kind, weight)
        return _call(name, f"int32x{lanes}", total, *operands)

    return sums


def _smull(data: Any, weight: Any, total: Any) -> Any:
    """Each half of the lanes: two products for each of 8 sums of 16 bits, which are then paired."""
    halves = []
    for half in range(2):
        products = None
        for step in range(2):
            taps = tirx.Shuffle([weight], [step * 16 + half * 8 + at for at in range(8)])
            both = tirx.Shuffle([tirx.reinterpret("int16x2", data)], [step])
            pair = tirx.reinterpret("int8x8", tirx.Broadcast(both, 4))
            product = _call("llvm.aarch64.neon.smull.v8i16", "int16x8", pair, taps)
            products = product if products is None else products + product
        halves.append(_call("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", products))
    return total + tirx.Shuffle(halves, list(range(8)))


def _sdot(data: Any, weight: Any, total: Any) -> Any:
    spread = _repeated(data, 4, "int8x16")
    halves = [
        _call(
            "llvm.aarch64.neon.sdot.v4i32.v16i8",
            "int32x4",
            tirx.Shuffle([total], [4 * half + at for at in range(4)]),
            spread,
            tirx.Shuffle([weight], [16 * half + at for at in range(16)]),
        )
        for half in range(2)
    ]
    return tirx.Shuffle(halves, list(range(8)))


_BODIES: dict[str, Callable[..., Any]] = {
    "avx2_pairs": _pairs("llvm.x86.avx2.pmadd.wd", 8),
    "avx2_bytes": _bytes("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd", 8),
    "avx512_pairs": _pairs("llvm.x86.avx512.pmaddw.d.512", 16),
    "avx512_bytes": _bytes("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512", 16),
    "vnni_256": _vnni("llvm.x86.avx512.vpdpbusd.256", 8),
    "vnni_512": _vnni("llvm.x86.avx512.vpdpbusd.512", 16),
    "neon_smull": _smull,
    "neon_sdot": _sdot,
}
