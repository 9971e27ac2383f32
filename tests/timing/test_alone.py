from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.timing.alone import run_alone

MODULE = """
import json, os, sys
if sys.argv[1] == "fail":
    print("on stdout")
    print("first", file=sys.stderr)
    sys.exit("it is damaged " + "x" * 400)
if sys.argv[1] == "silent":
    sys.exit(3)
print(json.dumps([sys.argv[1:], os.environ["TVM_NUM_THREADS"]]))
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "times_something.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_arguments_and_threads_arrive_and_json_comes_back() -> None:
    found = run_alone("times_something", [Path("a b"), 0.5], 3, "the subject")
    assert found == [["a b", "0.5"], "3"]


def test_what_fails_is_one_line_with_the_last_words() -> None:
    with pytest.raises(InputError) as caught:
        run_alone("times_something", ["fail"], 1, "out/artifact")
    start = "out/artifact: could not be timed: it is damaged xxx"
    assert str(caught.value).startswith(start)
    assert len(str(caught.value)) == len("out/artifact: could not be timed: ") + 300
    with pytest.raises(InputError, match="could not be timed: no message"):
        run_alone("times_something", ["silent"], 1, "out/artifact")
