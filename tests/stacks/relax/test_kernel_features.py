"""Numbers that describe a kernel: right whatever the kernel is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import math

    import tvm
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd.stacks.relax import importer, kernels, tasks
    from tvmkd.stacks.relax.kernel_features import features
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.tuning.space import Task

    op, nn = relax.op, relax.op.nn
    TARGET = tvm.target.Target("llvm")
    CPU = Cpu(threads=2)


def found(make: Callable[..., Any], *shapes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """The features of a network's kernels, by their kinds."""
    fused = importer.fuse(module(shapes, make), TARGET)
    return {task.kind: features(task, CPU) for task in tasks.tasks_of(fused, TARGET, CPU)}


def bytes_of(*shape: int) -> int:
    return 4 * math.prod(shape)


@inside("relax")
def test_a_convolution_s_sizes_stride_arguments_and_what_is_fused_into_it() -> None:
    def make(x: Any, other: Any) -> Any:
        y = nn.conv2d(x, const(12, 8, 3, 5), strides=2, padding=(1, 2))
        return op.add(nn.relu(op.add(y, const(1, 12, 1, 1))), other)

    one = found(make, (1, 8, 14, 20), (1, 12, 7, 10))["conv2d"]
    sizes = ("images", "rows", "columns", "channels", "inner", "taps", "last_tap", "stride")
    assert [one[name] for name in sizes] == [1, 7, 10, 16, 8, 15, 5, 2], "12 channels in 2 blocks"
    assert one["sums"] == 8 * 15
    assert one["work"] == 7 * 10 * 16 * 8 * 15
    assert one["groups"] == 1
    assert one["input_bytes"] == bytes_of(8, 14, 20)
    assert one["weight_bytes"] == bytes_of(16, 8, 15)
    assert one["extra_bytes"] == bytes_of(12) + bytes_of(12, 7, 10)
    assert one["output_bytes"] == bytes_of(12, 7, 10)
    assert one["elementwise"] >= 4, "padding, bias, activation, addition"
    assert one["instructions"] > one["other_work"] > 3 * 7 * 10 * 12
    assert (one["template"], one["along"], one["element"]) == (1, 1, 4)
    assert one["expected"] > one["work"] / (8 * 2), "no core is faster than its units"


@inside("relax")
def test_groups_and_depthwise_convolutions_are_told_apart() -> None:
    def grouped(x: Any) -> Any:
        return nn.conv2d(x, const(32, 8, 3, 3), padding=1, groups=4)

    def depthwise(x: Any) -> Any:
        return nn.conv2d(x, const(20, 1, 5, 5), padding=2, groups=20, strides=2)

    one = found(grouped, (1, 32, 6, 6))["conv2d"]
    assert (one["groups"], one["inner"], one["taps"]) == (4, 8, 9)
    one = found(depthwise, (1, 20, 8, 8))["depthwise"]
    assert (one["groups"], one["inner"], one["taps"], one["stride"]) == (20, 1, 25, 2)
    assert (one["channels"], one["ragged"], one["filled"]) == (20, 4, 20 / 24)
    assert one["vectors"] == 4 * 4 * 3
    assert one["along"] == 1
    assert one["weight_bytes"] == bytes_of(5, 5, 20)


@inside("relax")
def test_products_sums_and_moves() -> None:
    def make(x: Any) -> Any:
        y = op.permute_dims(nn.relu(x), [0, 2, 3, 1])
        return op.matmul(op.mean(y, [1, 2]), const(24, 10))

    kinds = found(make, (1, 24, 6, 6))
    dense, mean = kinds["dense"], kinds["reduction"]
    assert (dense["inner"], dense["taps"], dense["input_bytes"]) == (24, 1, bytes_of(24))
    assert dense["weight_bytes"] == bytes_of(dense["channels"], 24)
    assert (mean["sums"], mean["taps"], mean["weight_bytes"]) == (36, 1, 0)
    assert "expected" not in mean
    assert (mean["threads"], mean["turns"]) == (1, 3), "three blocks of 8 channels"
    one = found(lambda x: op.mean(x, [1, 2]), (1, 6, 6, 16))["reduction"]
    assert (one["threads"], one["turns"]) == (0, 1), "nothing to share"

    moved = found(lambda x: op.permute_dims(x, [0, 2, 3, 1]), (1, 24, 6, 6))["elementwise"]
    plain = found(nn.relu, (1, 24, 6, 6))["elementwise"]
    assert (moved["along"], plain["along"]) == (0, 1)
    assert mean["along"] == dense["along"] == 1
    assert moved["sums"] == plain["sums"] == 1
    assert moved["input_bytes"] == moved["output_bytes"] == bytes_of(24, 6, 6)


@inside("relax")
def test_a_window_over_a_row_that_is_computed_too_long_keeps_its_stride() -> None:
    # 11 columns: one more is computed, and the index is limited.
    one = found(lambda x: nn.conv2d(x, const(8, 8, 3, 3), strides=2), (1, 8, 23, 23))["conv2d"]
    assert (one["columns"], one["stride"], one["taps"]) == (12, 2, 9)


@inside("relax")
def test_names_change_nothing_and_a_gpu_has_neither_template_nor_expectation() -> None:
    def renamed(mod: Any) -> Any:
        return tvm.IRModule({"main": mod["main"].with_attr("global_symbol", "zzz")})

    fused = importer.fuse(module([(1, 8, 6, 6)], lambda x: nn.conv2d(x, const(8, 8, 3, 3))), TARGET)
    for task in tasks.tasks_of(fused, TARGET, CPU):
        other = Task("other", task.key, renamed(task.mod), TARGET, 1, task.flop, "x", task.template)
        assert features(other, CPU) == features(task, CPU)
    for task in tasks.tasks_of(fused, TARGET, None):
        numbers = features(task, None)
        assert numbers["template"] == 0
        assert not {"expected", "threads", "turns"} & numbers.keys()
        assert numbers["work"] > 0


@inside("relax")
def test_bytes_are_counted_as_bytes() -> None:
    from tvm import te

    x = te.placeholder((1, 6, 6, 16), "int8", name="x")
    y = te.compute((1, 6, 6, 16), lambda *at: x[at].astype("int32") + 1, name="y")
    mod = tvm.IRModule({"main": te.create_prim_func([x, y])})
    numbers = features(Task("one", "0x0", mod, TARGET, 1, 0.0, "elementwise"), CPU)
    assert (numbers["element"], numbers["input_bytes"], numbers["output_bytes"]) == (1, 576, 2304)
    assert (numbers["rows"], numbers["columns"], numbers["channels"]) == (6, 6, 16)


@inside("relax")
def test_a_kernel_of_one_number() -> None:
    from tvm import te

    x = te.placeholder((), "float32", name="x")
    y = te.compute((), lambda: x() + 1, name="y")
    mod = tvm.IRModule({"main": te.create_prim_func([x, y])})
    numbers = features(Task("one", "0x0", mod, TARGET, 1, 1.0, "elementwise"), CPU)
    assert (numbers["work"], numbers["channels"], numbers["output_bytes"]) == (1, 1, 4)
    assert kernels.LANES > 0
