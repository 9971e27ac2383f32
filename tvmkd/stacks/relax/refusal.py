"""Says in one line why TVM cannot import or lower a model: the operator, its node, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from types import FrameType
from typing import Any

import onnx
import tvm

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.export.check import ModelInfo
from tvmkd.export.graph import missing, nodes, unsupported

# The operators that Relay's importer has and Relax's lacks, or has for constants only.
BY_RELAY = frozenset(
    (
        *("GRU", "LSTM", "Loop", "NonMaxSuppression", "NonZero", "RNN", "ReverseSequence", "Scan"),
        *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "Unique", "MaxUnpool"),
    )
)
_LONGEST = 110


def refusal(path: Path, error: Exception, doing: str = "import") -> TvmkdError:
    """The error to raise where TVM raised ``error`` on a model.

    Args:
        path: the model's file.
        error: from TVM, of any class.
        doing: what TVM was asked to do: ``import`` or ``compile``.
    """
    if isinstance(error, TvmkdError):
        return error
    node = next(_nodes(error), None)
    what = "it"
    hint = "rewrite this part of the model"
    if node is not None:
        name = node.name or (node.output[0] if node.output else "?")
        what = f'{node.op_type} (node "{name[:60]}")'
        hint = advice(node.op_type)
    return InputError(
        f"{path}: TVM {tvm.__version__} cannot {doing} {what}: {_reason(error)}; {hint}"
    )


def unknown(path: Path, model: onnx.ModelProto, info: ModelInfo, known: Set[str]) -> str | None:
    """Why Relax's importer cannot read a model's operators, in one line, or None.

    Args:
        path: the model's file.
        model: as it is imported.
        info: facts of the file; its ``reasons`` say why a node has no plain form.
        known: the operators that the importer has.
    """
    places = missing(model, known)
    if not places:
        return _without_plain_form(path, model, info)
    said = [
        info.reasons[node] for nodes in places.values() for node in nodes if node in info.reasons
    ]
    problem = unsupported(model, known, advice(*places))
    return f"{path}: {problem} ({said[0][:80]})" if said else f"{path}: {problem}"


def _without_plain_form(path: Path, model: onnx.ModelProto, info: ModelInfo) -> str | None:
    """The line for a node that the importer knows, but would read wrongly, or None."""
    for node in nodes(model):
        name = node.name or next(iter(node.output), "")
        reason = info.reasons.get(name, "")
        if reason.startswith(f"{node.op_type} "):
            what = (
                f'{node.op_type} (node "{name[:60]}") {reason.removeprefix(node.op_type).strip()}'
            )
            return f"{path}: {what}: {advice(node.op_type)}"
    return None


def advice(*operators: str) -> str:
    """What to do about operators that Relax cannot import."""
    if BY_RELAY.issuperset(operators):
        return "try --stack relay, whose importer has it, or rewrite this part of the model"
    return "rewrite this part of the model"


def _reason(error: Exception) -> str:
    """The line of an error that says most: TVM adds its script, notes and a C++ trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("#", "File ", "from tvm", "Stack"))]
    text = " ".join((lines or [""])[0].split()) or type(error).__name__
    if isinstance(error, (KeyError, AttributeError, TypeError, IndexError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _nodes(error: BaseException) -> Iterator[Any]:
    """The ONNX nodes that the importer was at, the innermost one first."""
    frames: list[FrameType] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    for frame in reversed(frames):
        if frame.f_code.co_name == "_construct_nodes" and "node" in frame.f_locals:
            yield frame.f_locals["node"]
