from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
before = list(sys.path)
import onnxruntime.transformers
sys.path[:] = before
from tvmkd.export import ort_tools
ort_tools.importable()
import onnxruntime.quantization
"""


def test_they_are_found_after_somebody_restored_the_path() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], timeout=120, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
