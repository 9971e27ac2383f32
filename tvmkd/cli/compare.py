"""``tvmkd compare``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvmkd.cli._options import PATH, arrays, dims_option, existing, json_option, tracker

if TYPE_CHECKING:
    from tvmkd.bench import EngineSpec


@click.command()
@click.argument("onnx", type=PATH)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="torch, torch.compile, onnxruntime (or onnxruntime:cuda, onnxruntime:tensorrt), tensorrt, "
    "tensorrt-rtx, tvm (or tvm:relax, tvm:relay), tvm:untuned, or package.module:Class; several "
    "times. Without it: all that have what they need.",
)
@click.option(
    "--artifact",
    "artifacts",
    type=PATH,
    multiple=True,
    help="The artifact folder that `tvm` runs; one of each stack for `tvm:relax` and `tvm:relay`, "
    "and one with regions for another engine, as `tvm+tensorrt`.",
)
@click.option("--untuned", type=PATH, help="The artifact folder that `tvm:untuned` runs.")
@click.option("--checkpoint", type=PATH, help="The checkpoint that torch and torch.compile run.")
@click.option(
    "--model",
    metavar="NAME",
    help="What builds the checkpoint's network, where that is your own module:callable, or where "
    "the file holds weights only.",
)
@click.option(
    "--rpc-tracker",
    type=tracker,
    metavar="HOST[:PORT]",
    help="The tracker of a board: `tvm` and `tvm:untuned` run there, and nothing else does.",
)
@click.option(
    "--rpc-key",
    default=lambda: os.environ.get("TVM_TRACKER_KEY"),
    metavar="KEY",
    help="The key of that one board; default: TVM_TRACKER_KEY.",
)
@click.option(
    "--ssh",
    metavar="USER@HOST",
    help="A board with TensorRT and pycuda: `tensorrt` is built and timed there, and nothing is "
    "measured here.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="What TensorRT may compute in, and with tf32 ONNX Runtime on CUDA; int8 takes a model "
    "with QuantizeLinear in it.",
)
@click.option("--inputs", type=PATH, help="An .npz of one array an input; else seeded random ones.")
@click.option("--threads", type=click.IntRange(min=1), help="For every engine; default: all cores.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="To time each engine for.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True)
@click.option(
    "--builds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of each TensorRT engine, timed one by one: builds differ in their tactics. One takes an "
    "engine that was built before.",
)
@click.option(
    "--cuda-graph/--no-cuda-graph",
    default=False,
    show_default=True,
    help="Run through a CUDA graph: all engines on the GPU, or none.",
)
@click.option(
    "--budget-ms", type=click.FloatRange(min=0, min_open=True), help="What the model may take."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@dims_option
@click.option("-o", "--output", type=PATH, help="Write the whole result, with raw samples, here.")
@click.option("--report", type=PATH, help="Write a self-contained HTML report here.")
@json_option
def command(
    onnx: Path,
    engines: tuple[str, ...],
    artifacts: tuple[Path, ...],
    untuned: Path | None,
    checkpoint: Path | None,
    model: str | None,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str | None,
    ssh: str | None,
    precision: str,
    inputs: Path | None,
    threads: int | None,
    seconds: float,
    rounds: int,
    builds: int,
    cuda_graph: bool,
    budget_ms: float | None,
    seed: int,
    dims: tuple[tuple[str, int], ...],
    output: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Measure engines head to head on one ONNX model.

    Each engine runs in its own process, on the same threads and inputs, in turns; its outputs are
    first checked against ONNX Runtime in FP32.

    \b
    Examples:
      tvmkd compare model.onnx
      tvmkd compare model.onnx --artifact out/ --threads 2 -o result.json --report report.html
      tvmkd compare model.onnx --engine onnxruntime --engine tvm --artifact out/ --json
      tvmkd compare model.onnx --artifact out/relax --artifact out/relay
      tvmkd compare model.onnx --artifact out/nano --rpc-tracker 127.0.0.1:9190 --rpc-key nano
      tvmkd compare model.onnx --ssh user@nano --precision fp16
      tvmkd compare model.onnx --engine tensorrt --engine onnxruntime:cuda --builds 3
    """
    if rpc_tracker is not None and rpc_key is None:
        raise click.UsageError("--rpc-tracker goes with --rpc-key")
    for path, what in (
        *((folder, "artifact") for folder in artifacts),
        (untuned, "artifact"),
        (checkpoint, "checkpoint"),
        (inputs, "file of inputs"),
    ):
        if path is not None:
            existing(path, what)
    from tvmkd import artifact
    from tvmkd.bench import compare, table
    from tvmkd.bench.engines import on_gpu
    from tvmkd.export.check import check

    check(onnx, dict(dims))
    if untuned is not None:
        artifact.read(untuned)
    gpu = on_gpu() if ssh is None else ["tensorrt"]
    wanted = specs(engines, onnx, by_stack(artifacts), untuned, checkpoint, model, precision, gpu)
    if ssh is not None or (rpc_tracker is not None and rpc_key is not None):
        board = None if rpc_tracker is None or rpc_key is None else (*rpc_tracker, rpc_key)
        wanted = on_board(wanted, board, ssh, named=bool(engines))
    else:
        _check_gpu(wanted)
    with table.following() as tell:
        result = compare(
            wanted,
            onnx,
            None if inputs is None else [arrays(inputs)],
            threads=threads,
            seconds=seconds,
            rounds=rounds,
            builds=builds,
            cuda_graph=cuda_graph,
            budget_ms=budget_ms,
            dims=dict(dims),
            seed=seed,
            progress=tell,
        )
    if output is not None:
        result.save(output)
    if report is not None:
        from tvmkd import report as html
        from tvmkd.stacks import progress

        here = artifacts if rpc_tracker is None and ssh is None else ()
        kernels = progress.kernels(here[0], inputs) if here else None
        html.write(report, result, kernels=kernels)
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        table.show(result)


def by_stack(artifacts: Sequence[Path]) -> dict[str, Path]:
    """Which artifact each engine runs: ``tvm`` the first, ``tvm:STACK`` the one of that stack.

    One with regions for another engine is ``tvm+ENGINE``, beside one of its stack without.

    Raises:
        InputError: one is no artifact, or two are of the same stack or have the same engine.
    """
    from tvmkd import artifact
    from tvmkd.base.errors import InputError

    found: dict[str, Path] = {}
    for folder in artifacts:
        manifest = artifact.read(folder)
        handed = manifest.coverage.get("byoc") or {}
        regions = bool(handed.get("regions"))
        name = f"tvm+{handed['engine']}" if regions else f"tvm:{manifest.stack}"
        if name in found:
            both = "have regions for" if regions else "are both of the stack"
            raise InputError(f"{found[name]} and {folder} {both} {name[4:]}: give one of each")
        found[name] = folder
        if not regions:
            found.setdefault("tvm", folder)
    return found


def specs(
    engines: Sequence[str],
    onnx: Path,
    artifacts: Mapping[str, Path],
    untuned: Path | None,
    checkpoint: Path | None,
    model: str | None = None,
    precision: str = "fp32",
    gpu: Sequence[str] = (),
) -> list[EngineSpec]:
    """The engines that were named, or every engine that has what it needs.

    Args:
        precision: of TensorRT's engines.
        gpu: the engines that some NVIDIA GPU can run.
    """
    from tvmkd.bench import EngineSpec
    from tvmkd.bench.engines import ARTIFACTS

    paths = {
        "torch": checkpoint,
        "torch.compile": checkpoint,
        "onnxruntime": onnx,
        **({} if engines else dict.fromkeys(gpu, onnx)),
        "tvm:untuned": untuned,
        # Two artifacts are told apart by their stacks, one alone needs no telling.
        **{name: path for name, path in artifacts.items() if engines or _shown(name, artifacts)},
    }
    names = list(engines) or [name for name, path in paths.items() if path is not None]
    known = {**dict.fromkeys(ARTIFACTS), **paths}
    code = {} if model is None else {"model": model, "search_in": [os.getcwd()]}
    return [
        EngineSpec(
            name,
            name,
            known.get(name, onnx),
            precision=precision if _follows(name, precision) else "fp32",
            options=code if name in ("torch", "torch.compile") else {},
        )
        for name in names
    ]


def _follows(name: str, precision: str) -> bool:
    """Whether --precision is for this engine: TensorRT's, and CUDA's provider has TF32."""
    if name == "onnxruntime:cuda":
        return precision == "tf32"
    return "tensorrt" in name and "+" not in name


def _shown(name: str, artifacts: Mapping[str, Path]) -> bool:
    plain = {path for other, path in artifacts.items() if "+" not in other}
    return "+" in name or (name == "tvm") == (len(plain) == 1)


def on_board(
    wanted: Sequence[EngineSpec],
    board: tuple[str, int, str] | None,
    ssh: str | None,
    *,
    named: bool,
) -> list[EngineSpec]:
    """The engines that run on a board, as engines of it.

    Args:
        wanted: the engines.
        board: tracker's host and port, and the key of the board: there TVM's engines run.
        ssh: USER@HOST of the same board: there TensorRT runs.
        named: whether somebody named the engines.

    Raises:
        InputError: several boards have the key, or none of the engines can run on one.
        UsageError: an engine that was named cannot, or ``ssh`` is no destination.
        MissingError: no tracker or no board, or it lacks what TensorRT takes.
    """
    import dataclasses

    from tvmkd.base.errors import InputError, UsageError
    from tvmkd.bench.engines import ARTIFACTS, ON_BOARD, TENSORRT_ON_BOARD
    from tvmkd.tensorrt.ssh import RemoteEngine

    if ssh is not None:
        # Before any work: what the board lacks.
        RemoteEngine(ssh).close()
    able: list[EngineSpec] = []
    address = None if board is None else _one_board(*board)
    for spec in wanted:
        if spec.kind in ARTIFACTS and address is not None:
            options: dict[str, Any] = {"tracker": address}
            able.append(dataclasses.replace(spec, kind=ON_BOARD, options=options))
        elif spec.kind == "tensorrt" and ssh is not None:
            options = {"ssh": ssh, "clock": _clock(wanted) if board else "host"}
            able.append(dataclasses.replace(spec, kind=TENSORRT_ON_BOARD, options=options))
        elif named:
            raise UsageError(
                f"engine {spec.name} cannot run on a board: tvm engines do over RPC "
                "(--rpc-tracker), tensorrt over --ssh"
            )
    if not able:
        raise InputError("nothing to run on the board: give --artifact (or --untuned)")
    return able


def _check_gpu(wanted: Sequence[EngineSpec]) -> None:
    """Makes sure that not all of the engines lack a GPU or their package.

    Raises:
        MissingError: they do; says what the first one lacks.
    """
    from tvmkd.base.errors import MissingError
    from tvmkd.bench.engines import GPU_KINDS, why_not

    lacks = [why_not(spec.kind) if spec.kind in GPU_KINDS else None for spec in wanted]
    if lacks and all(lacks):
        raise MissingError(str(lacks[0]))


def _clock(wanted: Sequence[EngineSpec]) -> str:
    """What TensorRT is timed by, to be compared with TVM's artifacts.

    TVM's kernels for a GPU are timed with their tensors on it, those for a CPU with them in the
    host's memory, where a GPU has to fetch them.
    """
    from tvmkd import artifact
    from tvmkd.bench.engines import ARTIFACTS

    paths = [Path(spec.path) for spec in wanted if spec.kind in ARTIFACTS and spec.path is not None]
    on_gpu = [artifact.read(path).target.get("device") == "cuda" for path in paths]
    return "compute" if on_gpu and all(on_gpu) else "host"


def _one_board(host: str, port: int, key: str) -> dict[str, Any]:
    """The address of the one board under ``key``."""
    from tvmkd.base.errors import InputError
    from tvmkd.boards.connect import check

    count = len(check(host, port, key))
    if count > 1:
        raise InputError(
            f"{count} boards have the key {key!r}, and a comparison is made on one: give that "
            "board a key of its own"
        )
    return {"host": host, "port": port, "key": key}
