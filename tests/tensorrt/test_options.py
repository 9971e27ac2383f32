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
        ({"batch": (1, 4, 2)}, "smallest ≤ best ≤ largest"),
        ({"batch": (3, 2, 4)}, "smallest ≤ best ≤ largest"),
        ({"workspace_mib": -1}, "at least 1"),
        ({"compute_capability": "sm_86"}, "for example 8.6"),
        ({"compute_capability": "8.60"}, "for example 8.6"),
        ({"compute_capability": "8"}, "for example 8.6"),
        ({"compute_capability": ".6"}, "for example 8.6"),
        ({"compute_capability": ""}, "for example 8.6"),
    ],
)
def test_invalid_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BuildOptions(**values)


def test_the_identity_has_every_option_that_changes_an_engine() -> None:
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


@pytest.mark.parametrize(
    "values",
    [
        *({"precision": precision} for precision in ("fp32", "tf32", "fp16", "int8")),
        {"workspace_mib": 1},
        {"batch": (1, 1, 1)},
        {"batch": (1, 4, 4)},
        {"batch": (4, 4, 8)},
        {"compute_capability": "12.0"},
    ],
)
def test_valid_values_are_accepted(values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    assert BuildOptions(**values).identity()[name] == value


def digest(samples: dict[str, np.ndarray] | None) -> Any:
    return BuildOptions(calibration=samples).identity()["calibration"]


def test_calibration_counts_with_names_types_shapes_and_values() -> None:
    six = np.arange(6, dtype=np.float32)
    samples: list[dict[str, np.ndarray] | None] = [
        None,
        {},
        {"a": six},
        {"b": six},
        {"a": six, "b": six},
        {"a": six + 1},
        {"a": six.reshape(2, 3)},
        {"a": six.reshape(3, 2)},
        {"a": six.view(np.int32)},
        {"a": six.reshape(2, 3).T},
        {"a": np.zeros(6, np.float32)},
        {"b": np.zeros(6, np.float32)},
        {"a": np.zeros(6, np.float32), "b": six},
        {"b": np.zeros(6, np.float32), "a": six},
    ]
    digests = [digest(each) for each in samples]
    assert len(set(digests)) == len(digests)
    assert digests[0] is None


def test_the_same_calibration_is_the_same_engine() -> None:
    a, b = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    assert digest({"a": a, "b": b}) == digest({"b": b.copy(), "a": a.copy()})
    transposed = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert digest({"a": transposed}) == digest({"a": np.ascontiguousarray(transposed)})
