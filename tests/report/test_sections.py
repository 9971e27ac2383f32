from __future__ import annotations

import samples

from tvmkd.report import sections
from tvmkd.report.records import History, TaskGain
from tvmkd.report.view import Cell


def test_engines_stand_from_fast_to_slow_and_those_over_the_budget_are_marked() -> None:
    made = sections.engines(samples.five(budget_ms=3.0))
    assert made is not None
    times, costs = made.tables
    assert [row.name for row in times.rows] == [
        *("tvm", "onnxruntime", "torch.compile", "torch", "tvm:untuned")
    ]
    assert [row.first for row in times.rows] == [True, False, False, False, False]
    assert [row.cells[4].pill for row in times.rows] == ["", "", "", "over", "over"]
    assert [row.cells[5].text for row in times.rows][:2] == ["1", "1.27"]
    assert times.rows[1].cells[5].tip == "95% CI 1.26 to 1.28"
    assert costs.heads[1:4] == ["size", "memory", "load"], "no GPU, no column for its memory"


def test_a_difference_that_is_not_decided_is_called_level() -> None:
    twins = samples.comparison(samples.engine("a", 1.0), samples.engine("b", 1.0, seed=1))
    made = sections.engines(twins)
    assert made is not None
    assert made.tables[0].rows[1].cells[5].pill == "level"


def test_points_without_a_latency_are_not_drawn() -> None:
    nothing = [{"name": "teacher", "accuracy": 0.9, "latency_ms": None}]
    assert sections.accuracy(nothing, samples.five()) is None
    assert sections.accuracy(samples.ACCURACY, samples.five(), "mAP") is not None


def test_a_task_that_never_ran_has_no_figures() -> None:
    failed = TaskGain("failed", 2, trials=3, failed=3)
    gained = TaskGain("gained", 1, trials=4, first_us=10.0, best_us=4.0)
    made = sections.tuning(History([(1, 1.0)], [failed, gained], 7))
    assert made.chart == "", "one point is no curve"
    assert [cell.text for cell in made.tables[0].rows[0].cells] == ["2", "3", "3", "–", "–", "–"]
    assert [cell.text for cell in made.tables[0].rows[1].cells][3:] == ["10", "4", "2.5×"]


def test_only_the_costliest_tasks_are_listed() -> None:
    tasks = [TaskGain(str(number), 1) for number in range(sections.TASKS_SHOWN + 3)]
    (table,) = sections.tuning(History([], tasks, 0)).tables
    assert len(table.rows) == sections.TASKS_SHOWN
    assert table.caption.endswith(" 3 smaller ones are not listed.")


def test_kernels_are_sorted_and_the_small_ones_summed_up() -> None:
    made = sections.kernels(samples.KERNELS[::-1])
    assert made is not None
    rows = made.tables[0].rows
    assert len(rows) == sections.KERNELS_SHOWN + 1
    assert rows[0].cells == [Cell("1"), Cell("160"), Cell(rows[0].cells[2].text), Cell(share=1.0)]
    assert rows[-1].name == "4 smaller ones"
    rest = samples.KERNELS[sections.KERNELS_SHOWN :]
    assert rows[-1].cells[0].text == str(sum(int(str(item["calls"])) for item in rest))
    assert sections.kernels([]) is None
