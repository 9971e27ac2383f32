"""Tables of 256 bytes: a function of one quantised number as its result for each value.

A table is looked up with shuffles of registers where the CPU has them: four for 16 bytes on
AArch64, two for 64 with AVX-512 VBMI, and 16 with 15 selections for 32 with AVX2. Elsewhere each
byte is a load. The operator says which; it is replaced after the loops were vectorised, as in
`vector_math`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tvm import ir, relax, te, tirx
from tvm.target import Target, codegen
from tvm.tirx import register_intrin_lowering

from tvmkd.stacks.relax.expressions import constant
from tvmkd.stacks.relax.vector_math import new_operator

SIZE = 256
PREFIX = "tvmkd.lookup_"
"""Of the operators' names: records name them."""
ELEMENTWISE, OPAQUE = 0, 8
"""Relax's ``OpPatternKind``: fused into the kernel before it; a kernel of its own."""

_CHUNK = {"vbmi": 64, "neon": 16}


def instruction(target: Target | None) -> str:
    """How a target looks up: ``vbmi``, ``shuffle``, ``neon``, or "": one load after the other."""
    if target is None or target.kind.name != "llvm":
        return ""

    def has(name: str) -> bool:
        return bool(codegen.target_has_features(name, target))

    if has("avx512vbmi"):
        return "vbmi"
    if has("avx2"):
        return "shuffle"
    return "neon" if has("neon") else ""


def pattern(target: Target | None) -> int:
    """Whether a lookup is fused: a kernel before it has but 8 or 16 sums at a time, for which 16
    shuffles of whole registers take longer than reading its bytes again.
    """
    return ELEMENTWISE if instruction(target) in _CHUNK else OPAQUE


def lookup(x: te.Tensor, table: te.Tensor, how: str) -> te.Tensor:
    """``table[x]``: bytes by uint8, or by int8 as the uint8 of the same bits."""

    def value(*at: Any) -> Any:
        index = x[at] if "uint8" in str(x.dtype) else tirx.reinterpret("uint8", x[at])
        if not how:
            return table[index.astype("int32")]
        # The first and the last entry stand for the table.
        kind = str(table.dtype).removeprefix("T.")
        return tirx.call_intrin(kind, PREFIX + how, index, table[0], table[SIZE - 1])

    return te.compute(x.shape, value, name="lookup")


def legalize(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    """A kernel for ``relax.take`` of a table; None for any other."""
    table, dtype = constant(call.args[0]), str(call.args[1].ty.dtype).removeprefix("T.")
    if table is None or table.shape != (SIZE,) or table.dtype.itemsize != 1:
        return None
    if dtype not in ("uint8", "int8"):
        return None
    target = Target.current(allow_none=True)
    return builder.call_te(
        lambda x, values: lookup(x, values, instruction(target)), call.args[1], call.args[0],
        primfunc_name_hint="lookup", primfunc_attrs={"op_pattern": pattern(target)},
    )  # fmt: skip


def _call(name: str, dtype: str, *args: Any) -> Any:
    return tirx.call_llvm_pure_intrin(dtype, name, *args)


def _vbmi(index: Any, rows: Callable[[int, int], Any], lanes: int) -> Any:
    """64 bytes: each instruction looks up in 128."""
    halves = [
        _call(
            "llvm.x86.avx512.vpermi2var.qi.512", "int8x64", rows(at, 64), index, rows(at + 64, 64)
        )
        for at in (0, 128)
    ]
    return tirx.Select(index < tirx.const(0, "int8x64"), halves[1], halves[0])


def _shuffled(vector: Any, lanes: int, places: Sequence[int]) -> Any:
    """Elements of a vector. TVM wants no more of them than it was given."""
    if list(places) == list(range(lanes)):
        return vector
    return tirx.Shuffle([vector] * -(-len(places) // lanes), list(places))


_SHUFFLES = {
    16: "llvm.x86.ssse3.pshuf.b.128",
    32: "llvm.x86.avx2.pshuf.b",
}


def _shuffle(index: Any, rows: Callable[[int, int], Any], lanes: int) -> Any:
    """The low half of an index in each row of 16 bytes; its high bits select among rows."""
    kind = f"int8x{lanes}"
    low = index & tirx.const(15, kind)
    found = []
    for row in range(16):
        values = _shuffled(rows(16 * row, 16), 16, [lane % 16 for lane in range(lanes)])
        found.append(_call(_SHUFFLES[lanes], kind, values, low))
    for bit in (16, 32, 64, -128):
        chosen = tirx.NE(index & tirx.const(bit, kind), tirx.const(0, kind))
        pairs = zip(found[::2], found[1::2], strict=True)
        found = [tirx.Select(chosen, upper, lower) for lower, upper in pairs]
    return found[0]


def _neon(index: Any, rows: Callable[[int, int], Any], lanes: int) -> Any:
    """16 bytes: each instruction looks up in 64, and leaves the others as they are."""
    result = None
    for quarter in range(4):
        table = [rows(64 * quarter + 16 * part, 16) for part in range(4)]
        at = index - tirx.const((64 * quarter + 128) % 256 - 128, "int8x16")
        if result is None:
            result = _call("llvm.aarch64.neon.tbl4.v16i8", "int8x16", *table, at)
        else:
            result = _call("llvm.aarch64.neon.tbx4.v16i8", "int8x16", result, *table, at)
    return result


_BODIES: dict[str, Callable[..., Any]] = {"vbmi": _vbmi, "shuffle": _shuffle, "neon": _neon}


def _pieces(lanes: int, how: str) -> list[tuple[int, int, int]]:
    """How a vector is cut: where each part begins, its lanes, and those of the instruction."""
    sizes = [_CHUNK[how]] if how in _CHUNK else sorted(_SHUFFLES, reverse=True)
    found, begin = [], 0
    while begin < lanes:
        size = next((size for size in sizes if size <= lanes - begin), sizes[-1])
        found.append((begin, min(size, lanes - begin), size))
        begin += size
    return found


def _lower(how: str, call: ir.Call) -> Any:
    index, first, _ = call.args
    while isinstance(first, tirx.Broadcast):
        first = first.value
    kind, _, lanes = str(call.ty).removeprefix("T.").partition("x")
    if not lanes:
        return first.source.vload([index.astype("int32")], kind)

    def rows(at: int, count: int) -> Any:
        return tirx.reinterpret(f"int8x{count}", first.source.vload([at], f"{kind}x{count}"))

    every = int(lanes)
    whole = tirx.Var("index", f"int8x{every}")
    parts: list[Any] = []
    places: list[int] = []
    behind = 0
    for begin, count, size in _pieces(every, how):
        part = tirx.Var("part", f"int8x{size}")
        taken = _shuffled(whole, every, [begin + lane % count for lane in range(size)])
        parts.append(tirx.Let(part, taken, _BODIES[how](part, rows, size)))
        places += range(behind, behind + count)
        behind += size
    result = parts[0] if behind == every and len(parts) == 1 else tirx.Shuffle(parts, places)
    result = tirx.Let(whole, tirx.reinterpret(f"int8x{every}", index), result)
    return tirx.reinterpret(f"{kind}x{every}", result)


for _how in _BODIES:
    new_operator(PREFIX + _how, "A table of 256 bytes and an index.")


@functools.cache
def install() -> None:
    """Registers the rules for the LLVM target of this process, once."""
    for how in _BODIES:
        register_intrin_lowering(
            PREFIX + how, target="llvm", f=functools.partial(_lower, how), level=99
        )
