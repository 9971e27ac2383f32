"""Joins the pieces of a network into one ONNX file whose outputs are the logits of every exit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import compose

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.exits import Exits
from tvmkd.base.files import sha256
from tvmkd.early_exit.runtime import EXITS, Plan
from tvmkd.export.check import ModelInfo, Tensor, check

NAMES = "exit{}"
"""The outputs of the joined file."""


def join(folder: Path, out: Path) -> Exits:
    """Writes the network in ``folder`` as one ONNX file.

    Args:
        folder: written by ``tvmkd distill`` with ``[early_exit]``.
        out: the file to write. Its input is that of the first piece, its outputs are the logits of
            each exit in order.

    Returns:
        when an image leaves, and the hashes of the pieces' ONNX files.

    Raises:
        InputError: the folder has no plan, the plan is damaged, or a piece is missing or of another
            network.
    """
    plan = Plan.read(folder)
    paths = [_onnx_of(folder, piece.folder) for piece in plan.pieces]
    found = [check(path) for path in paths]
    _check_chain(paths, found)
    whole = _with_logits(onnx.load(str(paths[0])), 0)
    for number, path in enumerate(paths[1:], start=1):
        # Names of pieces may be alike: each is exported as a graph of its own.
        piece = compose.add_prefix(_with_logits(onnx.load(str(path)), number), f"piece{number}/")
        features = found[number - 1].outputs[1].name
        if number > 1:
            features = f"piece{number - 1}/{features}"
        whole = _merged(whole, piece, features, path)
    onnx.helper.set_model_props(whole, found[0].metadata)
    renamed = {f"piece{number}/{NAMES.format(number)}": number for number in range(1, len(paths))}
    _rename(whole, renamed)
    onnx.save(whole, str(out))
    rule, hashes = plan.rule, tuple(sha256(path) for path in paths)
    return Exits(rule.thresholds, rule.temperatures, rule.weights, hashes)


def _onnx_of(folder: Path, piece: str) -> Path:
    path = folder / f"{piece}.onnx"
    if not path.is_file():
        raise InputError(f"{path}: is missing; distil again")
    if sha256(path) != artifact.read(folder / piece, verify=False).onnx_sha256:
        raise InputError(
            f"{path}: not the file that the piece {folder / piece} was compiled from; copy the "
            "whole folder again, or distil again"
        )
    return path


def _check_chain(paths: Sequence[Path], pieces: Sequence[ModelInfo]) -> None:
    """Makes sure that each piece takes the features of the one before, and all give equal logits.

    Raises:
        InputError: they do not.
    """
    logits = pieces[-1].outputs[0]
    for number, (path, piece) in enumerate(zip(paths, pieces, strict=True)):
        last = number + 1 == len(pieces)
        if len(piece.inputs) != 1 or len(piece.outputs) != (1 if last else 2):
            raise InputError(
                f"{path}: not a piece of the network in {path.parent / EXITS}: it has "
                f"{len(piece.inputs)} inputs and {len(piece.outputs)} outputs"
            )
        own = piece.outputs[0]
        if (own.shape, own.dtype) != (logits.shape, logits.dtype):
            raise InputError(f"{path}: its logits are {_said(own)}, the last {_said(logits)}")
        if number:
            given = pieces[number - 1].outputs[1]
            if (given.shape, given.dtype) != (piece.inputs[0].shape, piece.inputs[0].dtype):
                raise InputError(
                    f"{path}: a piece of another network: takes {_said(piece.inputs[0])}, and "
                    f"{paths[number - 1].name} gives {_said(given)}"
                )
    if logits.dtype != "float32" or len(logits.shape) != 2 or logits.shape[0] != 1:
        raise InputError(
            f"{paths[-1]}: its logits are {_said(logits)}; early exits are for single images, with "
            "logits float32 1 x classes"
        )


def _said(tensor: Tensor) -> str:
    return f"{tensor.dtype} {' x '.join(map(str, tensor.shape))}"


def _with_logits(model: onnx.ModelProto, number: int) -> onnx.ModelProto:
    """The piece with the name of its exit for its first output."""
    _rename(model, {model.graph.output[0].name: number})
    del model.metadata_props[:]  # those of several pieces would contradict each other
    return model


def _rename(model: onnx.ModelProto, numbers: dict[str, int]) -> None:
    names = {name: NAMES.format(number) for name, number in numbers.items()}
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    for value in (*model.graph.output, *model.graph.value_info):
        value.name = names.get(value.name, value.name)


def _merged(
    whole: onnx.ModelProto, piece: onnx.ModelProto, features: str, path: Path
) -> onnx.ModelProto:
    (given,) = [
        value.name
        for value in piece.graph.input
        if value.name not in {each.name for each in piece.graph.initializer}
    ]
    outputs = [value.name for value in whole.graph.output if value.name != features]
    outputs += [value.name for value in piece.graph.output]
    try:
        return compose.merge_models(whole, piece, [(features, given)], outputs=outputs)
    except Exception as error:  # onnx raises ValueError and its checker's errors
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path}: cannot be joined with the piece before it: {reason}; distil again"
        ) from None
