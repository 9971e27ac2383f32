"""What a person sees while a model is built, and of what was built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.base.errors import TvmkdError
from tvmkd.base.text import listing
from tvmkd.base.wire import Event
from tvmkd.stacks.compile import kernel_times


@contextmanager
def following(text: str) -> Iterator[Event]:
    """A callback for the events of a build, which shows them on stderr while the block runs.

    The events are ``stage`` (``text``: the current step), ``note`` (``text``: a warning) and
    ``set_aside`` (``task`` and ``reason``: a tuned kernel that computed something else).

    Args:
        text: shown until the first step.
    """
    with console.working(text) as step:

        def follow(name: str, data: dict[str, Any]) -> None:
            if name == "stage":
                step(str(data["text"]))
            elif name == "note":
                console.warn(str(data["text"]))
            elif name == "set_aside":
                console.warn(
                    f"{data['task']}: a tuned kernel computes something else ({data['reason']}); "
                    "its record is set aside and the next best one is used"
                )

        yield follow


def kernels(folder: Path, inputs: Path | None = None) -> list[dict[str, Any]]:
    """An artifact's time by kernel, for a report; empty, with a warning, if it cannot be had."""
    with console.working("timing the artifact kernel by kernel"):
        try:
            return kernel_times(folder, inputs)
        except TvmkdError as error:
            console.warn(f"no figures by kernel: {error}")
            return []


def coverage_lines(manifest: Mapping[str, Any], most: int = 5) -> list[str]:
    """The manifest's coverage, records and numeric check as lines of text.

    Args:
        most: untuned tasks to name; the others are counted.
    """
    coverage = manifest["coverage"]
    count = f"{coverage['tuned']} of {coverage['tasks']} tasks"
    lines = [f"tuned: {count}, {coverage['tuned_share']:.1%} of the estimated time"]
    if not coverage["tasks"]:
        lines = ["tuned: there is nothing to tune"]
    untuned = sorted(coverage["untuned"], key=lambda task: -float(task["share"]))
    if untuned:
        named = [f"{task['name']} ({task['share']:.1%})" for task in untuned[:most]]
        more = [f"{len(untuned) - most} more"] if len(untuned) > most else []
        lines.append(f"untuned: {listing(named + more)}")
    lines += [
        f"set aside because it computed something else: a record of {entry['task']} "
        f"({entry['reason']})"
        for entry in coverage["set_aside"]
    ]
    lines += [
        f"{entry['path']}: tuned on emulated boards, whose times mean nothing on real ones"
        if not entry.get("icount")
        else f"{entry['path']}: tuned by instruction counts of emulated boards"
        for entry in manifest["records"]
        if entry.get("emulated") and entry["used"]
    ]
    lines += [
        f"{entry['path']}: chosen by a score, never timed on a board"
        for entry in manifest["records"]
        if entry.get("scored") and entry["used"]
    ]
    check = manifest["check"]
    if "max_error" in check:
        lines.append(
            f"checked{_where(check)}: {check['samples']} inputs, {check['real_samples']} of them "
            f"real, differ from ONNX Runtime by at most {check['max_error']:.1e} of the output's "
            "range"
        )
    else:
        lines.append(
            f"not checked against ONNX Runtime: {check.get('skipped', 'no reason given')}; "
            "--rpc-tracker and --rpc-key check it on a board"
        )
    return lines


def _where(check: Mapping[str, Any]) -> str:
    on = check.get("on")
    if not on:
        return ""
    return f" on {'an emulated board' if on.get('emulated') else 'the board'} at {on['board']}"
