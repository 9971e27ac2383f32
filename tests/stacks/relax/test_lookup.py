"""Tables of 256 bytes: right for each byte, in vectors of any length, with each CPU's shuffles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

from tvmkd.base import machine

if INSIDE:
    import tvm
    from relax_graphs import compiled
    from tvm import relax, s_tir, te

    from tvmkd.stacks.relax import lookup

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "opt-level": 0}
TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "baseline": ({**X86, "mcpu": "x86-64"}, ""),
    "haswell": ({**X86, "mcpu": "x86-64-v3"}, "shuffle"),
    "skylake": ({**X86, "mcpu": "x86-64-v4"}, "shuffle"),
    "icelake": ({**X86, "mcpu": "x86-64-v4", "mattr": ["+avx512vbmi"]}, "vbmi"),
    "a57": ({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]}, "neon"),
}
NEEDS = {"haswell": "avx2", "skylake": "avx512bw", "icelake": "avx512vbmi"}
CODE = {"haswell": "vpshufb", "icelake": "vpermt2b", "a57": "tbx"}


def _kernel(rows: int, lanes: int, dtype: str, how: str) -> Any:
    x = te.placeholder((rows, lanes), dtype, name="x")
    table = te.placeholder((lookup.SIZE,), "int8", name="table")
    function = te.create_prim_func([x, table, lookup.lookup(x, table, how)])
    schedule = s_tir.Schedule(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
    schedule.vectorize(schedule.get_loops(schedule.get_sblock("lookup"))[-1])
    return schedule.mod


@inside("relax")
def test_the_instruction_of_a_target_is_that_of_its_features() -> None:
    for values, wanted in TARGETS.values():
        target = tvm.target.Target(values)
        assert lookup.instruction(target) == wanted
        assert lookup.pattern(target) == (0 if wanted in ("vbmi", "neon") else 8)
    assert lookup.instruction(None) == ""


@pytest.mark.parametrize("lanes", [1, 5, 8, 16, 24, 56, 64])
@pytest.mark.parametrize("cpu", ["baseline", "haswell", "skylake", "icelake"])
@inside("relax")
def test_each_byte_is_looked_up(cpu: str, lanes: int) -> None:
    if NEEDS.get(cpu, "avx2") not in machine.cpu_features():
        pytest.skip(f"needs {NEEDS[cpu]}")
    lookup.install()
    target, how = TARGETS[cpu]
    rng = np.random.default_rng(0)
    table = rng.permutation(256).astype(np.uint8).view(np.int8)
    for dtype in ("uint8", "int8"):
        x = np.resize(rng.permutation(256), (-(-256 // lanes), lanes)).astype(np.uint8)
        result = tvm.runtime.tensor(np.zeros(x.shape, np.int8))
        library = compiled(_kernel(*x.shape, dtype, how), target)
        library["main"](*map(tvm.runtime.tensor, (x.view(dtype), table)), result)
        np.testing.assert_array_equal(result.numpy(), table[x])


@pytest.mark.parametrize("cpu", CODE)
@inside("relax")
def test_the_code_has_the_shuffles(cpu: str) -> None:
    lookup.install()
    target, how = TARGETS[cpu]
    library = tvm.tirx.build(_kernel(1, 64, "uint8", how), target=tvm.target.Target(target))
    code = library.inspect_source("asm")
    assert code.count(CODE[cpu]) >= 2


@inside("relax")
def test_other_takes_are_not_its_own() -> None:
    index = relax.Var("i", relax.TensorType((4,), "uint8"))
    wide = relax.Var("j", relax.TensorType((4,), "int32"))
    bytes_, floats = (relax.const(np.zeros(256, kind)) for kind in (np.int8, np.float32))
    builder = relax.BlockBuilder()
    with builder.function("main", [index, wide]):
        made = [
            lookup.legalize(builder, builder.normalize(relax.op.take(table, at, axis=0)))
            for table, at in ((bytes_, index), (bytes_, wide), (floats, index))
        ]
        builder.emit_func_output(relax.const(0))
    assert [each is None for each in made] == [False, True, True]
