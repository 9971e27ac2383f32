"""``tvmkd latency predict``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tvmkd.cli._options import (
    PATH,
    dims_option,
    json_option,
    print_json,
    stack_options,
    target_option,
)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.lower().replace(",", "x").split("x")
    if not all(size.strip().isdigit() and int(size) > 0 for size in sizes):
        raise click.BadParameter(f'"{text}" is no shape such as 1x3x224x224')
    return tuple(map(int, sizes))


def _args(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(f'{text!r} is no JSON object such as {{"width": 0.5}}')
    return found


def _of_image(model: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The arguments of a model that the shape of its input tells."""
    from tvmkd import models

    if len(shape) != 4:
        return {}
    size = shape[2] if shape[2] == shape[3] else None
    known = models.arguments(model, classes=0, channels=shape[1], size=size)
    return {key: value for key, value in known.items() if key in ("channels", "in_chans", "size")}


@click.command()
@click.argument("model", metavar="ONNX|MODEL")
@click.option(
    "--records", type=PATH, required=True, help="The table's folder, or any of tuning records."
)
@target_option
@click.option(
    "--input-shape",
    type=_shape,
    metavar="1x3x224x224",
    help="For a MODEL: a registered name, torchvision:NAME, timm:NAME or module:callable.",
)
@click.option(
    "--args", "arguments", type=_args, default="{}", metavar="JSON", help="Arguments of a MODEL."
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Kernels to list, slowest first.",
)
@stack_options()
@dims_option
@json_option
def command(
    model: str,
    records: Path,
    target_name: str,
    input_shape: tuple[int, ...] | None,
    arguments: dict[str, Any],
    top: int,
    stack: str,
    stack_python: Path | None,
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Predict how long a network takes on the target.

    The times of its kernels come from a table, and are added up. The interval holds nine tenths of
    measured times. Kernels that nobody has measured on the target are interpolated from others, and
    named. Weights do not matter: a MODEL is never trained.

    \b
    Examples:
      tvmkd latency predict model.onnx --records latency/nano --target jetson-nano
      tvmkd latency predict torchvision:mobilenet_v2 --input-shape 1x3x96x96 --records latency/host
    """
    from tvmkd import models, targets
    from tvmkd.base import console
    from tvmkd.base.errors import UsageError
    from tvmkd.cli._options import existing
    from tvmkd.search.latency import report
    from tvmkd.search.latency.table import LatencyTable

    existing(records, "folder of a latency table")
    target = targets.load(target_name)
    network: Any = Path(model)
    if network.suffix == ".onnx" or network.is_file():
        existing(network, "ONNX file")
        if input_shape is not None or arguments:
            raise UsageError(
                f"{model}: an ONNX file has no --args, and --shape gives its free dimensions"
            )
    else:
        if input_shape is None:
            raise UsageError(f"{model}: give --input-shape 1x3x224x224, or an ONNX file")
        if dims:
            raise UsageError(f"{model}: --dim and --shape are for ONNX files")
        known = _of_image(model, input_shape)
        network = models.build(model, search_in=[Path.cwd()], **{**known, **arguments})
    with LatencyTable(records, target, stack=stack, dims=dict(dims), python=stack_python) as table:
        found = table.predict_model(network, input_shape)
        for line in table.lowering.assumptions:
            console.say(line)
    if as_json:
        print_json(report.to_json(found, table.unit))
        return
    click.echo("\n".join(report.prediction_lines(model, found, table.unit, top)))
