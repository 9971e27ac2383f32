from __future__ import annotations

import subprocess
import sys


def test_an_engine_process_holds_little_before_its_engine() -> None:
    code = (
        "import sys, tvmkd.bench.host\n"
        "heavy = {'numpy', 'torch', 'tvm', 'onnxruntime', 'pydantic', 'rich'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
