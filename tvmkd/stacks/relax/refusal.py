"""Says in one line why TVM cannot import a model: the operator, its node, what to do."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import onnx
import tvm

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.export.check import ModelInfo
from tvmkd.export.graph import missing, nodes, operator_name, unsupported
from tvmkd.stacks.failed_node import failed_at, named

# The operators that Relay's importer has and Relax's lacks, or has for constants only.
BY_RELAY = frozenset(
    (
        *("GRU", "LSTM", "Loop", "NonMaxSuppression", "NonZero", "RNN", "ReverseSequence", "Scan"),
        *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "Unique", "MaxUnpool"),
    )
)
_LONGEST = 110


def refusal(path: Path, error: Exception) -> TvmkdError:
    """The error to raise where TVM's importer raised ``error`` on a model.

    Args:
        path: the model's file.
        error: from TVM, of any class.
    """
    if isinstance(error, TvmkdError):
        return error
    node = failed_at(error)
    hint = "rewrite this part of the model" if node is None else advice(node.op_type)
    return InputError(
        f"{path}: TVM {tvm.__version__} cannot import {named(node)}: {_reason(error)}; {hint}"
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


def unreadable(node: onnx.NodeProto, info: ModelInfo, known: Set[str]) -> str:
    """Why Relax's importer cannot read a node: it lacks the operator, or would misread it.

    Args:
        node: of the model, as it is imported.
        info: facts of the file; its ``reasons`` say why a node has no plain form.
        known: the operators that the importer has.

    Returns:
        the reason, without the operator's name; empty if it can.
    """
    missing_in_tvm = operator_name(node) not in known
    return _misread(node, info) or ("TVM's importer lacks it" if missing_in_tvm else "")


def _misread(node: onnx.NodeProto, info: ModelInfo) -> str:
    """Why the importer would read a node wrongly, without the operator; empty if it would not."""
    reason = info.reasons.get(node.name or next(iter(node.output), ""), "")
    start = f"{node.op_type} "
    return reason.removeprefix(start).strip() if reason.startswith(start) else ""


def _without_plain_form(path: Path, model: onnx.ModelProto, info: ModelInfo) -> str | None:
    """The line for a node that the importer knows, but would read wrongly, or None."""
    for node in nodes(model):
        reason = _misread(node, info)
        if reason:
            name = node.name or next(iter(node.output), "")
            what = f'{node.op_type} (node "{name[:60]}") {reason}'
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
