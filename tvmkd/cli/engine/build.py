"""``tvmkd engine build``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import (
    PATH,
    arrays,
    dims_option,
    existing,
    json_option,
    print_json,
)


def batch(text: str) -> tuple[int, int, int]:
    """Parses ``MIN:BEST:MAX``, or one number for all three, for click."""
    parts = text.split(":")
    if len(parts) not in {1, 3} or not all(part.isdigit() for part in parts):
        raise click.BadParameter(f'"{text}" is not MIN:BEST:MAX, for example 1:4:8')
    least, best, most = (int(part) for part in parts * (3 if len(parts) == 1 else 1))
    return least, best, most


@click.command()
@click.argument("onnx", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    help="The engine to write; its facts go to the same name with .json added.",
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "tf32", "fp16", "int8")),
    default="fp32",
    show_default=True,
)
@click.option(
    "--product",
    type=click.Choice(("tensorrt", "tensorrt-rtx")),
    default="tensorrt",
    show_default=True,
    help="Which of NVIDIA's two products builds it.",
)
@click.option(
    "--compute-capability",
    metavar="X.Y",
    help="Build for a GPU that is not here; with tensorrt-rtx. Without it: for the one that is "
    "here, or (tensorrt-rtx without a GPU) for all that it knows.",
)
@click.option(
    "--batch",
    "batches",
    type=batch,
    metavar="MIN:BEST:MAX",
    help="The batches that the engine takes, where the model leaves its batch free.",
)
@dims_option
@click.option(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Most memory that a layer may use beside its tensors; default: TensorRT's.",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="FILE.npz",
    help="With int8: samples of each input, stacked along the first axis.",
)
@click.option(
    "--keep-fp32",
    multiple=True,
    metavar="LAYER",
    help="A layer that stays in FP32 where the precision goes into the ONNX; may be repeated.",
)
@click.option("--timing-cache", type=PATH, help="A file of measured tactics, read and written.")
@click.option("--fresh", is_flag=True, help="Build even if the same engine is in the cache.")
@click.option("--verbose", is_flag=True, help="Show what TensorRT says.")
@json_option
def command(
    onnx: Path,
    output: Path,
    precision: Any,
    product: str,
    compute_capability: str | None,
    batches: tuple[int, int, int] | None,
    dims: tuple[tuple[str, int], ...],
    workspace: int | None,
    calibration: Path | None,
    keep_fp32: tuple[str, ...],
    timing_cache: Path | None,
    fresh: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Build a TensorRT or TensorRT-RTX engine from an ONNX model.

    An engine is good for the product, version, GPU and driver that it was built with, and is kept
    in the cache under all of them. FP16 and INT8 come from the builder where it still has flags for
    them, and from the ONNX file where it does not.

    \b
    Examples:
      tvmkd engine build model.onnx -o model.plan --precision fp16
      tvmkd engine build model.onnx -o rtx.plan --product tensorrt-rtx --compute-capability 8.6
      tvmkd engine build free.onnx -o free.plan --batch 1:4:8 --json
      tvmkd engine build model.onnx -o int8.plan --precision int8 --calibration images.npz
    """
    if calibration is not None and precision != "int8":
        raise click.UsageError("--calibration goes with --precision int8")
    for written in (output, output.with_name(f"{output.name}.json"), timing_cache):
        if written is not None:
            check_output(written)
    from tvmkd.tensorrt import api

    bindings = api.find(product)
    existing(onnx, "file")
    from tvmkd.base import console
    from tvmkd.tensorrt import builder, cache, engine, progress
    from tvmkd.tensorrt.options import BuildOptions

    options = BuildOptions(
        precision=precision,
        workspace_mib=workspace,
        batch=batches,
        dims=dict(dims),
        compute_capability=compute_capability,
        timing_cache=timing_cache,
        calibration=None if calibration is None else arrays(calibration),
        keep_fp32=keep_fp32,
        verbose=verbose,
    )
    with progress.watching(f"building with {bindings.title}") as report:
        if fresh:
            made, kept = builder.build(onnx, options, bindings, report), False
        else:
            made, kept = cache.get(onnx, options, bindings, report)
    engine.write(made, output)
    for note in made.notes:
        console.warn(note)
    if as_json:
        print_json({**made.facts(), "cached": kept, "path": str(output)})
        return
    where = made.gpu or (
        f"compute capability {made.compute_capability}"
        if made.compute_capability
        else f"every GPU that {bindings.title} knows"
    )
    click.echo(f"{output}: {bindings.title}, {precision}, for {where}")
    click.echo(
        f"  {made.size / 1e6:.2f} MB, {len(made.layers)} layers from {made.network_layers}, "
        f"{'from the cache, built' if kept else 'built'} in {made.seconds:.1f} s"
    )
