"""Requests for inference and their responses, in JSON and with binary tensors."""

import array
import json
import math
from typing import Any, Dict, List, Optional, Tuple

from .protocol import Fault

LENGTH = "inference-header-content-length"


def invalid(text: str) -> Fault:
    """A request that is wrong whenever it is sent."""
    return Fault("invalid", text)


def no_constant(name: str) -> None:
    """JSON has no Infinity and no NaN."""
    raise ValueError(name + " is not a JSON number")


def parse_json(text: bytes) -> Dict[str, Any]:
    """A JSON object, strictly."""
    try:
        found = json.loads(text.decode("utf-8"), parse_constant=no_constant)
        if b"\\u" in text:
            json.dumps(found, ensure_ascii=False).encode("utf-8")  # refuses half a surrogate pair
    except RecursionError:
        raise invalid("the JSON is nested too deeply")
    except ValueError as error:
        raise invalid("the request is not JSON: " + str(error)[:120])
    if not isinstance(found, dict):
        raise invalid("the request has to be a JSON object")
    return found


def parameters_of(content: Dict[str, Any]) -> Dict[str, Any]:
    """The parameters of a request, an input or an output."""
    found = content.get("parameters")
    if found is not None and not isinstance(found, dict):
        raise invalid("parameters: has to be a JSON object")
    return found or {}


def read_request(model: Dict[str, Any], body: bytes, head: int) -> Dict[str, Any]:
    """What a request says: ``id``, ``timeout`` (seconds), ``inputs`` (bytes), ``outputs``.

    Args:
        model: what its library says: ``inputs`` and ``outputs``.
        body: the whole request.
        head: bytes of its JSON part.
    """
    content = parse_json(body[:head])
    name = content.get("id")
    if name is not None and not isinstance(name, str):
        raise invalid("id: has to be a string")
    given = parameters_of(content)
    timeout = given.get("timeout", 0)
    if isinstance(timeout, str) and timeout.isdigit() and len(timeout) < 19:
        timeout = int(timeout)
    if type(timeout) is not int or not 0 <= timeout < 2**63:
        raise invalid("parameters: timeout has to be a number of microseconds")
    if any(given.get(key) for key in ("sequence_id", "sequence_start", "sequence_end")):
        raise invalid("parameters: the model has no sequences")
    binary = given.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise invalid("parameters: binary_data_output has to be true or false")
    return {
        "id": name,
        "timeout": timeout / 1e6,
        "inputs": read_inputs(model["inputs"], content, memoryview(body)[head:]),
        "outputs": read_outputs(model["outputs"], content, binary),
    }


def entries(content: Dict[str, Any], key: str) -> List[Dict[str, Any]]:
    """A list of objects with a name."""
    found = content.get(key)
    good = isinstance(found, list) and all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in found
    )
    if not good:
        raise invalid(key + ": has to be a list of objects with a name")
    assert isinstance(found, list)
    return found


def number_of(tensors: List[Dict[str, Any]], kind: str, name: str) -> int:
    """The position of the tensor with this name."""
    names = [tensor["name"] for tensor in tensors]
    if name not in names:
        known = ", ".join(map(repr, names))
        raise invalid("there is no %s %r (%ss: %s)" % (kind, name[:64], kind, known))
    return names.index(name)


def read_inputs(
    tensors: List[Dict[str, Any]], content: Dict[str, Any], binary: memoryview
) -> List[Any]:
    """The bytes of each input, in the model's order."""
    found: List[Any] = [None] * len(tensors)
    at = 0
    for entry in entries(content, "inputs"):
        number = number_of(tensors, "input", entry["name"])
        tensor, where = tensors[number], "input %r" % entry["name"]
        if found[number] is not None:
            raise invalid(where + " is given twice")
        if entry.get("datatype") != tensor["datatype"]:
            wanted, got = tensor["datatype"], entry.get("datatype")
            raise invalid("%s: the datatype is %s, not %r" % (where, wanted, got))
        shape = entry.get("shape")
        if not isinstance(shape, list) or any(type(size) is not int for size in shape):
            raise invalid(where + ": the shape has to be a list of sizes")
        if shape != tensor["shape"]:
            raise invalid("%s: the shape is %s, not %s" % (where, tensor["shape"], shape[:16]))
        size = parameters_of(entry).get("binary_data_size")
        if size is None:
            found[number] = from_json(tensor, entry.get("data"), where)
            continue
        if "data" in entry:
            raise invalid(where + ": has both data and binary_data_size")
        if type(size) is not int or size != tensor["bytes"]:
            raise invalid("%s: binary_data_size has to be %d" % (where, tensor["bytes"]))
        found[number] = binary[at : at + size]
        at += size
    for tensor, data in zip(tensors, found):
        if data is None:
            raise invalid("input %r is missing" % tensor["name"])
    if at != len(binary):
        text = "%d bytes follow the JSON part, and its inputs have %d" % (len(binary), at)
        raise invalid(text)
    return found


def flat(data: List[Any], shape: List[int]) -> Optional[List[Any]]:
    """Values that are nested as the shape says, in one list; None: they are not."""
    if len(data) != shape[0]:
        return None
    if len(shape) == 1:
        return None if any(isinstance(each, list) for each in data) else data
    values: List[Any] = []
    for each in data:
        inner = flat(each, shape[1:]) if isinstance(each, list) else None
        if inner is None:
            return None
        values += inner
    return values


def from_json(tensor: Dict[str, Any], data: Any, where: str) -> bytes:
    """Values in JSON, flat or nested, as bytes."""
    letter = tensor["letter"]
    if not letter:
        kind = tensor["datatype"]
        raise invalid("%s: %s has no form in JSON; send it as binary data" % (where, kind))
    if not isinstance(data, list):
        raise invalid(where + ": has neither data nor binary_data_size")
    values: Optional[List[Any]] = data
    if data and isinstance(data[0], list):
        values = flat(data, tensor["shape"]) if tensor["shape"] else None
    if values is None or len(values) != tensor["count"]:
        raise invalid("%s: data does not have the shape %s" % (where, tensor["shape"]))
    allowed = {"?": (bool,), "f": (int, float), "d": (int, float)}.get(letter, (int,))
    if any(type(value) not in allowed for value in values):
        raise invalid("%s: data has values that are no %s" % (where, tensor["datatype"]))
    if letter == "?":
        return bytes(values)
    try:
        found = array.array(letter, values)
        # JSON has no infinite numbers: such a value was too large.
        if letter in "fd" and values and math.isinf(max(max(found), -min(found))):
            raise OverflowError
    except OverflowError:
        raise invalid("%s: data has values outside of %s" % (where, tensor["datatype"]))
    return found.tobytes()


def read_outputs(
    tensors: List[Dict[str, Any]], content: Dict[str, Any], by_default: bool
) -> List[Tuple[int, bool]]:
    """The position of each requested output, and whether it is returned as bytes."""
    found = [(number, by_default) for number in range(len(tensors))]
    if content.get("outputs") not in (None, []):
        found = []
        for entry in entries(content, "outputs"):
            number = number_of(tensors, "output", entry["name"])
            given = parameters_of(entry)
            if number in [known for known, _ in found]:
                raise invalid("output %r is requested twice" % entry["name"])
            if given.get("classification"):
                raise invalid("the classification extension is not supported")
            binary = given.get("binary_data", by_default)
            if not isinstance(binary, bool):
                raise invalid("output %r: binary_data has to be true or false" % entry["name"])
            found.append((number, binary))
    for number, binary in found:
        if not binary and not tensors[number]["letter"]:
            raise invalid("output %r: %s has no form in JSON; request it with \"parameters\": "
                          '{"binary_data": true}'
                          % (tensors[number]["name"], tensors[number]["datatype"]))  # fmt: skip
    return found


def write_response(name: str, model: Dict[str, Any], plan: Dict[str, Any], outputs: List[bytes],
             exit_taken: int) -> Tuple[int, bytes]:  # fmt: skip
    """Bytes of the JSON part (0: it is all JSON), and the body of a response."""
    rows, parts = [], []
    for number, binary in plan["outputs"]:
        tensor, data = model["outputs"][number], outputs[number]
        row = {key: tensor[key] for key in ("name", "datatype", "shape")}
        if binary:
            row["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
        elif tensor["letter"] == "?":
            row["data"] = [bool(value) for value in data]
        elif tensor["letter"] == "f":
            # Nine digits tell all floats apart; repr would show those of the double.
            row["data"] = [float("%.9g" % value) for value in array.array("f", data)]
        else:
            row["data"] = array.array(tensor["letter"], data).tolist()
        rows.append(row)
    content: Dict[str, Any] = {"model_name": name, "model_version": "1"}
    if plan["id"] is not None:
        content["id"] = plan["id"]
    if model["exits"] > 1:
        content["parameters"] = {"exit": exit_taken}
    content["outputs"] = rows
    try:
        head = json.dumps(content, allow_nan=False).encode()
    except ValueError:
        raise Fault("failed", "an output has infinite values or NaN, which JSON cannot hold; "
                    'request binary data: "parameters": {"binary_data_output": true}')  # fmt: skip
    return (len(head) if parts else 0), b"".join([head, *parts])
