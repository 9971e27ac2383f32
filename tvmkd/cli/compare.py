"""``tvmkd compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvmkd.base.engine_registry import UNTUNED
from tvmkd.base.files import check_output
from tvmkd.cli import _suite
from tvmkd.cli._options import (
    PATH,
    arrays,
    dims_option,
    environment_key,
    existing,
    json_option,
    label,
    tracker,
)


@click.command()
@click.argument("onnx", type=PATH, required=False)
@_suite.suite_options
@click.option(
    "--engine",
    "engines",
    type=label,
    multiple=True,
    metavar="NAME",
    help="torch, torch.compile (or torch:cuda, torch.compile:cuda), onnxruntime (or "
    "onnxruntime:cuda, onnxruntime:tensorrt), openvino, mnn, ncnn, litert, tensorrt, tensorrt-rtx, "
    "tvm (or tvm:relax, tvm:relay, tvm:standalone), tvm:untuned, or package.module:Class; several "
    "times. Without it: all that have what they need.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu"]),
    help="Only engines on this machine's CPU, or on its NVIDIA GPU. Default: both; with --suite: "
    "cpu.",
)
@click.option(
    "--artifact",
    "artifacts",
    type=PATH,
    multiple=True,
    help="The artifact folder that `tvm` runs. Repeat it to compare one of each stack "
    "(`tvm:relax`, `tvm:relay`), one that needs no TVM (`tvm:standalone`), or one with regions for "
    "another engine (`tvm+tensorrt`).",
)
@click.option("--untuned", type=PATH, help="The artifact folder that `tvm:untuned` runs.")
@click.option("--checkpoint", type=PATH, help="The checkpoint that torch and torch.compile run.")
@click.option(
    "--model",
    metavar="NAME",
    help="The network of the checkpoint: required if it is your own module:callable, or if the "
    "file holds weights only.",
)
@click.option(
    "--rpc-tracker",
    type=tracker,
    metavar="HOST[:PORT]",
    help="The tracker of a board. Only `tvm` and `tvm:untuned` are measured, on that board.",
)
@click.option(
    "--rpc-key",
    type=label,
    default=environment_key,
    metavar="KEY",
    help="The key of the board; default: TVM_TRACKER_KEY.",
)
@click.option(
    "--ssh",
    metavar="USER@HOST",
    help="A board. Only `tensorrt` (it needs TensorRT and pycuda there) and `tvm:standalone` (it "
    "needs nothing) are measured, on that board.",
)
@click.option(
    "--emulate",
    is_flag=True,
    help="QEMU stands for the board: `tvm:standalone` is checked; its times mean nothing.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision that TensorRT may use (tf32: ONNX Runtime on CUDA and torch, too; fp16: torch, "
    "too). int8 needs a model with QuantizeLinear.",
)
@click.option(
    "--inputs", type=PATH, help="An .npz with one array per input. Default: random, seeded."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of every engine; default: all cores."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Measuring time per engine.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Rounds; each measures every engine once, in alternating order.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Starts of each engine, which share the rounds: the same engine differs from process to "
    "process. Default: 3 to 10, as many as take as long to start as all measuring; 1 on a board or "
    "with --builds.",
)
@click.option(
    "--builds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Builds of each TensorRT engine, each timed: builds choose different tactics. With 1, an "
    "engine from the cache is used.",
)
@click.option(
    "--cuda-graph/--no-cuda-graph",
    default=False,
    show_default=True,
    help="Run every engine on the GPU through a CUDA graph.",
)
@click.option(
    "--budget-ms", type=click.FloatRange(min=0, min_open=True), help="Latency budget of the model."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the random inputs.",
)
@dims_option
@click.option("-o", "--output", type=PATH, help="Write the result with all samples to this file.")
@click.option("--report", type=PATH, help="Write a self-contained HTML report to this file.")
@json_option
def command(
    onnx: Path | None,
    suite: str | None,
    target: str | None,
    records: tuple[Path, ...],
    trials: int,
    minutes: float | None,
    engines: tuple[str, ...],
    device: str | None,
    artifacts: tuple[Path, ...],
    untuned: Path | None,
    checkpoint: Path | None,
    model: str | None,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str | None,
    ssh: str | None,
    emulate: bool,
    precision: str,
    inputs: Path | None,
    dims: tuple[tuple[str, int], ...],
    output: Path | None,
    report: Path | None,
    as_json: bool,
    **method: Any,
) -> None:
    """Measure engines head to head on ONNX models.

    Each engine runs in its own process with the same threads and inputs. Measurements of the
    engines alternate. Before that, the outputs are checked against ONNX Runtime in FP32. An engine
    that --engine names and that cannot run is an error; others are left out, with the reason.

    \b
    Examples:
      tvmkd compare model.onnx
      tvmkd compare model.onnx --artifact out/ --threads 2 -o result.json --report report.html
      tvmkd compare model.onnx --engine onnxruntime --engine tvm --artifact out/ --json
      tvmkd compare model.onnx --artifact out/relax --artifact out/relay
      tvmkd compare model.onnx --artifact out/nano --rpc-tracker 127.0.0.1:9190 --rpc-key nano
      tvmkd compare model.onnx --ssh user@nano --precision fp16
      tvmkd compare model.onnx --artifact out/standalone --ssh user@nano
      tvmkd compare model.onnx --engine tensorrt --engine onnxruntime:cuda --builds 3
      tvmkd compare model.onnx --device gpu --checkpoint student.pt --artifact out/gpu
      tvmkd compare --suite edge10 --device gpu --minutes 60 -o edge10
    """
    _suite.check(click.get_current_context().params, suite, onnx)
    if suite is not None and output is not None:
        _suite.run(
            suite,
            output,
            device=device,
            engines=engines,
            target=target,
            records=records,
            trials=trials,
            minutes=minutes,
            precision=precision,
            as_json=as_json,
            **method,
        )
        return
    assert onnx is not None
    if rpc_tracker is not None and rpc_key is None:
        raise click.UsageError("--rpc-tracker goes with --rpc-key")
    if device is not None and (rpc_tracker is not None or ssh is not None or emulate):
        raise click.UsageError("--device is of this machine: it goes with no board")
    if emulate and (rpc_tracker is not None or ssh is not None):
        raise click.UsageError("--emulate goes with neither --rpc-tracker nor --ssh")
    for path, what in (
        *((folder, "artifact") for folder in artifacts),
        (untuned, "artifact"),
        (checkpoint, "checkpoint"),
        (inputs, "file of inputs"),
    ):
        if path is not None:
            existing(path, what)
    for written in (output, report):
        if written is not None:
            check_output(written)
    from tvmkd import artifact
    from tvmkd.base import console
    from tvmkd.base.errors import InputError
    from tvmkd.bench import CompareOptions, compare, selection, table
    from tvmkd.bench.engines import on_gpu
    from tvmkd.export.check import check

    info = check(onnx, dict(dims))
    built = selection.by_stack(artifacts)
    if untuned is not None:
        artifact.read(untuned)
        built[UNTUNED] = untuned
    files = selection.Files(onnx, built, checkpoint, model, [Path.cwd()])
    gpu = on_gpu() if ssh is None else selection.over_ssh()
    specs = selection.select(engines, files, precision, gpu, device)
    tracker = None if rpc_tracker is None or rpc_key is None else (*rpc_tracker, rpc_key)
    if ssh is not None or tracker is not None or emulate:
        board = selection.Board(tracker, ssh, emulate)
        specs = selection.on_board(specs, board, named=bool(engines))
    else:
        selection.check_gpu(specs)
    options = CompareOptions(dims=dict(dims), all_or_none=bool(engines), **method)
    for line in info.assumptions if inputs is None else ():
        console.warn(line)
    with table.following() as tell:
        given = None if inputs is None else [arrays(inputs)]
        result = compare(specs, onnx, given, options=options, progress=tell)
    if output is not None:
        result.save(output)
    if report is not None:
        from tvmkd import report as html
        from tvmkd.stacks import progress

        here = artifacts if rpc_tracker is None and ssh is None and not emulate else ()
        kernels = progress.kernels(here[0], inputs) if here else None
        html.write(report, result, kernels=kernels)
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        table.show(result)
    if not result.engines:
        raise InputError(f"{onnx}: no engine could be measured; each reason is given above")
