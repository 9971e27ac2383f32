from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import soft_nets
from made_up_latency import MadeUpLatency

from tvmkd.base.errors import InputError
from tvmkd.search.soft import survey

MODEL = soft_nets.recipe("depthwise")


def asker(latency: MadeUpLatency, path: Path | None = None, key: str = "") -> survey.Asker:
    network = soft_nets.build("depthwise").eval()
    return survey.Asker(
        latency, network, soft_nets.choices("depthwise"), soft_nets.SHAPE, path, key
    )


def test_the_sum_is_checked_on_random_structures() -> None:
    found = survey.make(asker(MadeUpLatency(step=16)), soft_nets.choices("depthwise"))
    assert found.errors["structures"] == survey.CHECKED
    assert 0 <= found.errors["mean"] <= found.errors["largest"] < 1e-6


def test_a_table_of_kernels_that_do_not_add_up_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    class Crowded(MadeUpLatency):
        """The whole network is slow as soon as more than one layer is wide."""

        def predict(self, kernels):  # type: ignore[no-untyped-def]
            found = super().predict(kernels)
            return dataclasses.replace(found, seconds=found.seconds**3 * 1e9)

    found = survey.make(asker(Crowded()), soft_nets.choices("depthwise"))
    assert found.errors["mean"] > survey.POOR
    assert "random structures" in capfd.readouterr().err


def test_a_structure_is_asked_once_in_later_processes_too(tmp_path: Path) -> None:
    path, latency = tmp_path / "answers.jsonl", MadeUpLatency()
    first = survey.make(asker(latency, path, "k"), soft_nets.choices("depthwise"))
    asked = latency.asked
    path.write_bytes(path.read_bytes()[:-5])  # killed while it was written
    again = survey.make(asker(latency, path, "k"), soft_nets.choices("depthwise"))
    assert (again, latency.asked) == (first, asked + 1)
    asker(latency, path, "another")({})
    assert latency.asked == asked + 2


def test_nothing_that_is_worth_taking_out_is_one_line() -> None:
    class Flat(MadeUpLatency):
        def predict(self, kernels):  # type: ignore[no-untyped-def]
            return dataclasses.replace(super().predict(kernels), seconds=1.0)

    with pytest.raises(InputError, match="nothing that can be taken out of the student"):
        survey.make(asker(Flat()), soft_nets.choices("depthwise"))


def test_a_file_of_another_table_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    choices = soft_nets.choices("depthwise")
    found = survey.make(asker(MadeUpLatency(step=16)), choices)
    key = survey.identity(MODEL, soft_nets.SHAPE, choices, "table 1")
    path = tmp_path / "shaping" / survey.FILE
    assert survey.saved(path, key, choices) is None
    survey.save(path, key, found)
    assert survey.saved(path, key, choices) == found
    other = survey.identity(MODEL, soft_nets.SHAPE, choices, "table 2")
    assert survey.saved(path, other, choices) is None
    path.write_text(path.read_text()[:100])
    assert survey.saved(path, key, choices) is None


def test_the_file_fits_a_student_of_another_seed(tmp_path: Path) -> None:
    choices = soft_nets.choices("depthwise")
    found = survey.make(asker(MadeUpLatency()), choices)
    survey.save(tmp_path / survey.FILE, "k", found)
    other = []
    for choice in choices:
        assert choice.group is not None
        group = dataclasses.replace(choice.group, order=choice.group.order[::-1])
        other.append(dataclasses.replace(choice, group=group))
    read = survey.saved(tmp_path / survey.FILE, "k", other)
    assert read is not None
    for mine, choice in zip(read.differences.choices, other, strict=True):
        assert mine.group == choice.group
    assert read.differences.single == found.differences.single
