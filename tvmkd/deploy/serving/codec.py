"""Requests and responses of the REST form of the Open Inference Protocol, with binary tensors.

Sources: the Open Inference Protocol, "Inference REST API" (kserve.github.io), and Triton's "Binary
Tensor Data Extension" (docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tvmkd.deploy.serving.faults import RequestFault, invalid
from tvmkd.deploy.serving.tensor_json import from_json, to_json
from tvmkd.deploy.serving.tensors import WITHOUT_JSON, Tensor

if TYPE_CHECKING:
    from tvmkd.deploy.serving.call import Result
    from tvmkd.deploy.serving.repository import Served

BINARY_HEADER = b"inference-header-content-length"
MOST_CACHED, MOST_CACHED_BYTES = 64, 4096


@dataclass(frozen=True)
class Plan:
    """What the JSON part of a request says.

    Attributes:
        request_id: the client's; None: none.
        shapes: of the inputs, in the model's order.
        places: for each input the first and the last byte in the binary part; or its bytes.
        binary: bytes of the binary part.
        outputs: the position of each requested output.
        as_binary: for each, whether it is returned as bytes.
        timeout_us: the most that the request may take; 0: not said.
    """

    request_id: str | None
    shapes: Sequence[tuple[int, ...]]
    places: Sequence[tuple[int, int] | bytes]
    binary: int
    outputs: tuple[int, ...]
    as_binary: tuple[bool, ...]
    timeout_us: int
    head: list[bytes] = field(default_factory=list)
    """The JSON part of the response, once known, where nothing in it can change."""

    def inputs(self, body: bytes, head: int) -> list[bytes | memoryview]:
        """The bytes of each input.

        Args:
            body: the whole request.
            head: bytes of its JSON part.

        Raises:
            RequestFault: the binary part has another length than the JSON part says.
        """
        if len(body) - head != self.binary:
            raise invalid(
                f"{len(body) - head} bytes follow the JSON part, and its inputs have {self.binary}"
            )
        view = memoryview(body)
        return [
            place if isinstance(place, bytes) else view[head + place[0] : head + place[1]]
            for place in self.places
        ]


def plan(served: Served, body: bytes, head: int) -> Plan:
    """Reads the JSON part of a request.

    Args:
        served: the model that it asks for.
        body: the whole request.
        head: bytes of the JSON part.

    Raises:
        RequestFault: it is wrong.
    """
    text = body[:head]
    found: Plan | None = served.cache.get(text)
    if found is None:
        found = _read(served, text)
        # Clients send the same JSON part again and again: only the binary part changes.
        if head <= MOST_CACHED_BYTES and len(served.cache) < MOST_CACHED and found.binary:
            served.cache[text] = found
    return found


def _read(served: Served, text: bytes) -> Plan:
    content = parse_json(text)
    if not isinstance(content, dict):
        raise invalid("the request has to be a JSON object")
    request_id = content.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise invalid("id: has to be a string")
    parameters = _parameters(content, "parameters")
    timeout = parameters.get("timeout", 0)
    if isinstance(timeout, str) and timeout.isascii() and timeout.isdigit() and len(timeout) < 19:
        timeout = int(timeout)
    if type(timeout) is not int or not 0 <= timeout < 2**63:
        raise invalid("parameters: timeout has to be a number of microseconds")
    for name in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(name):
            raise invalid(f"parameters: {name}: the model has no sequences")
    shapes, places, binary = _inputs(served, content)
    by_default = parameters.get("binary_data_output", False)
    if not isinstance(by_default, bool):
        raise invalid("parameters: binary_data_output has to be true or false")
    outputs, as_binary = _outputs(served, content, by_default)
    return Plan(request_id, shapes, places, binary, outputs, as_binary, timeout)


def parse_json(text: bytes) -> Any:
    """JSON in UTF-8, strictly.

    Raises:
        RequestFault: it is not.
    """
    try:
        found = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
        if b"\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except RecursionError:
        raise invalid("the JSON is nested too deeply") from None
    except ValueError as error:
        raise invalid(f"the request is not JSON: {str(error)[:120]}") from None
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _parameters(content: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = content.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise invalid(f"{where}: has to be a JSON object")
    return found


def _entries(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in found
    ):
        raise invalid(f"{key}: has to be a list of objects with a name")
    return found


def _inputs(
    served: Served, content: Mapping[str, Any]
) -> tuple[list[tuple[int, ...]], list[tuple[int, int] | bytes], int]:
    count = len(served.inputs)
    shapes: list[tuple[int, ...] | None] = [None] * count
    places: list[tuple[int, int] | bytes] = [b""] * count
    end, free = 0, {}  # type: int, dict[str, int]
    for entry in _entries(content, "inputs"):
        name = entry["name"]
        number = served.input_numbers.get(name)
        if number is None:
            raise invalid(unknown("input", name, served.inputs))
        if shapes[number] is not None:
            raise invalid(f"input {name!r} is given twice")
        tensor = served.inputs[number]
        shape = tensor.check(entry.get("datatype"), entry.get("shape"), free)
        shapes[number] = shape
        nbytes = math.prod(shape) * tensor.itemsize
        size = _parameters(entry, f"input {name!r}: parameters").get("binary_data_size")
        if size is None:
            places[number] = from_json(tensor, shape, entry.get("data"))
            continue
        if "data" in entry:
            raise invalid(f"input {name!r}: has both data and binary_data_size")
        if type(size) is not int or size != nbytes:
            raise invalid(
                f"input {name!r}: binary_data_size has to be {nbytes} for the shape {list(shape)}"
            )
        places[number] = (end, end + size)
        end += size
    return complete(served, shapes), places, end


def complete(served: Served, shapes: Sequence[tuple[int, ...] | None]) -> list[tuple[int, ...]]:
    """The shapes, if every input is given.

    Raises:
        RequestFault: one is missing.
    """
    for tensor, shape in zip(served.inputs, shapes, strict=True):
        if shape is None:
            raise invalid(f"input {tensor.name!r} is missing")
    return [shape for shape in shapes if shape is not None]


def unknown(kind: str, name: str, known: Sequence[Tensor]) -> str:
    """The line for a name that no input or output has."""
    names = ", ".join(repr(tensor.name) for tensor in known)
    return f"there is no {kind} {name[:64]!r} ({kind}s: {names})"


def _outputs(
    served: Served, content: Mapping[str, Any], by_default: bool
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    if content.get("outputs") in (None, []):
        numbers = list(range(len(served.outputs)))
        binary = [by_default] * len(numbers)
    else:
        numbers, binary = [], []
        for entry in _entries(content, "outputs"):
            number = output_number(served, entry["name"])
            if number in numbers:
                raise invalid(f"output {entry['name']!r} is requested twice")
            parameters = _parameters(entry, f"output {entry['name']!r}: parameters")
            if parameters.get("classification"):
                raise invalid("the classification extension is not supported")
            as_binary = parameters.get("binary_data", by_default)
            if not isinstance(as_binary, bool):
                raise invalid(f"output {entry['name']!r}: binary_data has to be true or false")
            numbers.append(number)
            binary.append(as_binary)
    for number, as_binary in zip(numbers, binary, strict=True):
        tensor = served.outputs[number]
        if not as_binary and tensor.datatype in WITHOUT_JSON:
            raise invalid(
                f"output {tensor.name!r}: {tensor.datatype} has no form in JSON; request it with "
                '"parameters": {"binary_data": true}'
            )
    return tuple(numbers), tuple(binary)


def output_number(served: Served, name: str) -> int:
    """The position of an output.

    Raises:
        RequestFault: there is none of that name.
    """
    number = served.output_numbers.get(name)
    if number is None:
        raise invalid(unknown("output", name, served.outputs))
    return number


def response(served: Served, plan: Plan, result: Result) -> tuple[int, list[bytes]]:
    """The body of a response: bytes of its JSON part (0: it is all JSON) and the parts.

    Raises:
        RequestFault: JSON cannot hold the values.
    """
    if plan.head:
        return len(plan.head[0]), [*plan.head, *(result.outputs[each] for each in plan.outputs)]
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for number, as_binary in zip(plan.outputs, plan.as_binary, strict=True):
        tensor, data = served.outputs[number], result.outputs[number]
        shape = list(result.shapes[number])
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}
        if as_binary:
            entry["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
        else:
            entry["data"] = to_json(tensor, data)
        entries.append(entry)
    content: dict[str, Any] = {"model_name": served.name, "model_version": served.version}
    if plan.request_id is not None:
        content["id"] = plan.request_id
    content["outputs"] = entries
    try:
        head = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        raise RequestFault(
            "failed", "an output has infinite values or NaN, which JSON cannot hold; request "
            'binary data: "parameters": {"binary_data_output": true}',
        ) from None  # fmt: skip
    if served.pool.program.layout.fixed and all(plan.as_binary):
        plan.head.append(head)
    return (len(head) if parts else 0), [head, *parts]
