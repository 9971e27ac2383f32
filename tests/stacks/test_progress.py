from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import TvmkdError
from tvmkd.stacks import progress

COVERAGE: dict[str, Any] = {
    "tasks": 4,
    "tuned": 2,
    "tuned_share": 0.75,
    "untuned": [{"name": "small", "share": 0.05}, {"name": "large", "share": 0.2}],
    "set_aside": [],
}
CHECKED = {"samples": 11, "real_samples": 8, "max_error": 1.3e-6}


def lines(**changes: Any) -> list[str]:
    manifest = {"coverage": COVERAGE, "records": [], "check": CHECKED, **changes}
    return progress.coverage_lines(manifest)


def test_untuned_kernels_are_named_the_largest_first() -> None:
    assert lines()[:2] == [
        "tuned: 2 of 4 tasks, 75.0% of the estimated time",
        "untuned: large (20.0%), small (5.0%)",
    ]
    many = [{"name": f"k{n}", "share": n / 100} for n in range(7)]
    line = lines(coverage={**COVERAGE, "untuned": many})[1]
    assert line.startswith("untuned: k6 (6.0%), ")
    assert line.endswith("k2 (2.0%), 2 more")


def test_a_model_without_kernels_has_nothing_to_tune() -> None:
    assert lines(coverage={**COVERAGE, "tasks": 0, "untuned": []})[0] == (
        "tuned: there is nothing to tune"
    )


def test_wrong_records_are_named_with_the_reason() -> None:
    aside = [{"task": "conv", "reason": "outputs differ by 0.5"}]
    assert lines(coverage={**COVERAGE, "set_aside": aside})[2] == (
        "set aside because it computed something else: a record of conv (outputs differ by 0.5)"
    )


@pytest.mark.parametrize(
    ("marks", "line"),
    [
        (
            {"emulated": True, "used": 3},
            "r: tuned on emulated boards, whose times mean nothing on real ones",
        ),
        (
            {"emulated": True, "icount": True, "used": 3},
            "r: tuned by instruction counts of emulated boards",
        ),
        ({"scored": True, "used": 3}, "r: chosen by a score, never timed on a board"),
        ({"emulated": True, "used": 0}, None),
        ({"scored": True, "used": 0}, None),
        ({"used": 3}, None),
    ],
)
def test_records_of_emulated_boards_are_marked_where_they_are_used(
    marks: dict[str, Any], line: str | None
) -> None:
    found = lines(records=[{"path": "r", **marks}])
    assert (line in found) if line else len(found) == 3


@pytest.mark.parametrize(
    ("on", "where"),
    [
        ({}, "checked: 11 inputs"),
        ({"on": {"board": "10.0.0.2:9090"}}, "checked on the board at 10.0.0.2:9090: 11 inputs"),
        (
            {"on": {"board": "b", "emulated": True}},
            "checked on an emulated board at b: 11 inputs",
        ),
    ],
)
def test_the_numeric_check_says_where_it_ran(on: dict[str, Any], where: str) -> None:
    assert lines(check={**CHECKED, **on})[-1] == (
        f"{where}, 8 of them real, differ from ONNX Runtime by at most 1.3e-06 of the output's "
        "range"
    )


def test_an_artifact_that_was_not_checked_says_why() -> None:
    assert lines(check={"skipped": "it is built for aarch64"})[-1] == (
        "not checked against ONNX Runtime: it is built for aarch64; --rpc-tracker and --rpc-key "
        "check it on a board"
    )


def test_steps_and_warnings_of_a_build_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.following("building for host") as follow:
        follow("stage", {"text": "lowering"})
        follow("note", {"text": "records of another version"})
        follow("set_aside", {"task": "conv", "reason": "outputs differ"})
        follow("unknown", {})
    out, err = capfd.readouterr()
    assert out == ""
    wrong = "a tuned kernel computes something else (outputs differ)"
    assert err.splitlines() == [
        "building for host",
        "lowering",
        "warning: records of another version",
        f"warning: conv: {wrong}; its record is set aside and the next best one is used",
    ]


def test_a_profile_that_cannot_be_had_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "kernel_times", lambda folder, inputs: [{"kernel": "k"}])
    assert progress.kernels(tmp_path) == [{"kernel": "k"}]

    def broken(folder: Path, inputs: Path | None) -> list[dict[str, Any]]:
        raise TvmkdError("the worker ended")

    monkeypatch.setattr(progress, "kernel_times", broken)
    assert progress.kernels(tmp_path) == []
    assert "warning: no figures by kernel: the worker ended" in capfd.readouterr().err
