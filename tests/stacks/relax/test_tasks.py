"""Kernels of a module as tasks: distinct ones, counted, and put back scheduled."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import const, module
    from tvm import relax, s_tir

    from tvmkd.stacks.relax import importer, tasks
    from tvmkd.stacks.relax.templates.cpu import Cpu

    op, nn = relax.op, relax.op.nn
    TARGET = tvm.target.Target("llvm")


def convolutions(x: Any) -> Any:
    """Twice the same convolution, a 1x1 and a depthwise one, and a dense layer on top."""
    emit = relax.BlockBuilder.current().emit
    for _ in range(2):
        x = emit(nn.conv2d(x, const(8, 8, 3, 3), padding=1))
    x = emit(nn.conv2d(x, const(8, 1, 3, 3), padding=1, groups=8))
    x = emit(nn.conv2d(x, const(4, 8, 1, 1)))
    x = emit(op.mean(x, [2, 3]))
    return op.matmul(x, const(4, 5))


def fused() -> Any:
    return importer.fuse(module([(1, 8, 6, 6)], convolutions), TARGET)


@inside("relax")
def test_equal_kernels_are_one_task_with_its_weight_and_the_costliest_comes_first() -> None:
    found = tasks.tasks_of(fused(), TARGET, Cpu())
    costs = [task.flop * task.weight for task in found]
    assert costs == sorted(costs, reverse=True)
    weights = {(task.kind, task.flop > 1e4): task.weight for task in found}
    assert weights[("conv2d", True)] == 2
    kinds = [task.kind for task in found]
    assert kinds.count("conv2d") == 2
    assert kinds.count("depthwise") == kinds.count("dense") == 1
    assert "reduction" in kinds
    assert len({task.key for task in found}) == len(found)
    assert found[0].flop == 2 * 8 * 8 * 9 * 36


@inside("relax")
def test_templates_are_for_cpus_only() -> None:
    mod = fused()
    assert all(task.template is not None for task in tasks.tasks_of(mod, TARGET, Cpu()))
    assert all(task.template is None for task in tasks.tasks_of(mod, TARGET, None))


@inside("relax")
def test_kernels_that_main_does_not_call_are_no_tasks() -> None:
    mod = fused()
    name, alone, _ = next(tasks.kernels(mod))
    extra = alone["main"].with_attr("global_symbol", "never_called").with_attr("other", 1)
    before = {task.key for task in tasks.tasks_of(mod, TARGET, Cpu())}
    mod.update_func(tvm.ir.GlobalVar("never_called"), extra)
    assert {task.key for task in tasks.tasks_of(mod, TARGET, Cpu())} == before
    assert tasks.calls(mod)["never_called"] == 0
    assert tasks.calls(mod)[name.name_hint] > 0


@inside("relax")
def test_a_kernel_s_key_ignores_its_name_and_its_fusion_pattern() -> None:
    mod = fused()
    name, _, key = next(tasks.kernels(mod))
    renamed = mod[name].with_attr("op_pattern", 3).with_attr("global_symbol", "another")
    other = tvm.IRModule({"another": renamed})
    assert [key for _, _, key in tasks.kernels(other)] == [key]


@inside("relax")
def test_chosen_kernels_are_replaced_and_marked_and_the_others_stay() -> None:
    mod = fused()
    found = tasks.tasks_of(mod, TARGET, Cpu())
    chosen = found[0]
    schedule = s_tir.Schedule(chosen.mod)
    loop = schedule.get_loops(schedule.get_child_blocks(schedule.get_sblock("root"))[-1])[0]
    schedule.annotate(loop, "mark", 1)
    replaced = tasks.put_back(mod, {chosen.key: schedule.mod})
    for name, _, key in tasks.kernels(mod):
        attrs = replaced[name].attrs
        marked = attrs is not None and "tirx.is_scheduled" in attrs
        assert marked is (key == chosen.key), name
        if not marked:
            assert replaced[name].same_as(mod[name])
    assert replaced["main"].same_as(mod["main"])


@inside("relax")
def test_a_kernel_whose_loops_are_written_by_hand_is_no_task() -> None:
    def scattered(x: Any) -> Any:
        import numpy as np

        at = relax.const(np.zeros((1, 2), np.int64))
        values = relax.const(np.zeros((1, 2), np.float32))
        return op.scatter_elements(nn.relu(x), at, values, axis=1)

    mod = importer.fuse(module([(1, 5)], scattered), TARGET)
    names = {task.name for task in tasks.tasks_of(mod, TARGET, Cpu())}
    assert names == {"relu"}
    assert any("scatter" in name for name in tasks.calls(mod))
