"""Selects the engines of a comparison, and the file of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd import artifact
from tvmkd.base import ssh
from tvmkd.base.engine_registry import ENGINES, TVM, TVM_STANDALONE, UNTUNED
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.base.runtimes import STANDALONE
from tvmkd.base.text import listing
from tvmkd.bench import rules
from tvmkd.bench.engines import engine_class
from tvmkd.bench.engines.tvm_artifact import precision_of
from tvmkd.bench.spec import EngineSpec
from tvmkd.tensorrt import device as tensorrt_device


@dataclass(frozen=True)
class Files:
    """The files that engines can run.

    Attributes:
        onnx: the model.
        artifacts: engine name to artifact folder, see `by_stack`.
        checkpoint: the network in PyTorch.
        model: builds the checkpoint's network: a registered name or the user's ``module:callable``.
        search_in: folders to look for that callable in.
    """

    onnx: Path
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    checkpoint: Path | None = None
    model: str | None = None
    search_in: Sequence[Path] = ()

    def of(self, name: str) -> Path | None:
        """The file that an engine runs; None if it was not given."""
        file = engine_class(name).file
        if file == "checkpoint":
            return self.checkpoint
        if file == "artifact":
            return self.artifacts.get(name)
        return self.onnx


@dataclass(frozen=True)
class Board:
    """How a board is reached.

    Attributes:
        tracker: host and port of its tracker, and its key. None: not over RPC.
        ssh: ``USER@HOST``. None: not over ssh.
        emulated: QEMU on this machine stands for a board that is reached over ssh.
    """

    tracker: tuple[str, int, str] | None = None
    ssh: str | None = None
    emulated: bool = False


def by_stack(folders: Sequence[Path]) -> dict[str, Path]:
    """The artifact of each engine: ``tvm`` runs the first, ``tvm:STACK`` that of the stack.

    ``tvm+ENGINE`` runs an artifact with regions for that engine, ``tvm:standalone`` one that needs
    no TVM.

    Raises:
        InputError: a folder is not an artifact, or two artifacts have the same stack or engine.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        manifest = artifact.read(folder)
        offloaded = manifest.coverage.get("byoc") or {}
        regions = bool(offloaded.get("regions"))
        name = f"{TVM}+{offloaded['engine']}" if regions else f"{TVM}:{manifest.stack}"
        if manifest.runtime == STANDALONE:
            name = TVM_STANDALONE
        if name in found:
            both = "have regions for" if regions else "are both of the stack"
            if name == TVM_STANDALONE:
                both = "are both"
            raise InputError(
                f"{found[name]} and {folder} {both} {name[len(TVM) + 1 :]}: give one of each"
            )
        found[name] = folder
        if not regions:
            found.setdefault(TVM, folder)
    return found


def select(
    names: Sequence[str],
    files: Files,
    precision: str = "fp32",
    gpu: Sequence[str] = (),
    device: str | None = None,
) -> list[EngineSpec]:
    """The named engines, or without names every engine whose file was given and that is installed.

    Args:
        names: registered names or ``package.module:Class``.
        precision: precision of the engines that support it; the others run in FP32.
        gpu: usable engines on a GPU; they run if no engines are named.
        device: ``cpu`` or ``gpu``: engines on the other one are left out. None: both.

    Raises:
        UsageError: a name is unknown, or that of an engine on another device than ``device``.
        MissingError: ``device`` is a GPU, and there is none.
    """
    check_device(device)
    chosen = list(names) or _all_of(files, gpu)
    specs = [_spec(name, files, precision) for name in chosen]
    if device is None:
        return specs
    wrong = [spec for spec in specs if rules.device(spec) not in (None, device.upper())]
    if wrong and names:
        raise UsageError(_elsewhere(wrong[0].name, device))
    there = [spec for spec in specs if spec not in wrong]
    if not there:
        raise MissingError(
            f"no engine can run on the {device.upper()}: give an artifact or a checkpoint, or "
            "install one (docs/how-to/tensorrt-compare.md)"
        )
    return there


def check_device(device: str | None) -> None:
    """Checks that there is a GPU if engines on one are asked for.

    Raises:
        MissingError: there is none.
    """
    if device == "gpu" and tensorrt_device.find() is None:
        raise MissingError(
            "there is no NVIDIA GPU here, or no driver for it: see `nvidia-smi`; without --device "
            "gpu engines on the CPU are compared"
        )


def _elsewhere(name: str, device: str) -> str:
    there = [
        other
        for other in ENGINES
        if other.startswith(f"{name}:") and engine_class(other).device == device.upper()
    ]
    hint = f"give {listing(there)}" if there else "leave it out"
    return f"engine {name} does not run on the {device.upper()}: {hint}, or give another --device"


def _all_of(files: Files, gpu: Sequence[str]) -> list[str]:
    def runs(name: str) -> bool:
        kind = engine_class(name)
        if kind.link is not None or kind.needs_gpu():
            return name in gpu and files.of(name) is not None
        if kind.lacks(name) is not None:  # an extra that is not installed
            return False
        return files.of(name) is not None and (kind.file != "artifact" or name in shown)

    shown = _shown(files.artifacts)
    return [name for name in ENGINES if runs(name)]


def _shown(artifacts: Mapping[str, Path]) -> list[str]:
    """Names for the table: a single artifact is ``tvm``, several have their stack in the name."""
    several = [name for name in artifacts if "+" not in name and name not in (TVM, UNTUNED)]
    # A standalone library's name says what it is, also where it is alone.
    if several == [TVM_STANDALONE]:
        return [name for name in artifacts if name != TVM]
    return [
        name
        for name in artifacts
        if "+" in name
        or name == UNTUNED
        or (name == TVM and len(several) < 2)
        or (name in several and len(several) > 1)
    ]


def _spec(name: str, files: Files, precision: str) -> EngineSpec:
    kind = engine_class(name)
    options: dict[str, Any] = {}
    if kind.file == "checkpoint" and files.model is not None:
        options = {"model": files.model, "search_in": [str(folder) for folder in files.search_in]}
    path = files.of(name)
    chosen = precision if precision in kind.precisions else "fp32"
    if kind.file == "artifact" and path is not None:
        chosen = precision_of(path)
    return EngineSpec(name, name, path, precision=chosen, options=options)


def on_board(specs: Sequence[EngineSpec], board: Board, *, named: bool) -> list[EngineSpec]:
    """The equivalent engines on a board.

    Args:
        named: whether the user named the engines. Otherwise engines that cannot run there are left
            out.

    Raises:
        InputError: several boards are registered under the key, or none of the engines can run on a
            board.
        UsageError: a named engine cannot run there, or ``board.ssh`` is not a valid destination.
        MissingError: there is no tracker or no board, or the board lacks a requirement of TensorRT.
    """
    links = _links(specs, board)
    able: list[EngineSpec] = []
    for spec in specs:
        there = engine_class(spec.kind).board_engine
        link = None if there is None else engine_class(there).link
        # QEMU has no GPU.
        emulated = board.emulated and there is not None and engine_class(there).device == "GPU"
        if there is not None and link in links and not emulated:
            able.append(dataclasses.replace(spec, kind=there, options=links[link]))
        elif named:
            raise UsageError(
                f"engine {spec.name} cannot run on a board: tvm engines do over RPC "
                "(--rpc-tracker), tensorrt and tvm:standalone over --ssh"
            )
    if not able:
        raise InputError("nothing to run on the board: give --artifact (or --untuned)")
    return able


def _links(specs: Sequence[EngineSpec], board: Board) -> dict[str | None, dict[str, Any]]:
    """The options of the engines for each link, after checking the board's requirements."""
    found: dict[str | None, dict[str, Any]] = {}
    if board.emulated:
        found["ssh"] = {"emulated": True}
    elif board.ssh is not None:
        ssh.check_destination(board.ssh)
        if _needs_tensorrt(specs):
            from tvmkd.tensorrt.ssh import RemoteEngine

            RemoteEngine(board.ssh).close()
        clock = _clock(specs) if board.tracker else "host"
        found["ssh"] = {"ssh": board.ssh, "clock": clock}
    if board.tracker is not None:
        found["rpc"] = {"tracker": _one_board(*board.tracker)}
    return found


def _needs_tensorrt(specs: Sequence[EngineSpec]) -> bool:
    """True if nothing but TensorRT can run over ssh; otherwise it may be left out."""
    there = {engine_class(spec.kind).board_engine for spec in specs} - {None}
    over = {name for name in there if name and engine_class(name).link == "ssh"}
    return bool(over) and all(engine_class(name).device == "GPU" for name in over)


def over_ssh() -> list[str]:
    """Registered engines that can run on a board over ssh."""
    there = {name: engine_class(name).board_engine for name in ENGINES}
    return [name for name, at in there.items() if at and engine_class(at).link == "ssh"]


def check_gpu(specs: Sequence[EngineSpec]) -> None:
    """Checks that at least one of the engines has its GPU and package.

    Raises:
        MissingError: none has; the message is that of the first engine.
    """
    lacks = [
        engine_class(spec.kind).lacks(spec.kind) if engine_class(spec.kind).needs_gpu() else None
        for spec in specs
    ]
    if lacks and all(lacks):
        raise MissingError(str(lacks[0]))


def _clock(specs: Sequence[EngineSpec]) -> str:
    """The TensorRT clock that is comparable with TVM's artifacts.

    TVM's GPU kernels are timed with their tensors in GPU memory. Its CPU kernels are timed with
    their tensors in host memory, so a GPU's copies must be included to compare with them.
    """
    paths = [
        Path(spec.path)
        for spec in specs
        if engine_class(spec.kind).file == "artifact" and spec.path is not None
    ]
    on_gpu = [artifact.read(path).target.get("device") == "cuda" for path in paths]
    return "compute" if on_gpu and all(on_gpu) else "host"


def _one_board(host: str, port: int, key: str) -> dict[str, Any]:
    """The address of the only board registered under ``key``."""
    from tvmkd.boards.connect import check

    count = len(check(host, port, key))
    if count > 1:
        raise InputError(
            f"{count} boards have the key {key!r}, and a comparison is made on one: give that "
            "board a key of its own"
        )
    return {"host": host, "port": port, "key": key}
