from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers import check, prepared, unknown

from tvmkd.base.errors import InputError
from tvmkd.bench.engines.openvino import plain

ERROR = """Exception from src/inference/src/cpp/core.cpp:84:
Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted.
Summary:
-- No conversion rule found for operations: my.ops.Foo

"""


def test_an_error_is_told_without_places_in_sources() -> None:
    short = "Model wasn't fully converted. -- No conversion rule found for operations: my.ops.Foo"
    assert plain(RuntimeError(ERROR)) == short
    assert plain(RuntimeError("Check 'a' failed")) == "Check 'a' failed"
    assert plain(RuntimeError("")) == "RuntimeError"


def test_runs_in_fp32_on_the_given_threads(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs openvino: pip install openvino")
    facts = check("openvino", tmp_path).facts()
    assert facts["inference_num_threads"] == "1"
    assert facts["inference_precision_hint"] == "<Type: 'float32'>"


def test_a_file_that_it_does_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs openvino: pip install openvino")
    path = unknown(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m\.onnx: OpenVINO cannot compile it: .*my\.ops\.Foo"):
        prepared("openvino", path, {"x": np.zeros((1, 3), np.float32)})
