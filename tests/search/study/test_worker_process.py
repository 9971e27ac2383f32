from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import stand_ins

from tvmkd.search.study import worker_process


def test_it_does_trials_and_tells(tmp_path: Path) -> None:
    cfg = stand_ins.toy(search={**stand_ins.SECTIONS["search"], "trials": 1})
    events: list[tuple[str, dict[str, Any]]] = []
    plan = stand_ins.plan(tmp_path, cfg).to_dict()
    params = {"plan": plan, "worker": 1}
    worker_process.work(params, lambda name, data: events.append((name, data)))
    assert events[-1] == ("trial", {"worker": 1})
    assert {data["worker"] for _, data in events} == {1}


def test_the_process_imports_nothing_heavy_before_it_is_called() -> None:
    code = "import sys, tvmkd.search.study.worker_process; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
