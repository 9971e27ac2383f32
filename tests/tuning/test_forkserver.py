"""What the forkserver does when the process it works for is gone. Its builds: test_builder.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tvmkd.tuning.forkserver import _verdict


def test_a_killed_tuner_leaves_neither_forkserver_nor_folder() -> None:
    code = (
        "import sys; from tvmkd.runtime.tvm_process import import_compiler\n"
        "tvm = import_compiler()\n"
        "from tvmkd.tuning.builder import WarmBuilder\n"
        "builder = WarmBuilder(tvm.ir.save_json(tvm.target.Target('llvm')))\n"
        "builder.warm_up(); print(builder.pid, builder.folder, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tuner:
        assert tuner.stdout is not None
        pid, folder = tuner.stdout.readline().split()
        assert Path(folder).is_dir()
        os.kill(tuner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while (Path(f"/proc/{pid}").exists() or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert not Path(folder).exists()


def test_verdicts(tmp_path: Path) -> None:
    stem = tmp_path / "k1"
    assert _verdict(3 << 8, stem) == ("build_error", "exit code 3")
    Path(f"{stem}.log").write_text("x" * 5000 + "the end\n")
    kind, message = _verdict(3 << 8, stem)
    assert kind == "build_error"
    assert message.endswith("the end")
    assert len(message) == 2000
    kind, message = _verdict(signal.SIGABRT, stem)
    assert kind == "build_crash"
    assert "SIGABRT" in str(message)


def test_a_build_may_take_so_much_memory_and_no_more() -> None:
    code = (
        "from tvmkd.tuning.forkserver import _limit_memory; _limit_memory(64 << 20)\n"
        "bytearray(16 << 20); print('some', flush=True); bytearray(256 << 20); print('much')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "some\n"
    assert "MemoryError" in done.stderr
