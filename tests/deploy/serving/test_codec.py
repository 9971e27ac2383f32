"""REST requests that are read or refused, and the bodies of responses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fake_models import fault_of, served, spec

from tvmkd.deploy.serving import codec
from tvmkd.deploy.serving.call import Result

X = np.array([[1.5, -2, 3, 4]], np.float32)
Y = X + 7


def entry(name: str, data: Any = None, **more: Any) -> dict[str, Any]:
    found = {"name": name, "datatype": "FP32", "shape": [1, 4], **more}
    return found if data is None else {**found, "data": data}


def binary(name: str, size: Any = 16, **more: Any) -> dict[str, Any]:
    return entry(name, parameters={"binary_data_size": size}, **more)


BOTH = [entry("x", X.ravel().tolist()), entry("y", Y.tolist())]


def read(model: Any, content: Any, tail: bytes = b"") -> tuple[codec.Plan, list[bytes]]:
    """The plan of a request, and the bytes of its inputs."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    plan = codec.plan(model, text + tail, len(text))
    return plan, [bytes(each) for each in plan.inputs(text + tail, len(text))]


def test_values_in_json_flat_and_nested() -> None:
    plan, inputs = read(served(), {"inputs": BOTH, "id": "a 7", "parameters": {"timeout": 5}})
    assert inputs == [X.tobytes(), Y.tobytes()]
    assert plan.shapes == [(1, 4), (1, 4)]
    assert (plan.request_id, plan.timeout_us) == ("a 7", 5)
    assert (plan.outputs, plan.as_binary) == ((0, 1), (False, False))


def test_binary_data_in_the_order_of_the_request() -> None:
    content = {"inputs": [binary("y"), binary("x")]}
    _, inputs = read(served(), content, Y.tobytes() + X.tobytes())
    assert inputs == [X.tobytes(), Y.tobytes()]


def test_json_and_binary_data_in_one_request() -> None:
    _, inputs = read(served(), {"inputs": [BOTH[0], binary("y")]}, Y.tobytes())
    assert inputs == [X.tobytes(), Y.tobytes()]


def test_requested_outputs() -> None:
    outputs = [{"name": "b", "parameters": {"binary_data": False}}, {"name": "a"}]
    content = {"inputs": BOTH, "outputs": outputs, "parameters": {"binary_data_output": True}}
    plan, _ = read(served(), content)
    assert (plan.outputs, plan.as_binary) == ((1, 0), (False, True))
    plan, _ = read(served(), {**content, "outputs": []})
    assert (plan.outputs, plan.as_binary) == ((0, 1), (True, True))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"inputs": [NaN]}', "NaN is not a JSON number"),
        (b'{"inputs": [-Infinity]}', "-Infinity is not a JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        ([], "a JSON object"),
        ({}, "inputs: has to be a list"),
        ({"inputs": {}}, "inputs: has to be a list"),
        ({"inputs": [1]}, "inputs: has to be a list"),
        ({"inputs": [{"name": 1}]}, "inputs: has to be a list"),
        ({"inputs": BOTH[:1]}, "input 'y' is missing"),
        ({"inputs": [*BOTH, BOTH[0]]}, "input 'x' is given twice"),
        ({"inputs": [entry("z", [1])]}, "there is no input 'z' (inputs: 'x', 'y')"),
        ({"inputs": BOTH, "id": 7}, "id: has to be a string"),
        ({"inputs": BOTH, "parameters": []}, "parameters: has to be a JSON object"),
        ({"inputs": BOTH, "parameters": {"sequence_id": 1}}, "no sequences"),
        ({"inputs": BOTH, "parameters": {"binary_data_output": 1}}, "true or false"),
        ({"inputs": BOTH, "outputs": [{"name": "x"}]}, "there is no output 'x'"),
        ({"inputs": BOTH, "outputs": [{"name": "a"}, {"name": "a"}]}, "requested twice"),
        ({"inputs": BOTH, "outputs": "a"}, "outputs: has to be a list"),
        ({"inputs": BOTH, "outputs": [{"name": "a", "parameters": {"binary_data": 1}}]},
         "true or false"),
        ({"inputs": BOTH, "outputs": [{"name": "a", "parameters": {"classification": 3}}]},
         "classification"),
        ({"inputs": [entry("x"), BOTH[1]]}, "neither data nor binary_data_size"),
        ({"inputs": [entry("x", [1, 2, 3]), BOTH[1]]}, "does not have the shape [1, 4]"),
        ({"inputs": [entry("x", [[1, 2], [3, 4]]), BOTH[1]]}, "does not have the shape [1, 4]"),
        ({"inputs": [entry("x", [[1, 2, 3], [4]]), BOTH[1]]}, "input 'x'"),
        ({"inputs": [entry("x", [1, 2, 3, "4"]), BOTH[1]]}, "values that are no FP32"),
        ({"inputs": [entry("x", [1, 2, 3, True]), BOTH[1]]}, "values that are no FP32"),
        ({"inputs": [entry("x", [1, 2, 3, None]), BOTH[1]]}, "values that are no FP32"),
        ({"inputs": [entry("x", [1, 2, 3, 1e39]), BOTH[1]]}, "values outside of FP32"),
        ({"inputs": [entry("x", [1, 2, 3, 10**400]), BOTH[1]]}, "values outside of FP32"),
        ({"inputs": [entry("x", "1234"), BOTH[1]]}, "neither data nor binary_data_size"),
        ({"inputs": [binary("x", 15), BOTH[1]]}, "binary_data_size has to be 16"),
        ({"inputs": [binary("x", True), BOTH[1]]}, "binary_data_size has to be 16"),
        ({"inputs": [binary("x", 16.0), BOTH[1]]}, "binary_data_size has to be 16"),
        ({"inputs": [binary("x", "16"), BOTH[1]]}, "binary_data_size has to be 16"),
        ({"inputs": [binary("x", data=[1] * 4), BOTH[1]]}, "both data and binary_data_size"),
        ({"inputs": [entry("x", [1] * 4, datatype="FP64"), BOTH[1]]}, "the datatype is FP32"),
        ({"inputs": [entry("x", [1] * 4, shape=[4]), BOTH[1]]}, "the shape is [1, 4], not [4]"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_with_a_line(content: Any, text: str) -> None:
    model = served()
    fault = fault_of(read, model, content)
    assert fault.status == 400
    assert text in fault.message
    assert len(fault.message) < 400
    assert model.cache == {}


@pytest.mark.parametrize("timeout", [-1, 1.5, True, "", "-1", "1.5", "²", 2**63, "9" * 30, [], {}])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    content = {"inputs": BOTH, "parameters": {"timeout": timeout}}
    assert "timeout has to be a number" in fault_of(read, served(), content).message


@pytest.mark.parametrize(("timeout", "found"), [(0, 0), ("250", 250), (2**63 - 1, 2**63 - 1)])
def test_a_timeout(timeout: Any, found: int) -> None:
    plan, _ = read(served(), {"inputs": BOTH, "parameters": {"timeout": timeout}})
    assert plan.timeout_us == found


@pytest.mark.parametrize("tail", [b"", bytes(15), bytes(17), bytes(32)])
def test_a_binary_part_of_another_length(tail: bytes) -> None:
    model = served()
    content = {"inputs": [binary("x"), BOTH[1]]}
    fault = fault_of(read, model, content, tail)
    assert f"{len(tail)} bytes follow the JSON part" in fault.message
    # The plan is kept, and the check is made each time.
    assert read(model, content, X.tobytes())[1][0] == X.tobytes()
    assert fault_of(read, model, content, tail).status == 400


def test_a_plan_is_reused_only_where_the_values_are_outside_of_it() -> None:
    model = served()
    content = {"inputs": [binary("x"), binary("y")]}
    first, _ = read(model, content, bytes(32))
    second, inputs = read(model, content, X.tobytes() + Y.tobytes())
    assert second is first
    assert inputs == [X.tobytes(), Y.tobytes()]
    read(model, {"inputs": BOTH})
    assert len(model.cache) == 1, "values in JSON hardly come twice"
    for number in range(3 * codec.MOST_CACHED):
        read(model, {**content, "id": str(number)}, bytes(32))
    assert len(model.cache) == codec.MOST_CACHED
    last, _ = read(model, {**content, "id": "z"}, bytes(32))
    assert last.request_id == "z"


def answered(model: Any, content: Any, *arrays: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """The JSON part of a response, and its binary part."""
    tail = bytes(32) if "binary_data_size" in json.dumps(content) else b""
    plan, _ = read(model, content, tail)
    result = Result([each.tobytes() for each in arrays], [each.shape for each in arrays])
    length, parts = codec.response(model, plan, result)
    body = b"".join(parts)
    return json.loads(body[: length or None]), body[length:] if length else b""


def test_a_response_in_json() -> None:
    found, tail = answered(served(version="3"), {"inputs": BOTH, "id": "q"}, X, Y)
    assert tail == b""
    assert found == {
        "model_name": "toy",
        "model_version": "3",
        "id": "q",
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 4], "data": X.ravel().tolist()},
            {"name": "b", "datatype": "FP32", "shape": [1, 4], "data": Y.ravel().tolist()},
        ],
    }


def test_a_response_with_one_binary_output() -> None:
    outputs = [{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}]
    found, tail = answered(served(), {"inputs": BOTH, "outputs": outputs}, X, Y)
    assert tail == Y.tobytes()
    assert [each["name"] for each in found["outputs"]] == ["b", "a"]
    assert found["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert found["outputs"][1]["data"] == X.ravel().tolist()
    assert "id" not in found


def test_the_head_of_a_binary_response_is_reused_and_its_values_are_not() -> None:
    model = served()
    content = {"inputs": [binary("x"), binary("y")], "parameters": {"binary_data_output": True}}
    first = answered(model, content, X, Y)
    second = answered(model, content, Y, X)
    assert first[0] == second[0]
    assert (first[1], second[1]) == (X.tobytes() + Y.tobytes(), Y.tobytes() + X.tobytes())


def test_with_free_dimensions_the_head_is_made_anew() -> None:
    model = served([spec("x", ("n", 4))], [spec("a", ("n", 2))])
    content = {
        "inputs": [binary("x", 32, shape=[2, 4])], "parameters": {"binary_data_output": True},
    }  # fmt: skip
    for rows in (2, 5):
        array = np.ones((rows, 2), np.float32)
        found, tail = answered(model, content, array)
        assert found["outputs"][0]["shape"] == [rows, 2]
        assert found["outputs"][0]["parameters"] == {"binary_data_size": 8 * rows}
        assert tail == array.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_json_lacks(value: float) -> None:
    wrong = np.full((1, 4), value, np.float32)
    fault = fault_of(answered, served(), {"inputs": BOTH}, X, wrong)
    assert fault.status == 500
    assert "binary_data_output" in fault.message


def test_an_output_without_a_form_in_json_has_to_be_requested_as_binary() -> None:
    model = served([spec("x"), spec("y")], [spec("a", dtype="float16")])
    fault = fault_of(read, model, {"inputs": BOTH})
    assert "output 'a': FP16 has no form in JSON" in fault.message
    half = X.astype(np.float16)
    content = {"inputs": BOTH, "parameters": {"binary_data_output": True}}
    assert answered(model, content, half)[1] == half.tobytes()
