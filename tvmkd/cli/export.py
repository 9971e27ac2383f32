"""``tvmkd export``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.cli._options import PATH, existing, json_option, print_json


def shape(text: str) -> tuple[int, ...]:
    """Reads ``1,3,224,224`` for click."""
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f'"{text}" is not a shape, for example 1,3,224,224')
    return tuple(int(part) for part in parts)


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="The ONNX file to write.")
@click.option("--dynamic-batch", is_flag=True, help="Leave the first dimension free.")
@click.option(
    "--input-shape",
    type=shape,
    metavar="N,C,H,W",
    help="Where the checkpoint does not say it; for example 1,3,224,224.",
)
@click.option(
    "--model",
    metavar="MODULE:CALLABLE",
    help="What gives the nn.Module, for a file that holds weights only.",
)
@click.option("--opset", type=click.IntRange(min=18, max=23), default=18, show_default=True)
@json_option
def command(
    checkpoint: Path,
    output: Path,
    dynamic_batch: bool,
    input_shape: tuple[int, ...] | None,
    model: str | None,
    opset: int,
    as_json: bool,
) -> None:
    """Export a checkpoint to ONNX, checked against PyTorch.

    The file gets its name only once ONNX Runtime gives the same outputs as PyTorch. What is known
    of the model (teacher, metric, preprocessing, hash of the data) goes into its metadata.

    \b
    Examples:
      tvmkd export runs/demo/student.pt -o student.onnx
      tvmkd export runs/demo/student.pt -o student.onnx --dynamic-batch
      tvmkd export weights.pt -o m.onnx --model torchvision:resnet18 --input-shape 1,3,224,224
    """
    existing(checkpoint, "checkpoint")
    from tvmkd import console
    from tvmkd.export import check, export

    with console.working(f"exporting {checkpoint}"):
        export(
            checkpoint,
            output,
            input_shape,
            dynamic_batch=dynamic_batch,
            opset=opset,
            model=model,
        )
    info = check(output, {"batch": 1} if dynamic_batch else None)
    if as_json:
        print_json(info.to_dict())
    else:
        size = sum(path.stat().st_size for path in (output, *info.external))
        click.echo(f"{output}: {size / 1e6:.2f} MB, opset {info.opset}, agrees with PyTorch")
