from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import UsageError
from tvmkd.tensorrt.options import BuildOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "fp8"}, '"fp8" is no precision'),
        ({"workspace_mib": 0}, "at least 1"),
        ({"batch": (4, 2, 8)}, "smallest ≤ best ≤ largest"),
        ({"batch": (0, 2, 8)}, "from 1"),
        ({"compute_capability": "sm_86"}, "for example 8.6"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BuildOptions(**values)


def test_what_changes_an_engine_is_its_identity() -> None:
    plain = BuildOptions()
    same = BuildOptions(verbose=True, timing_cache=Path("t"))
    assert plain.identity() == same.identity()
    samples = [{"x": np.zeros((2, 3), np.float32)}, {"x": np.ones((2, 3), np.float32)}]
    others = [
        BuildOptions(precision="tf32"),
        BuildOptions(workspace_mib=1),
        BuildOptions(batch=(1, 2, 4)),
        BuildOptions(dims={"width": 8}),
        BuildOptions(compute_capability="8.6"),
        BuildOptions(keep_fp32=("head",)),
        *(BuildOptions(calibration=sample) for sample in samples),
    ]
    identities = [repr(options.identity()) for options in (plain, *others)]
    assert len(set(identities)) == len(identities)
