"""The tuner backend of relay: its log, its spaces, and what the builder compiles."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd.stacks.relay import autoscheduler
from tvmkd.tuning import records
from tvmkd.tuning.space import Candidate

if INSIDE:
    import tiny_kernels
    from tvm import auto_scheduler

    from tvmkd.stacks.relay import sketch

LINE: Any = {
    "i": [['["key", [8]]', "llvm", [2, 32]], [[], [["SP", 0, 1]]]],
    "r": [[0.0], 0],
    "v": "v0.6",
}
CANDIDATE = Candidate("abc", LINE)


def kernel(kind: str = "llvm") -> Any:
    """The part of a task that is read without TVM."""
    target = SimpleNamespace(kind=SimpleNamespace(name=kind))
    return SimpleNamespace(target=target, mod=SimpleNamespace(workload_key='["whole", [8]]'))


def test_a_record_is_a_line_of_upstream_s_log_with_one_value(tmp_path: Path) -> None:
    recorder = autoscheduler.recorder(tmp_path)
    recorder.add(kernel(), CANDIDATE, 2e-6)
    autoscheduler.recorder(tmp_path).add(kernel(), CANDIDATE, 3e-6)
    first, second = records.read_lines(tmp_path / autoscheduler.LOG)
    assert {**first, "r": None} == {**LINE, "r": None}
    assert (first["r"][:3], second["r"][:3]) == ([[2e-6], 0, 2e-6], [[3e-6], 0, 3e-6])
    assert isinstance(first["r"][3], int)
    assert [record.seconds for record in records.load(tmp_path)] == [2e-6, 3e-6]
    assert LINE["r"] == [[0.0], 0], "the candidate stays as it is"


def test_a_source_is_the_line() -> None:
    assert json.loads(autoscheduler.source(CANDIDATE)) == LINE


@pytest.mark.parametrize(("kind", "has"), [("llvm", True), ("c", True), ("cuda", False)])
def test_plain_loops_have_the_task_s_own_computation(kind: str, has: bool) -> None:
    source = autoscheduler.plain_loops(kernel(kind), CANDIDATE)
    assert (source is not None) is has
    if source is None:
        return
    line = json.loads(source)
    assert line.pop(autoscheduler.PLAIN) == 1
    # A candidate's key may be of rewritten weights.
    assert line == {**LINE, "i": [['["whole", [8]]', "llvm", [2, 32]], LINE["i"][1]]}


@inside("relay")
def test_the_spaces_of_all_tasks_share_a_model() -> None:
    seeds: list[int] = []
    sketch.cost_model = lambda seed: seeds.append(seed) or "model"
    sketch.SketchSpace = lambda *given: given
    tasks: Any = [SimpleNamespace(key=key) for key in "ab"]
    found = autoscheduler.spaces(tasks, lambda key: [f"stored {key}"], 7)
    assert found == [(tasks[0], ["stored a"], "model"), (tasks[1], ["stored b"], "model")]
    assert seeds == [7]


def task() -> Any:
    return tiny_kernels.relay_task("matmul:16", tiny_kernels.TARGET["tvm"])


def made(one: Any, split: int = 0) -> Any:
    """A candidate of a task, with one loop split."""
    state = one.mod.compute_dag.get_init_state()
    if split:
        state.split(2, state.stages[2].iters[0], [split])
    return sketch.candidate(one.mod, state)[0]


@inside("relay")
def test_a_builder_that_knows_the_computations_compiles_a_line(tmp_path: Path) -> None:
    from tvm.auto_scheduler import workload_registry

    one = task()
    setup = json.loads(json.dumps(autoscheduler.setup([one])))
    source = autoscheduler.source(made(one, 4))
    # Another process: the registry is empty.
    workload_registry.WORKLOAD_FUNC_REGISTRY.clear()
    autoscheduler.warm_up(setup, None, tmp_path)
    assert list(tmp_path.iterdir()) == []
    arguments = autoscheduler.compile_object(source, setup, tmp_path / "kernel.o")
    assert arguments == [("float32", [16, 16])] * 3
    compiled = (tmp_path / "kernel.o").read_bytes()
    assert compiled[:4] == b"\x7fELF"
    assert b"\0main\0" in compiled, "the name of its function"


@inside("relay")
def test_plain_loops_are_compiled_without_the_schedule(tmp_path: Path) -> None:
    import tvm

    built: list[str] = []
    lower = tvm.build

    def build(schedule: Any, args: Any, target: Any, name: str) -> Any:
        built.append(str(tvm.lower(schedule, args, simple_mode=True)))
        return lower(schedule, args, target=target, name=name)

    tvm.build = build
    one = task()
    scheduled = made(one, 4)
    plain = autoscheduler.plain_loops(one, scheduled)
    assert plain is not None
    for source in (autoscheduler.source(scheduled), plain, autoscheduler.source(made(one))):
        autoscheduler.compile_object(source, None, tmp_path / "kernel.o")
    split, unscheduled, start = built
    assert split != unscheduled == start


@inside("relay")
def test_plain_loops_read_the_weights_in_the_schedule_s_layout(tmp_path: Path) -> None:
    from tvm import te
    from tvm.auto_scheduler.compute_dag import LayoutRewriteOption
    from tvm.auto_scheduler.workload_registry import register_workload_tensors

    a, b = (te.placeholder((16, 16), name=name) for name in "AB")
    k = te.reduce_axis((0, 16), name="k")
    c = te.compute(
        (16, 16),
        lambda i, j: te.sum(a[i, k] * b[k, j], axis=k),
        name="C",
        attrs={"layout_free_placeholders": [b]},
    )
    dag = auto_scheduler.ComputeDAG([a, b, c])
    key = register_workload_tensors(dag.workload_key(), [a, b, c])
    target = auto_scheduler.SearchTask(
        workload_key=key,
        target="llvm -mtriple=x86_64-linux-gnu",
        layout_rewrite_option=LayoutRewriteOption.REWRITE_FOR_PRE_TRANSFORMED,
    )
    state = target.compute_dag.get_init_state()
    state.split(2, state.stages[2].iters[1], [8])
    one = SimpleNamespace(mod=target, target=target.target)
    scheduled = sketch.candidate(target, state)[0]
    plain = autoscheduler.plain_loops(one, scheduled)  # type: ignore[arg-type]
    assert plain is not None
    found = [
        autoscheduler.compile_object(source, None, tmp_path / "kernel.o")
        for source in (autoscheduler.source(scheduled), plain)
    ]
    assert found[0] == found[1], "the same arguments"
    assert found[0][1] != ("float32", [16, 16]), "the weights are rewritten"
