from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from tvmkd.export import ort_tools

CODE = """
import sys
before = list(sys.path)
import onnxruntime.transformers
sys.path[:] = before
from tvmkd.export import ort_tools
ort_tools.importable()
import onnxruntime.quantization
"""


def test_the_tools_are_found_after_sys_path_was_restored() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], timeout=120, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def talk_and_stop() -> None:
    with ort_tools.quiet():
        warnings.warn("a warning", stacklevel=1)
        logging.getLogger("converter").warning("a message")
        logging.getLogger("converter").error("a failure")
        raise RuntimeError("stop")


def test_quiet_hides_warnings_and_restores_the_state(caplog: pytest.LogCaptureFixture) -> None:
    try:
        logging.disable(logging.DEBUG)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RuntimeError, match="stop"):
                talk_and_stop()
            with pytest.raises(UserWarning, match="again"):
                warnings.warn("again", stacklevel=1)
        assert caplog.messages == ["a failure"]
        assert logging.root.manager.disable == logging.DEBUG
    finally:
        logging.disable(logging.NOTSET)
