"""Values in JSON: exact limits of each type, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fake_models import fault_of, tensor

from tvmkd.deploy.serving import tensor_json


@pytest.mark.parametrize(
    ("dtype", "values", "text"),
    [
        ("uint8", [0, 255], None),
        ("uint8", [0, 256], "outside of UINT8"),
        ("uint8", [-1, 0], "outside of UINT8"),
        ("int8", [-128, 127], None),
        ("int8", [-129, 0], "outside of INT8"),
        ("int64", [-(2**63), 2**63 - 1], None),
        ("int64", [0, 2**63], "outside of INT64"),
        ("uint64", [0, 2**64 - 1], None),
        ("uint64", [0, 2**64], "outside of UINT64"),
        ("int32", [1.0, 2], "values that are no INT32"),
        ("int32", [True, 2], "values that are no INT32"),
        ("bool", [True, False], None),
        ("bool", [1, 0], "values that are no BOOL"),
        ("float64", [1e308, 5], None),
        ("float64", [10**309, 5], "outside of FP64"),
        ("float32", [3.4e38, -3.4e38], None),
        ("float32", [0, 3.5e38], "outside of FP32"),
        ("float32", [0, -3.5e38], "outside of FP32"),
        ("float16", [1.0, 2.0], "send it as binary data"),
        ("bfloat16", [1.0, 2.0], "send it as binary data"),
    ],
)
def test_values_of_each_type(dtype: str, values: list[Any], text: str | None) -> None:
    wanted = tensor("v", (2,), dtype)
    if text is None:
        assert tensor_json.from_json(wanted, (2,), values) == np.array(values, dtype).tobytes()
    else:
        assert text in fault_of(tensor_json.from_json, wanted, (2,), values).message


def test_an_empty_tensor() -> None:
    assert tensor_json.from_json(tensor("v", ("n", 4)), (0, 4), []) == b""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([[1, 2], [3, 4], [5, 6]], "does not have the shape [2, 3]"),
        ([1, 2, 3, 4, 5], "does not have the shape [2, 3]"),
        ([], "does not have the shape [2, 3]"),
        ([[1, 2, 3], [4, 5]], "input 'v'"),
        ([[1, 2, 3], 4], "input 'v'"),
        ([{}] * 6, "values that are no FP32"),
        (["x" * 1_000_000] * 6, "values that are no FP32"),
        ({"0": 1}, "neither data nor"),
        (None, "neither data nor"),
    ],
)
def test_data_of_another_form(data: Any, text: str) -> None:
    fault = fault_of(tensor_json.from_json, tensor("v", (2, 3)), (2, 3), data)
    assert text in fault.message
    assert len(fault.message) < 200


def test_lists_deeper_than_numpy_can_go() -> None:
    data: Any = [1]
    for _ in range(100):
        data = [data]
    fault = fault_of(tensor_json.from_json, tensor("v", (1,)), (1,), data)
    assert fault.status == 400


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint64", "float32", "float64"])
def test_there_and_back(dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 8) if dtype == "bool" else 100 * rng.standard_normal(8)
    array = values.astype(np.int64).astype(dtype) if "float" not in dtype else values.astype(dtype)
    wanted = tensor("v", (2, 4), dtype)
    data = tensor_json.to_json(wanted, array.tobytes())
    assert tensor_json.from_json(wanted, (2, 4), json.loads(json.dumps(data))) == array.tobytes()
    nested = np.array(data, object).reshape(2, 4).tolist()
    assert tensor_json.from_json(wanted, (2, 4), nested) == array.tobytes()
    assert type(data[0]) is (bool if dtype == "bool" else float if "float" in dtype else int)
