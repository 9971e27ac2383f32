"""The tuner backend of relax: the database that it writes, its spaces, its sources and objects."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd import targets
from tvmkd.tuning import records

if INSIDE:
    import tiny_kernels
    import tvm
    from tvm import s_tir, te

    from tvmkd.stacks.relax import metaschedule
    from tvmkd.tuning.space import candidate


def split(task: Any, tile: int) -> Any:
    """A candidate of a matrix product."""
    schedule = s_tir.Schedule(task.mod)
    schedule.split(schedule.get_loops(schedule.get_sblock("C"))[0], [None, tile])
    return candidate(schedule)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@inside("relax")
def test_each_workload_is_written_once_and_each_record_points_to_its_own(tmp_path: Path) -> None:
    small, large = tiny_kernels.task("matmul:16"), tiny_kernels.task("matmul:32")
    recorder = metaschedule.recorder(tmp_path)
    for task, tile in ((small, 2), (large, 4), (small, 8)):
        recorder.add(task, split(task, tile), 1e-3 * tile)
    # A later session uses the workload numbers that the files already have.
    metaschedule.recorder(tmp_path).add(large, split(large, 2), 9e-3)
    workloads, found = lines(tmp_path / records.WORKLOADS), lines(tmp_path / records.RECORDS)
    assert [f"0x{int(line[0]):016x}" for line in workloads] == [small.key, large.key]
    assert [number for number, _ in found] == [0, 1, 0, 1]
    assert [record[1] for _, record in found] == [[2e-3], [4e-3], [8e-3], [9e-3]]
    stored = records.load(tmp_path)
    assert [each.task for each in stored] == [small.key, large.key, small.key, large.key]
    assert stored[0].key == split(small, 2).key
    assert stored[0].record[3] == [["TENSOR", "float32", [16, 16]]] * 3
    assert len(records.database(stored).get_all_tuning_records()) == 4


@inside("relax")
def test_a_task_whose_key_is_not_its_module_s_is_not_recorded(tmp_path: Path) -> None:
    task = tiny_kernels.task("matmul:16")
    task.key = "0x0000000000000001"
    with pytest.raises(ValueError, match="its key 0x0000000000000001 is not its module's hash"):
        metaschedule.recorder(tmp_path).add(task, split(task, 2), 1.0)
    assert list(tmp_path.iterdir()) == []


@inside("relax")
def test_a_task_has_its_template_or_an_evolution_that_shares_its_model() -> None:
    from tvmkd.stacks.relax import evolution

    made: list[Any] = []
    tiled: Any = SimpleNamespace(key="a", template="a template")
    free, other = (SimpleNamespace(key=key, template=None) for key in "bc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evolution, "cost_model", lambda seed: made.append(seed) or f"model {seed}")
        patch.setattr(evolution, "EvolutionSpace", lambda *given: given)
        found = metaschedule.spaces([tiled, free, tiled, other], lambda key: [f"stored {key}"], 7)
        assert found == [
            "a template",
            (free, ["stored b"], "model 7"),
            "a template",
            (other, ["stored c"], "model 7"),
        ]
        assert made == [7], "one model for all"
        assert metaschedule.spaces([tiled], list, 7) == ["a template"]
        assert made == [7], "none where no task needs one"


@inside("relax")
def test_a_candidate_goes_to_the_builder_and_compiles_there(tmp_path: Path) -> None:
    task = tiny_kernels.task("matmul:16")
    setup = metaschedule.setup([task])
    one = split(task, 4)
    assert tvm.ir.load_json(setup).attrs["mcpu"] == "x86-64-v3"
    assert metaschedule.plain_loops(task, one) is None
    source = metaschedule.source(one)
    assert tvm.ir.load_json(source).script() == one.schedule.mod.script()
    arguments = metaschedule.compile_object(source, setup, tmp_path / "kernel.o")
    assert arguments == [("float32", [16, 16])] * 3
    assert (tmp_path / "kernel.o").read_bytes()[:4] == b"\x7fELF"
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.o"], "no code for a GPU"


@inside("relax")
def test_the_arguments_have_the_layout_of_the_schedule(tmp_path: Path) -> None:
    """Weights that a schedule rewrites are passed as it wants them; the rewriting is left out."""
    a, b = (te.placeholder((16, 16), name=name) for name in "AB")
    k = te.reduce_axis((0, 16), name="k")
    c = te.compute((16, 16), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    function = te.create_prim_func([a, b, c]).with_attrs(
        {"global_symbol": "main", "layout_free_buffers": [1]}
    )
    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    block = schedule.get_sblock("C")
    _, j, _ = schedule.get_loops(block)
    schedule.split(j, [None, 8])
    schedule.transform_layout(block, ("read", 1), lambda k, j: (j // 8, k, j % 8))
    source, setup = (
        tvm.ir.save_json(schedule.mod),
        metaschedule.setup([tiny_kernels.task("matmul:16")]),
    )
    arguments = metaschedule.compile_object(source, setup, tmp_path / "kernel.o")
    assert [shape for _, shape in arguments] == [[16, 16], [2, 16, 8], [16, 16]]


@inside("relax")
def test_warming_up_compiles_for_the_cpu_and_leaves_nothing(tmp_path: Path) -> None:
    from tvmkd.runtime import nvrtc

    seen: list[Any] = []
    compile_object = metaschedule.compile_object

    def noted(source: str, setup: Any, path: Path) -> Any:
        seen.append(tvm.ir.load_json(setup).kind.name)
        return compile_object(source, setup, path)

    host = {"kind": "llvm", "mtriple": "x86_64-linux-gnu"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metaschedule, "compile_object", noted)
        patch.setattr(nvrtc, "install", seen.append)
        for target, cuda in (
            (tvm.target.Target(host), None),
            (tvm.target.Target({"kind": "cuda", "arch": "sm_53"}, host), {"arch": "sm_53"}),
        ):
            metaschedule.warm_up(tvm.ir.save_json(target), cuda, tmp_path)
    assert seen == ["llvm", {"arch": "sm_53"}, "llvm"]
    assert list(tmp_path.iterdir()) == []


@inside("relax")
def test_the_canary_uses_all_cores_and_gives_back_what_it_was_given(tmp_path: Path) -> None:
    host = targets.load("host").to_dict()
    host["tvm"]["num-cores"] = 2
    source = metaschedule.canary(host)
    assert source is not None
    both = SimpleNamespace(schedule=SimpleNamespace(mod=tvm.ir.load_json(source)))
    assert metaschedule.uses_threads(both)
    assert not metaschedule.uses_threads(split(tiny_kernels.task("matmul:16"), 2))
    arguments = metaschedule.compile_object(
        source, tvm.ir.save_json(tvm.target.Target("llvm")), tmp_path / "canary.o"
    )
    assert arguments == [("float32", [metaschedule.CANARY_FLOATS])] * 2
    assert metaschedule.canary({**host, "device": "cuda"}) is None
