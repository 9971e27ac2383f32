"""Lists the layers of an engine, after TensorRT's fusion and choice of tactics."""

from __future__ import annotations

import json
import re
from typing import Any

from tvmkd.tensorrt.api import Bindings

_LINE = re.compile(
    r"^Name: (?P<Name>.*?), LayerType: (?P<LayerType>[^,]*), .*"
    r"TacticName: (?P<TacticName>[^,]*), StreamId: (?P<StreamId>\d+), Metadata: (?P<Metadata>.*)$"
)
_SEPARATOR = "\x1f"


def from_log(text: str) -> list[dict[str, Any]]:
    """The layers in the builder's log; reading it needs no GPU.

    Each has ``Name``, ``LayerType``, ``TacticName`` and ``Metadata``, the layer's ONNX nodes.
    """
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            layer: dict[str, Any] = match.groupdict()
            layer["StreamId"] = int(layer["StreamId"])
            layer["Metadata"] = " ".join(layer["Metadata"].split(_SEPARATOR))
            found.append(layer)
    return found


def inspect(plan: bytes, bindings: Bindings) -> list[dict[str, Any]]:
    """The layers from the engine inspector; empty if the engine cannot be loaded."""
    module = bindings.module
    engine = module.Runtime(bindings.log.handle).deserialize_cuda_engine(plan)
    if engine is None or not hasattr(engine, "create_engine_inspector"):
        return []
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(module.LayerInformationFormat.JSON)
    try:
        listed = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return []
    # For an engine without details the inspector gives only names.
    return [entry if isinstance(entry, dict) else {"Name": str(entry)} for entry in listed]
