from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import relay_stack

from tvmkd.runtime.interpreters import Interpreter


@pytest.mark.slow
def test_proposals_are_new_distinct_and_the_same_for_the_same_seed() -> None:
    runs = Interpreter("relay", relay_stack.relay_python(), "this test")
    done = subprocess.run(
        [runs.python, Path(__file__).with_name("try_sketch.py")],
        env={**os.environ, **runs.environment()},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, again, other = json.loads(done.stdout)
    keys = [key for each in one for key in each]
    assert [len(each) for each in one] == [8, 8, 8]
    assert len(set(keys)) == len(keys)
    assert one == again
    assert one != other
