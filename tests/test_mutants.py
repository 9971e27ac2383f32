"""scripts/mutants.py: which bugs it makes, and that the changed module is the one under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import by_path
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "mutants.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return by_path.module("scripts/mutants.py", "mutants_script")


@pytest.mark.parametrize(
    ("source", "bug"),
    [
        ("LIMIT = 2.0", "LIMIT = 3.0"),
        ("LIMIT = 2.0", "LIMIT = 20.0"),
        ("found = a < b", "found = a <= b"),
        ("found = a < b", "found = a > b"),
        ("found = a and b", "found = a or b"),
        ("found = f(a, b)", "found = f(b, a)"),
        ("found = f(a, b)", "found = f(a)"),
        ("f(a)", "pass"),
        ("@property\ndef f(a):\n    return not a", "@property\ndef f(a):\n    return a"),
        ("found = d['key']", "found = d['XXkeyXX']"),
    ],
)
def test_each_kind_of_bug_is_put_in(script: ModuleType, source: str, bug: str) -> None:
    assert bug in [mutant.code.replace(", )", ")") for mutant in script.mutants(source)]


@pytest.mark.parametrize(
    "source",
    [
        '"""Text for people."""',
        "import a",
        "if TYPE_CHECKING:\n    b = 1",
        "x: Annotated[int, 1]",
    ],
)
def test_what_is_never_wrong_stays(script: ModuleType, source: str) -> None:
    assert script.mutants(source) == []


def test_text_for_people_stays_and_no_bug_comes_twice(script: ModuleType) -> None:
    codes = [mutant.code for mutant in script.mutants("raise ValueError('no such board')")]
    assert codes == ["raise ValueError(None)"]


def test_a_mirror_test_has_the_modules_place(script: ModuleType) -> None:
    found = script.mirror(script.ROOT / "tvmkd" / "tuning" / "scheduler.py")
    assert found == script.ROOT / "tests" / "tuning" / "test_scheduler.py"


@pytest.mark.slow
def test_a_run_prints_the_score() -> None:
    arguments = ["tvmkd/tuning/scheduler.py", "--sample", "2", "--at-least", "0"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=SCRIPT.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tvmkd/tuning/scheduler.py: 2 bugs; the tests take ")
    missed = sum(line.startswith("  not noticed: scheduler.py:") for line in lines)
    assert lines[-1].startswith(f"tvmkd/tuning/scheduler.py: {2 - missed} of 2 noticed, ")
