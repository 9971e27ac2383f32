"""Every template: its kernels are known, its members are legal, and they compute it right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.locks import Lock

NAMES = [
    name + suffix
    for name in (
        *("convolution", "strided", "ragged", "depthwise", "odd depthwise", "dense"),
        *("winograd product", "winograd input", "winograd output", "pooling", "elementwise"),
    )
    for suffix in ("", " and ReLU")
]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of `try_templates`, which runs once for all processes of a parallel run."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    found = folder / "templates.json"
    with Lock(folder / "templates.lock", "trying templates", "wait", wait=lambda _: None):
        if not found.exists():
            done = subprocess.run(
                [sys.executable, Path(__file__).with_name("try_templates.py")],
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            found.write_text(done.stdout.splitlines()[-1])
    result: dict[str, Any] = json.loads(found.read_text())
    return result


@pytest.mark.parametrize("name", NAMES)
def test_members_compute_what_the_kernel_does(name: str, facts: dict[str, Any]) -> None:
    kernel = facts["kernels"][name]
    assert kernel["size"] > 0, "no template knows it"
    assert kernel["legal"] >= 0.5
    assert kernel["error"] < 1e-5


def test_proposals_end_and_never_repeat(facts: dict[str, Any]) -> None:
    keys = facts["proposals"]["all"]
    assert len(keys) == len(set(keys)) > 20


def test_the_same_seed_proposes_the_same(facts: dict[str, Any]) -> None:
    proposals = facts["proposals"]
    assert proposals["again"] == proposals["all"]
    assert proposals["other"] != proposals["all"]
    assert set(proposals["other"]) == set(proposals["all"])


def test_a_resumed_session_gets_what_was_not_measured(facts: dict[str, Any]) -> None:
    proposals = facts["proposals"]
    assert set(proposals["resumed"]) == set(proposals["all"][-2:])
