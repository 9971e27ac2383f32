"""Relax's builder: which kernels get which schedule."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    import tvm_ffi
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd import targets
    from tvmkd.stacks.relax import build, importer, tasks
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.tuning.records import StoredRecord
    from tvmkd.tuning.space import candidate, plain

    HOST = targets.load("host").to_dict()
    TARGET = tvm.target.Target("llvm")


def builder(monkey: list[Any], *, threads: int | None = 1) -> Any:
    """A builder of one convolution and one dense layer; notes which kernels get a schedule."""

    def make(x: Any) -> Any:
        emit = relax.BlockBuilder.current().emit
        x = emit(relax.op.nn.conv2d(x, const(8, 8, 3, 3)))
        return relax.op.matmul(emit(relax.op.mean(x, [2, 3])), const(8, 5))

    fused = importer.fuse(module([(1, 8, 6, 6)], make), TARGET)
    found = tasks.tasks_of(fused, TARGET, None if threads is None else Cpu(threads=threads))
    plain = {name.name_hint: alone["main"] for name, alone, _ in tasks.kernels(fused)}

    class Compiling:
        def __init__(self, makers: Any, _target: Any, folder: Path) -> None:
            functions = {name: make() for name, make in makers.items()}
            equal = tvm_ffi.structural_equal
            monkey.append({name for name, f in functions.items() if not equal(f, plain[name])})
            assert folder.is_dir()

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

        def result(self) -> Any:
            return SimpleNamespace(objects=[Path("k.o")], aliases={"new": "old"})

    def export(path: str, *, fcompile: Any, addons: list[str], aliases: Any) -> None:
        assert (path, addons, aliases) == ("model.so", ["k.o"], {"new": "old"})

    def rest(_mod: Any, _target: Any, without: list[str]) -> Any:
        assert without == list(plain)
        return SimpleNamespace(export_library=export)

    build.Objects = Compiling
    build.executable = SimpleNamespace(build=rest)
    return build.RelaxBuilder(SimpleNamespace(fused=fused), found, TARGET, HOST["toolchain"])


def record_of(task: Any) -> Any:
    """A record with the first schedule of a task's template."""
    from tvm.s_tir import meta_schedule as ms

    made = candidate(task.template.default())
    workload = ms.database.Workload(task.mod)
    stored = ms.database.TuningRecord(made.schedule.trace, workload, [1e-3], task.target)
    return StoredRecord(Path(), task.key, made.key, 1e-3, [], plain(stored.as_json()))


@inside("relax")
def test_tasks_without_a_record_get_the_default_or_stay_plain() -> None:
    seen: list[Any] = []
    made = builder(seen)
    everything = {task.name for task in made.tasks.values()}
    conv = next(task for task in made.tasks.values() if task.kind == "conv2d")
    path = Path("model.so")
    assert made.library({}, path, defaults=True) == path
    made.library({}, path, defaults=False)
    made.library({conv.key: record_of(conv)}, path, defaults=False)
    made.library({conv.key: record_of(conv)}, path, defaults=True)
    assert seen == [everything, set(), {conv.name}, everything]


@inside("relax")
def test_what_was_started_ahead_is_used_by_the_library_that_asks_for_it() -> None:
    seen: list[Any] = []
    made = builder(seen)
    conv = next(task for task in made.tasks.values() if task.kind == "conv2d")
    path = Path("model.so")
    with made.ahead({}, defaults=False):
        assert seen == [set()]
        made.library({}, path, defaults=False)
        assert len(seen) == 1
        made.library({}, path, defaults=False)
        assert len(seen) == 2
    with made.ahead({}, defaults=False):
        made.library({conv.key: record_of(conv)}, path, defaults=False)
    assert seen[2:] == [set(), {conv.name}]
    made.library({}, path, defaults=False)
    assert seen[4:] == [set()]


@inside("relax")
def test_a_record_fits_the_task_that_it_was_made_for() -> None:
    made = builder([])
    by_kind = {task.kind: task for task in made.tasks.values()}
    conv, dense = by_kind["conv2d"], by_kind["dense"]
    assert made.fits(conv, record_of(conv))
    misfit = record_of(dense)
    assert not made.fits(conv, StoredRecord(Path(), conv.key, "k", 1e-3, [], misfit.record))


@inside("relax")
def test_the_default_schedule_is_named() -> None:
    made = builder([])
    task = next(iter(made.tasks.values()))
    assert made.default_schedule(task) == "template default"
    task.template = None
    assert made.default_schedule(task) == "simple loops"
    gpu: Any = SimpleNamespace(target=SimpleNamespace(kind=SimpleNamespace(name="cuda")))
    assert made.default_schedule(gpu) == "dlight default"


@inside("relax")
def test_the_facts_of_each_kernel() -> None:
    made = builder([])
    conv = next(task for task in made.tasks.values() if task.kind == "conv2d")
    facts = made.kernel_facts({conv.key: record_of(conv)})
    assert set(facts) == {task.name for task in made.tasks.values()}
    assert facts[conv.name] == {
        "key": conv.key, "kind": "conv2d", "flop": conv.flop, "measured_us": 1000.0,
    }  # fmt: skip
    others = [fact["measured_us"] for name, fact in facts.items() if name != conv.name]
    assert len(others) == len(made.tasks) - 1
    assert set(others) == {None}
