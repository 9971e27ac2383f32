"""Parses an ONNX file into TensorRT's network; errors name the nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.api import Bindings
from tvmkd.tensorrt.log import plain

_SHOWN = 3
HINTS = {
    "zero point": "TensorRT reads int8 whose zero points are 0: quantise it so "
    "(`tvmkd engine build --precision int8 --calibration` does)",
    "has type Int32": "a bias in int32 is not read: leave biases in FP32 when quantising",
}


def parse(
    network: Any, path: Path, model: onnx.ModelProto, source: Path, bindings: Bindings
) -> Any:
    """Parses a file into ``network`` and returns the parser; keep it until the engine is built.

    Args:
        network: TensorRT's empty network.
        path: the file to parse, which may be a converted copy of ``source``.
        model: the model in ``path``, for the names of its nodes.
        source: the file that messages name.
        bindings: the TensorRT package.

    Raises:
        InputError: TensorRT cannot parse the file; names the nodes and their errors.
    """
    parser = bindings.module.OnnxParser(network, bindings.log.handle)
    if parser.parse_from_file(str(path)):
        return parser
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    lines = [_line(error, model) for error in errors]
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    text = "; ".join(lines[:_SHOWN]) or bindings.log.why()
    advice = next((hint for word, hint in HINTS.items() if word.lower() in text.lower()), None)
    raise InputError(
        f"{source}: {bindings.title} cannot read it: {text}{more}"
        f"; {advice or 'rewrite this part of the model, or leave it to another engine'}"
    )


def _line(error: Any, model: onnx.ModelProto) -> str:
    index = error.node()
    node = model.graph.node[index] if 0 <= index < len(model.graph.node) else None
    # Before TensorRT 10 an error has only the node's number.
    name = error.node_name() if hasattr(error, "node_name") else node.name if node else ""
    kind = error.node_operator() if hasattr(error, "node_operator") else node and node.op_type
    code = str(error.code()).rpartition(".")[2]
    # The other lines of a description repeat the log.
    first = next((line for line in error.desc().splitlines() if line.strip()), "")
    rest = error.desc().splitlines()[1:2]
    text = plain(" ".join([first, *rest]))
    where = f'node "{name or f"#{index}"}" ({kind})' if kind else "the file"
    return f"{where}: {code}: {text}" if text not in {"", "false"} else f"{where}: {code}"
