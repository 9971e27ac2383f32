from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from suite_files import made

from tvmkd.base.errors import InputError
from tvmkd.suites import gpu_page

STEP = {"state": "ok", "text": "64 packages", "seconds": 12.3}
GPU = {"name": "NVIDIA <H200>", "capability": 90, "memory": 141 << 30}


def check(folder: Path, **more: object) -> None:
    steps = {"install": STEP, "tests": {**STEP, "state": "failed", "text": "2 failed: a, b"}}
    (folder / gpu_page.FILE).write_text(json.dumps({"steps": steps, **more}))


def test_steps_and_what_did_not_work(tmp_path: Path) -> None:
    tests = {"passed": 5, "failed": 2, "skipped": 1}
    check(tmp_path, gpus=[GPU], tests=tests)
    text = gpu_page.write(tmp_path).read_text()
    assert "NVIDIA &lt;H200&gt;: 1 of 2 steps worked" in text
    assert "did not work: 2 failed: a, b" in text
    assert "tests passed, 2 failed, 1 skipped" in text
    assert "141 GiB" in text


def test_the_suite_is_on_it_as_far_as_it_came(tmp_path: Path) -> None:
    folder = tmp_path / gpu_page.SUITE
    folder.mkdir()
    made(folder).save(folder)
    check(tmp_path)
    text = gpu_page.render(tmp_path)
    assert "no GPU: 1 of 2 steps worked" in text
    assert "Time for one call" in text
    assert "the 3 minutes were over" in text


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not what scripts/gpu_check\.sh writes"):
        gpu_page.render(tmp_path)
    command = [sys.executable, "-m", "tvmkd.suites.gpu_page", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
