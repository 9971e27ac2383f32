"""The table of kernels from known times: nothing here is measured."""

from __future__ import annotations

import pytest

from tvmkd.stacks.relax.kernel_times import BETWEEN, GETTER, Mark, is_kernel, rows, spans

KERNEL, BUILTIN = "conv", "vm.builtin.alloc_storage"


def marks(*symbols: str) -> list[Mark]:
    return [Mark(symbol, begins) for symbol in symbols for begins in (True, False)]


def test_builtins_and_the_getter_are_no_kernels() -> None:
    assert [is_kernel(name) for name in (KERNEL, BUILTIN, GETTER)] == [True, False, False]
    assert is_kernel("vm.builtin.call_tir_dyn")


def test_a_span_is_one_call_of_a_kernel() -> None:
    found = spans(marks(BUILTIN, KERNEL, GETTER, "relu"), [0, 5, 10, 30, 31, 32, 40, 45])
    assert found == [(KERNEL, 10, 30), ("relu", 40, 45)]


def test_calls_may_be_inside_others() -> None:
    inner = marks(KERNEL, BUILTIN)
    outer = [Mark("vm.builtin.invoke_closure", True), *inner, Mark("then", True)]
    outer += [*marks("relu"), Mark("then", False), Mark("vm.builtin.invoke_closure", False)]
    found = spans(outer, list(range(len(outer))))
    assert found == [(KERNEL, 1, 2), ("then", 5, 8), ("relu", 6, 7)]


def test_runs_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        spans(marks(KERNEL), [1])


def test_the_rows_add_up_to_the_run_without_a_timer() -> None:
    runs = [
        [("conv", 1000, 1000 + took), ("relu", 20_000, 22_000), ("conv", 30_000, 31_000)]
        for took in (9000, 4000, 5000)
    ]
    found = rows(runs, [0, 500, 0], [12e-6, 10e-6, 99e-6])
    assert [row["kernel"] for row in found] == ["conv", BETWEEN, "relu"]
    conv, between, relu = found
    assert (conv["us"], conv["calls"], conv["places"]) == (6.0, 2, [0, 2])
    assert (conv["each_us"], conv["starts_us"]) == ([5.0, 1.0], [1.0, 30.0])
    assert (relu["us"], relu["starts_us"]) == (2.0, [20.0])
    assert (between["us"], between["run_us"]) == (4.0, 12.0)
    assert sum(row["us"] for row in found) == pytest.approx(between["run_us"])
    assert sum(row["share"] for row in found) == pytest.approx(1.0)


def test_kernels_that_take_longer_than_the_run_leave_nothing_between_them() -> None:
    found = rows([[("conv", 0, 3000)]], [0], [1e-6])
    between = next(row for row in found if row["kernel"] == BETWEEN)
    assert (between["us"], between["share"], between["run_us"]) == (0.0, 0.0, 1.0)
    assert found[0]["share"] == 1.0
