"""Requests in JSON and binary, without a server."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from tvmkd.deploy.board_server.codec import flat, read_request, write_response
from tvmkd.deploy.board_server.protocol import DTYPES, Fault


def tensor(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    protocol, letter, size = DTYPES[dtype]
    count = 1
    for each in shape:
        count *= each
    return {"name": name, "datatype": protocol, "letter": letter, "shape": shape,
            "bytes": count * size, "count": count}  # fmt: skip


def model(dtype: str, shape: list[int]) -> dict[str, Any]:
    return {
        "inputs": [tensor("x", dtype, shape)],
        "outputs": [tensor("y", dtype, shape)],
        "exits": 1,
    }


def sent(dtype: str, shape: list[int], data: Any) -> bytes:
    """The bytes of an input that came as JSON."""
    entry = {"name": "x", "datatype": DTYPES[dtype][0], "shape": shape, "data": data}
    body = json.dumps({"inputs": [entry]}).encode()
    return bytes(read_request(model(dtype, shape), body, len(body))["inputs"][0])


@pytest.mark.parametrize(
    ("dtype", "values", "wanted"),
    [
        ("float32", [1, 2.5], struct.pack("=2f", 1, 2.5)),
        ("float64", [1e300, -0.0], struct.pack("=2d", 1e300, -0.0)),
        ("int64", [2**63 - 1, -(2**63)], struct.pack("=2q", 2**63 - 1, -(2**63))),
        ("uint64", [2**64 - 1, 0], struct.pack("=2Q", 2**64 - 1, 0)),
        ("int8", [-128, 127], b"\x80\x7f"),
        ("bool", [True, False], b"\x01\x00"),
    ],
)
def test_values(dtype: str, values: list[Any], wanted: bytes) -> None:
    assert sent(dtype, [2], values) == wanted
    assert sent(dtype, [1, 2], [values]) == wanted


@pytest.mark.parametrize(
    ("dtype", "values", "said"),
    [
        ("float32", [1, 1e300], "outside of FP32"),
        ("float32", [1, -1e300], "outside of FP32"),
        ("float64", [1, 10**400], "outside of FP64"),
        ("int8", [128, 0], "outside of INT8"),
        ("uint8", [-1, 0], "outside of UINT8"),
        ("int32", [1.0, 2], "no INT32"),
        ("float32", [True, 1.0], "no FP32"),
        ("bool", [1, 0], "no BOOL"),
        ("float32", ["1", "2"], "no FP32"),
        ("float16", [1, 2], "no form in JSON"),
        ("float32", [1], "does not have the shape"),
        ("float32", [[1], [2]], "does not have the shape"),
        ("float32", {"0": 1}, "neither data"),
    ],
)
def test_wrong_values(dtype: str, values: Any, said: str) -> None:
    with pytest.raises(Fault, match=said) as caught:
        sent(dtype, [2], values)
    assert caught.value.kind == "invalid"


def test_nested_lists_have_the_shape_or_are_refused() -> None:
    assert flat([[1, 2, 3], [4, 5, 6]], [2, 3]) == [1, 2, 3, 4, 5, 6]
    assert flat([[[1], [2]], [[3], [4]]], [2, 2, 1]) == [1, 2, 3, 4]
    for wrong in ([[1, 2], [3, 4], [5, 6]], [[1, 2, 3], [4, 5]], [[1, 2, 3], 4], [[[1, 2, 3]] * 2]):
        assert flat(wrong, [2, 3]) is None


@pytest.mark.parametrize("value", [0.1, 1 / 3, 16777217.0, 1e-45, 3.4028235e38])
def test_a_float_comes_back_as_it_was(value: float) -> None:
    data = struct.pack("=f", value)
    plan = {"id": "a", "outputs": [(0, False)]}
    head, body = write_response("m", model("float32", [1]), plan, [data], 0)
    assert head == 0
    content = json.loads(body)
    assert struct.pack("=f", *content["outputs"][0]["data"]) == data
    assert (content["model_name"], content["model_version"], content["id"]) == ("m", "1", "a")


def test_what_json_cannot_hold() -> None:
    plan = {"id": None, "outputs": [(0, False)]}
    with pytest.raises(Fault, match="JSON cannot hold") as caught:
        write_response("m", model("float32", [1]), plan, [struct.pack("=f", float("nan"))], 0)
    assert caught.value.kind == "failed"
    plan["outputs"] = [(0, True)]
    head, body = write_response("m", model("float32", [1]), plan, [b"\0\0\xc0\x7f"], 0)
    assert body[head:] == b"\0\0\xc0\x7f"
