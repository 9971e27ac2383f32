"""Splits a network with exits into one ONNX file per piece."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx.utils import extract_model
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.export.onnx import INPUT, export
from tvmkd.models.early_exit import EarlyExitNet


class _Everything(nn.Module):
    """The network with the values at its cuts as additional outputs."""

    def __init__(self, network: EarlyExitNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        last = self.network(images)
        branches, features = self.network.branch_logits, list(self.network.features)
        self.network.features = []
        return (*branches, *features, last)


def cut(
    network: EarlyExitNet,
    folder: Path,
    shape: Sequence[int],
    opset: int = 18,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Writes ``0.onnx``, ``1.onnx``, ...: each maps the previous piece's features to its logits.

    The input of piece 0 is the image. Each piece outputs ``(logits, features)``, the last only
    ``logits``. The whole network is compared with PyTorch before it is split.

    Args:
        network: the trained network, on the CPU.
        folder: folder for the files.
        shape: shape of one input, batch first.
        opset: opset of the ONNX files.
        metadata: strings for the ``metadata_props`` of the first piece, which takes the images.

    Returns:
        the files, in the order in which they run.

    Raises:
        InputError: the network cannot be exported, or a connection bypasses a cut.
    """
    count = len(network.exits)
    logits = [f"output{index}" for index in range(count)] + [f"output{2 * count}"]
    features = [f"output{count + index}" for index in range(count)]
    names = [f"{index}.onnx" for index in range(count + 1)]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".cut.") as draft:
        place = Path(draft)
        whole = export(_Everything(network.eval()), place / "whole.onnx", shape, opset=opset)
        for index, name in enumerate(names):
            takes = features[index - 1] if index else INPUT
            gives = [logits[index], *features[index : index + 1]]
            try:
                extract_model(str(whole), str(place / name), [takes], gives, check_model=True)
            except Exception as error:  # the extractor and the checker raise errors of many types
                raise _leads_past(network, index) from error
            piece = onnx.load(str(place / name))
            if [value.name for value in piece.graph.input] != [takes]:
                raise _leads_past(network, index)
            if not index:
                onnx.helper.set_model_props(piece, dict(metadata or {}))
                onnx.save(piece, str(place / name))
        return [(place / name).rename(folder / name) for name in names]


def _leads_past(network: EarlyExitNet, index: int) -> InputError:
    return InputError(
        f'early exit: the network cannot be cut after "{network.exits[max(0, index - 1)]}": '
        "something else leads past it; put the exit where everything goes through one tensor"
    )
