"""What a library is compiled from, which records fit, and which kernel belongs to which task."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from in_tvm import INSIDE, inside

from tvmkd import targets

if INSIDE:
    import tiny_kernels
    import tvm
    from tvm import relay

    from tvmkd.stacks.relay import build
    from tvmkd.stacks.relay.build import RelayBuilder
    from tvmkd.stacks.relay.sketch import candidate
    from tvmkd.tuning.autoscheduler_log import task_key
    from tvmkd.tuning.records import StoredRecord

TARGET = targets.load("host").to_dict()


class Compiled:
    """What is compiled, and where the library goes."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        relay.build = lambda mod, target: self.done("graph executor", mod)
        relay.vm.compile = lambda mod, target: SimpleNamespace(mod=self.done("machine", mod))

    def done(self, kind: str, mod: Any) -> Compiled:
        config = tvm.transform.PassContext.current().config
        tuned = bool(config["relay.backend.use_auto_scheduler"])
        self.calls.append((kind, mod, tuned, tvm.transform.PassContext.current().opt_level))
        return self

    def export_library(self, path: str, fcompile: Any) -> None:
        assert isinstance(fcompile, build.Linker)
        self.calls.append(path)


def builder(tasks: Any = (), machine: bool = False, **more: Any) -> Any:
    model: Any = SimpleNamespace(mod="plain", needs_machine=machine)
    goal = tvm.target.Target("llvm")
    return RelayBuilder(model, "lowered", tasks, goal, TARGET["toolchain"], **more)


def stored(task: Any, state: Any = None, seconds: float = 2e-6) -> Any:
    """A record of a task's state, of its plain loops by default."""
    made, _ = candidate(task.mod, state or task.mod.compute_dag.get_init_state())
    return StoredRecord(Path(), task.key, made.key, seconds, [], made.schedule)


def task(spec: str = "matmul:16") -> Any:
    return tiny_kernels.relay_task(spec, tiny_kernels.TARGET["tvm"])


@inside("relay")
def test_without_records_the_whole_model_has_topi_s_schedules_in_its_own_layout() -> None:
    done, path = Compiled(), Path("m.so")
    assert builder().library({}, path, defaults=True) == path
    builder().library({}, path, defaults=False)
    builder(machine=True).library({}, path, defaults=True)
    assert done.calls == [
        ("graph executor", "plain", False, 3),
        "m.so",
        ("graph executor", "lowered", True, 3),
        "m.so",
        ("machine", "plain", False, 3),
        "m.so",
    ]


@inside("relay")
def test_with_a_record_it_has_autoscheduler_s_and_the_layout_that_is_tuned() -> None:
    done, one = Compiled(), task()
    builder([one]).library({one.key: stored(one)}, Path("m.so"), defaults=True)
    assert done.calls[0][1:3] == ("lowered", True)


@inside("relay")
def test_regions_of_tensorrt_are_compiled_from_the_module_as_it_stands() -> None:
    from tvmkd.stacks.relay import tensorrt

    done = Compiled()

    def compile_with(mod: Any, target: Any, version: Any) -> Any:
        done.calls.append((mod, version))
        return done

    tensorrt.compile_with = compile_with
    builder(tensorrt=(8, 2, 1)).library({}, Path("m.so"), defaults=False)
    assert done.calls == [("plain", (8, 2, 1)), "m.so"]


@inside("relay")
def test_a_record_fits_the_task_that_it_was_made_for() -> None:
    one, other = task("matmul:16"), task("times:16")
    state = one.mod.compute_dag.get_init_state()
    state.split(2, state.stages[2].iters[2], [4])  # the sum, which the other has not
    record = stored(one, state)
    steps = record.record["i"][1]
    misfit = {**stored(other).record, "i": [stored(other).record["i"][0], steps]}
    made = builder([one, other])
    assert made.fits(one, record)
    assert not made.fits(other, StoredRecord(Path(), other.key, "misfit", 1.0, [], misfit))


@inside("relay")
def test_a_line_is_restored_once() -> None:
    one, calls = task(), []
    restore = build.restore
    build.restore = lambda line: calls.append(line) or restore(line)
    made, record = builder([one]), stored(one)
    Compiled()
    for _ in range(2):
        assert made.fits(one, record)
        made.library({one.key: record}, Path("m.so"), defaults=False)
    assert len(calls) == 1


@inside("relay")
def test_kernels_of_the_last_build_with_what_is_known_of_their_tasks() -> None:
    one, other = task("matmul:16"), task("times:16")
    made = builder([one, other])
    made._names = {
        "tvmgen_default_fused_dense": one.key,
        "tvmgen_default_fused_multiply": other.key,
        "tvmgen_default_fused_copy": "0x0000000000000001",  # of no task
        "fused_dense_layout": one.key,  # asked for while the layout is rewritten
    }
    assert made.kernel_facts({one.key: stored(one, seconds=2e-6)}) == {
        "tvmgen_default_fused_dense": {
            "key": one.key, "kind": "matmul", "flop": 2.0 * 16**3, "measured_us": 2.0,
        },
        "tvmgen_default_fused_multiply": {
            "key": other.key, "kind": "times", "flop": 2.0 * 16**3, "measured_us": None,
        },
    }  # fmt: skip
    assert made.default_schedule(one) == "TOPI default"


@inside("relay")
def test_a_kernel_whose_weights_are_rewritten_keeps_its_task() -> None:
    one = task()
    before, after = one.mod.workload_key, '["rewritten", [16, 16]]'
    noted = build._Noting([])
    target = tvm.target.Target("llvm -keys=cpu")
    assert noted._query_inside(target, before, "fused_dense") is None
    noted.update(target, after, "state")
    assert noted._query_inside(target, after, "tvmgen_fused_dense") == "state"
    assert noted._query_inside(target, '["unknown", [1]]', "tvmgen_other") is None
    assert noted.names == {
        "fused_dense": task_key(before),
        "tvmgen_fused_dense": task_key(before),
        "tvmgen_other": task_key('["unknown", [1]]'),
    }


@inside("relay")
def test_the_best_record_s_time_is_the_one_that_is_applied() -> None:
    one = task()
    found = build._result(stored(one, seconds=3e-6))
    assert [float(cost) for cost in found.costs] == [3e-6]
    assert found.error_no == 0
