"""``tvmkd compare``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvmkd.cli._options import PATH, dims_option, existing, json_option, tracker

if TYPE_CHECKING:
    from tvmkd.bench import EngineSpec


@click.command()
@click.argument("onnx", type=PATH)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="torch, torch.compile, onnxruntime, tvm, tvm:untuned, or package.module:Class; several "
    "times. Without it: all that have what they need.",
)
@click.option("--artifact", type=PATH, help="The artifact folder that `tvm` runs.")
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
    artifact: Path | None,
    untuned: Path | None,
    checkpoint: Path | None,
    model: str | None,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str | None,
    inputs: Path | None,
    threads: int | None,
    seconds: float,
    rounds: int,
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
      tvmkd compare model.onnx --artifact out/nano --rpc-tracker 127.0.0.1:9190 --rpc-key nano
    """
    if rpc_tracker is not None and rpc_key is None:
        raise click.UsageError("--rpc-tracker goes with --rpc-key")
    for path, what in (
        (artifact, "artifact"),
        (untuned, "artifact"),
        (checkpoint, "checkpoint"),
        (inputs, "file of inputs"),
    ):
        if path is not None:
            existing(path, what)
    from tvmkd import artifact as artifacts
    from tvmkd.bench import compare, table
    from tvmkd.export.check import check

    check(onnx, dict(dims))
    for folder in (artifact, untuned):
        if folder is not None:
            artifacts.read(folder)
    wanted = specs(engines, onnx, artifact, untuned, checkpoint, model)
    if rpc_tracker is not None and rpc_key is not None:
        wanted = on_board(wanted, rpc_tracker, rpc_key, named=bool(engines))
    with table.following() as tell:
        result = compare(
            wanted,
            onnx,
            None if inputs is None else [_read(inputs)],
            threads=threads,
            seconds=seconds,
            rounds=rounds,
            budget_ms=budget_ms,
            dims=dict(dims),
            seed=seed,
            progress=tell,
        )
    if output is not None:
        result.save(output)
    if report is not None:
        from tvmkd import steps
        from tvmkd.bench import report as html

        here = artifact if rpc_tracker is None else None
        kernels = steps.kernel_times(here, inputs) if here is not None else None
        html.write(report, result, kernels=kernels)
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        table.show(result)


def specs(
    engines: Sequence[str],
    onnx: Path,
    artifact: Path | None,
    untuned: Path | None,
    checkpoint: Path | None,
    model: str | None = None,
) -> list[EngineSpec]:
    """The engines that were named, or every engine that has what it needs."""
    from tvmkd.bench import EngineSpec

    paths = {
        "torch": checkpoint,
        "torch.compile": checkpoint,
        "onnxruntime": onnx,
        "tvm:untuned": untuned,
        "tvm": artifact,
    }
    names = list(engines) or [name for name, path in paths.items() if path is not None]
    code = {} if model is None else {"model": model, "search_in": [os.getcwd()]}
    return [
        EngineSpec(name, name, paths.get(name, onnx), options=code if "torch" in name else {})
        for name in names
    ]


def on_board(
    wanted: Sequence[EngineSpec], tracker_at: tuple[str, int], key: str, *, named: bool
) -> list[EngineSpec]:
    """The engines that run on the board under ``key``, as engines of a board.

    Raises:
        InputError: several boards have the key, or none of the engines can run on one.
        UsageError: an engine that was named cannot.
        MissingError: no tracker or no board.
    """
    import dataclasses

    from tvmkd.bench.engines import ON_BOARD
    from tvmkd.boards.connect import check
    from tvmkd.errors import InputError, UsageError

    host, port = tracker_at
    count = len(check(host, port, key))
    if count > 1:
        raise InputError(
            f"{count} boards have the key {key!r}, and a comparison is made on one: give that "
            "board a key of its own"
        )
    address = {"host": host, "port": port, "key": key}
    able = [spec for spec in wanted if spec.kind in {"tvm", "tvm:untuned"}]
    if named and len(able) < len(wanted):
        other = next(spec.name for spec in wanted if spec not in able)
        raise UsageError(f"engine {other} cannot run on a board over RPC: only tvm, tvm:untuned")
    if not able:
        raise InputError("nothing to run on the board: give --artifact (or --untuned)")
    return [dataclasses.replace(spec, kind=ON_BOARD, options={"tracker": address}) for spec in able]


def _read(path: Path) -> dict[str, Any]:
    import numpy as np

    from tvmkd.errors import InputError

    try:
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not an .npz of arrays: {error}") from None
