"""A built engine: the plan and its facts, written to and read from files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.tensorrt.api import PRODUCTS, Product
from tvmkd.tensorrt.options import Precision

FORMAT = "tvmkd.engine"


@dataclass(frozen=True)
class Engine:
    """A plan and its facts.

    Attributes:
        plan: the serialised engine.
        product: ``tensorrt`` or ``tensorrt-rtx``.
        version: version of the package that built it; no other version can load it.
        precision: the requested precision.
        gpu: the GPU it was built on; None if it was built for a given compute capability, or (by
            TensorRT-RTX without a GPU) for all that the product supports.
        compute_capability: for example ``8.6``; None for all.
        driver: the driver of ``gpu``.
        seconds: duration of the build, without parsing and conversion.
        layers: the layers after fusion, each with ``Name`` and, if known, ``LayerType``.
        network_layers: number of layers before fusion.
        inputs, outputs: each with ``name``, ``shape`` (-1 is free) and ``dtype``.
        batch: smallest, best and largest batch if it is free, else None.
        onnx_sha256: SHA-256 of the model.
        notes: notes on the build for the user.
    """

    plan: bytes
    product: Product
    version: str
    precision: Precision
    gpu: str | None
    compute_capability: str | None
    driver: str | None
    seconds: float
    layers: tuple[dict[str, Any], ...]
    network_layers: int
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    batch: tuple[int, int, int] | None
    onnx_sha256: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the plan."""
        return len(self.plan)

    def facts(self) -> dict[str, Any]:
        """All fields except the plan, plus its ``size`` and ``sha256``. JSON-safe."""
        values = asdict(self)
        del values["plan"]
        return {**values, "size": self.size, "sha256": hashlib.sha256(self.plan).hexdigest()}


def write(engine: Engine, path: Path) -> None:
    """Writes the plan to ``path`` and its facts to ``path`` with ``.json`` added."""
    files.write_bytes(path, engine.plan)
    files.write_json(_facts_of(path), {"format": FORMAT, "version": 1, "engine": engine.facts()})


def read(path: Path) -> Engine:
    """Reads the engine that `write` wrote to ``path``.

    Raises:
        InputError: the plan or its facts are missing or damaged.
    """
    try:
        plan = path.read_bytes()
        saved = json.loads(_facts_of(path).read_text(encoding="utf-8"))
        if (saved["format"], saved["version"]) != (FORMAT, 1):
            raise ValueError("another format")
        facts = dict(saved["engine"])
        if facts["sha256"] != hashlib.sha256(plan).hexdigest() or facts["product"] not in PRODUCTS:
            raise ValueError("the plan is not the one that was written")
        values = {entry.name: facts[entry.name] for entry in fields(Engine) if entry.name != "plan"}
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: there is no such file; build the engine") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); build the engine again") from None
    for name in ("layers", "inputs", "outputs", "notes", "batch"):
        values[name] = tuple(values[name]) if values[name] is not None else None
    return Engine(plan=plan, **values)


def _facts_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
