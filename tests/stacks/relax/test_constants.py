"""Constants that a library reads where they lie."""

from __future__ import annotations

from pathlib import Path

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import tvm
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd.stacks.relax import constants, executable, importer
    from tvmkd.stacks.relax.objects import Objects
    from tvmkd.stacks.relax.tasks import kernels

    TARGET = tvm.target.Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu"})


def fused(width: int) -> tvm.IRModule:
    """Two matrix products with weights of ``64 * width`` floats and a bias of 4 bytes each."""

    def make(x: relax.Expr) -> relax.Expr:
        emit = relax.BlockBuilder.current().emit
        wide = emit(relax.op.add(relax.op.matmul(x, const(64, width)), const(width)))
        return relax.op.matmul(wide, const(width, 64))

    return importer.fuse(module([(1, 64)], make), TARGET)


@inside("relax")
def test_large_constants_become_calls_and_small_ones_stay() -> None:
    width = constants.LEAST // 4 // 64
    for columns, count in ((width - 8, 0), (width, 2)):
        mod = fused(columns)
        lifted, arrays = constants.lift(mod)
        assert len(arrays) == count
        assert (lifted is mod) == (count == 0)
        assert lifted.script().count(constants.GETTER) == count
    assert sorted(a.size for a in arrays) == [64 * width, 64 * width]


@inside("relax")
def test_only_machines_whose_objects_can_be_written() -> None:
    for triple, fits in (("aarch64-linux-gnu", True), ("riscv64-linux-gnu", False)):
        target = tvm.target.Target({"kind": "llvm", "mtriple": triple})
        assert constants.can_link(target) == fits
    assert not constants.can_link(tvm.target.Target("cuda"))


@inside("relax")
def test_a_library_computes_with_them_and_holds_them_once(tmp_path: Path) -> None:
    mod = fused(512)
    lifted, arrays = constants.lift(mod)
    makers = {name.name_hint: (lambda a=alone: a["main"]) for name, alone, _ in kernels(mod)}
    with Objects(makers, TARGET, tmp_path) as started:
        rest = executable.build(lifted, TARGET, without=makers)
        written = constants.write(arrays, TARGET, tmp_path)
        done = started.result()

    def link(output: str, objects: list[str], aliases: dict[str, str]) -> None:
        import subprocess

        more = [f"--defsym={new}={old}" for new, old in aliases.items()]
        subprocess.run(["ld", "-shared", "-o", output, *objects, *more], check=True)

    path = str(tmp_path / "model.so")
    rest.export_library(
        path, fcompile=link, addons=[*map(str, (*done.objects, *written))], aliases=done.aliases
    )
    library = tvm.runtime.load_module(path)
    x = np.linspace(-1, 1, 64, dtype=np.float32)[None]
    result = relax.VirtualMachine(library, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    first = const(64, 512).value.numpy(), const(512).value.numpy()
    wanted = (x @ first[0] + first[1]) @ const(512, 64).value.numpy()
    np.testing.assert_allclose(result, wanted, rtol=1e-4)
    assert Path(path).read_bytes().count(arrays[0].tobytes()) == 1
