"""The files of a suite's networks: ONNX, and a checkpoint for PyTorch."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.files import read_text, source_hash, write_text
from tvmkd.base.text import first_line, sizes
from tvmkd.base.version import __version__
from tvmkd.suites.definition import Network, Suite

SEED = 0


@dataclass(frozen=True)
class Prepared:
    """What engines can run of a network.

    Attributes:
        onnx: the model.
        checkpoint: for PyTorch; None for a network that is given as an ONNX file.
        model: what builds the checkpoint's network.
        search_in: folders to look for a user's module in.
    """

    onnx: Path
    checkpoint: Path | None = None
    model: str | None = None
    search_in: tuple[Path, ...] = ()


def prepare(suite: Suite, network: Network, folder: Path) -> Prepared:
    """Makes the files in ``folder``, or finds those that were made there.

    Raises:
        InputError: there is no such file or model, it does not run on its shape, or it cannot be
            exported.
        MissingError: it is of timm, which is not installed.
    """
    if network.onnx is not None:
        path = suite.folder / network.onnx
        if not path.is_file():
            raise InputError(f"{path}: there is no such file (network {network.name})")
        return Prepared(path)
    spec = network.model or ""
    checkpoint = folder / "model.pt"
    made = Prepared(folder / "model.onnx", checkpoint, spec, (suite.folder,))
    code = source_hash(spec, [suite.folder])
    source = {"model": spec, "shape": list(network.shape), "version": __version__, "code": code}
    note = folder / "model.json"
    with suppress(OSError, ValueError):
        if json.loads(read_text(note)) == source and made.onnx.exists() and checkpoint.exists():
            return made
    note.unlink(missing_ok=True)
    _write(network, made, checkpoint)
    write_text(note, json.dumps(source) + "\n")
    return made


def _write(network: Network, made: Prepared, checkpoint: Path) -> None:
    import torch

    from tvmkd import models
    from tvmkd.export import export
    from tvmkd.models import checkpoint as checkpoints
    from tvmkd.suites.settling import settled

    spec = network.model or ""
    before = torch.get_rng_state()
    torch.manual_seed(SEED)
    try:
        module = settled(models.build(spec, search_in=made.search_in), network.shape)
    except TvmkdError:
        raise
    except Exception as error:  # any error of the network's code in one line
        raise InputError(
            f"{spec} does not run on an input of {sizes(network.shape)}: {first_line(error)}"
        ) from None
    finally:
        torch.set_rng_state(before)
    saved = checkpoints.Checkpoint({"spec": spec, "kwargs": {}}, module.state_dict())
    checkpoints.save(checkpoint, saved)
    export(module, made.onnx, network.shape)
