"""Exports a network to an ONNX file, and verifies that both give the same outputs."""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd import models
from tvmkd.base import user_code
from tvmkd.base.errors import InputError, unwritable
from tvmkd.base.files import check_replaceable, sync
from tvmkd.base.version import __version__
from tvmkd.export.parity import parity
from tvmkd.models import checkpoint as files
from tvmkd.models.registry import without_weights
from tvmkd.models.reparameterize import fused
from tvmkd.models.restore import restore

OPSETS = range(18, 24)
EXTERNAL_ABOVE = 1 << 30  # bytes of weights; protobuf itself ends at 2 GiB
INPUT, BATCH = "input", "batch"


def export(
    source: Path | nn.Module,
    out: Path,
    example_shape: Sequence[int] | None = None,
    *,
    dynamic_batch: bool = False,
    opset: int = 18,
    model: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    search_in: Sequence[Path] = (),
    metadata: Mapping[str, str] | None = None,
    external_above: int = EXTERNAL_ABOVE,
) -> Path:
    """Exports a network to ``out``; the file is written only if its outputs are PyTorch's.

    Branches that a network has for its training only are fused: see `tvmkd.models.reparameterize`.

    Weights of more than ``external_above`` bytes are written to ``NAME.onnx.data`` beside it.

    Args:
        source: a network, or a checkpoint's path, or with ``model`` the path of plain weights.
        out: the ONNX file to write.
        example_shape: shape of the one float32 input, batch first; optional for a checkpoint of
            tvmkd, which contains it.
        dynamic_batch: make the batch a free dimension, named ``batch``.
        opset: ONNX operator set, 18 to 23.
        model: builds the network. Required for plain weights, and for a checkpoint whose model is a
            ``module:callable``, because a file must not choose what code runs here.
        model_args: keyword arguments for ``model``; by default those in the checkpoint.
        search_in: folders to search for a ``module:callable``.
        metadata: strings for the file's ``metadata_props``, added to the checkpoint's.
        external_above: limit in bytes for weights inside the ONNX file.

    Returns:
        ``out``.

    Raises:
        InputError: the checkpoint cannot be used, the network cannot be exported, the outputs of
            the file differ or are NaN, or ``out`` cannot be written.
    """
    if opset not in OPSETS:
        raise InputError(f"opset {opset}: this exporter writes {OPSETS[0]} to {OPSETS[-1]}")
    properties = {"tvmkd_version": __version__}
    if isinstance(source, Path):
        name = str(source)
        network, known, shape = _restore(source, model, model_args, search_in)
        properties |= known
        example_shape = example_shape or shape
        if example_shape is None:
            raise InputError(f"{source}: does not say its input; give --input-shape 1,3,224,224")
    else:
        name, network = type(source).__name__, copy.deepcopy(source)
        if example_shape is None:
            raise InputError(f"{name}: give the shape of its input")
    properties |= metadata or {}
    network = network.cpu().float().to(memory_format=torch.contiguous_format).eval()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            # With its final name, because the file contains the name of its external data.
            path = Path(folder) / out.name
            shape = tuple(example_shape)
            # Compared with the network as it was: fusing has to change nothing.
            program = _convert(fused(network, shape, name), shape, dynamic_batch, opset, name)
            program.model.metadata_props.update(properties)
            size = sum(w.numel() * w.element_size() for w in network.state_dict().values())
            program.save(str(path), external_data=size > external_above)
            parity(network, path, shape, dynamic_batch, name)
            _publish(path, out)
    except OSError as error:
        raise unwritable(error, out) from None
    return out


def _restore(
    path: Path, spec: str | None, args: Mapping[str, Any] | None, search_in: Sequence[Path]
) -> tuple[nn.Module, dict[str, str], tuple[int, ...] | None]:
    """The network in a file, its metadata, and the input's shape if the file has it."""
    content = files.read(path)
    ours = isinstance(content, dict) and content.get("format") == files.FORMAT
    if not ours:
        if spec is None:
            raise InputError(f"{path}: holds weights only; give --model MODULE:CALLABLE")
        return restore(path, spec, args, search_in), {"student": spec}, None
    saved = files.load(path)
    named = str(saved.model["spec"])
    if spec is None and not models.is_builtin(named):
        raise InputError(
            f'{path}: was made by "{named}", and exporting it runs that code: '
            f"if you trust it, give --model {named}"
        )
    kwargs = saved.model["kwargs"] if args is None else args
    if args is None:
        # The checkpoint contains the weights, so a library must not download any.
        kwargs = without_weights(named, kwargs)
    network = models.build(spec or named, search_in=search_in, **kwargs)
    files.load_weights(network, path, f'"{spec or named}"')
    text = saved.meta.get("input_shape", "")
    shape = tuple(int(side) for side in text.split(",")) if text else None
    return network, {"student": named, **files.description(saved.meta)}, shape


def _convert(
    network: nn.Module, shape: tuple[int, ...], dynamic: bool, opset: int, name: str
) -> torch.onnx.ONNXProgram:
    # torch.export treats a batch of 1 as a constant.
    example = torch.zeros((max(2, shape[0]), *shape[1:]) if dynamic else shape)
    axes = ({0: torch.export.Dim(BATCH)},) if dynamic else None
    try:
        with torch.no_grad():
            outputs = network(example)
        count = 1 if isinstance(outputs, Tensor) else len(outputs)
        labels = ["logits"] if count == 1 else [f"output{index}" for index in range(count)]
        labels = list(getattr(network, "output_names", labels))
        with _quiet():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=axes,
                input_names=[INPUT],
                output_names=labels,
                verbose=False,
            )
    except Exception as error:  # from the network or the exporter, of any class
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InputError(
            f"{name}: cannot be exported for an input of shape {list(example.shape)}: "
            f"{user_code.describe(cause, __file__)}"
        ) from error
    assert program is not None
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the exporter's log and warnings; failures are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _publish(path: Path, out: Path) -> None:
    """Moves the file and its external data to their final paths, the data first."""
    data = path.with_name(f"{path.name}.data")
    final = out.with_name(f"{out.name}.data")
    for place in (final, out):
        check_replaceable(place)
    external = data.exists()
    if external:
        sync(data)
        data.replace(final)
    sync(path)
    path.replace(out)
    if not external:
        final.unlink(missing_ok=True)  # of an earlier, larger model
