"""``tvmkd export``."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, existing, json_option, print_json


def shape(text: str) -> tuple[int, ...]:
    """Parses ``1,3,224,224`` for click."""
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
@click.option("--precision", type=click.Choice(("fp32", "fp16")), default="fp32", show_default=True)
@click.option(
    "--keep-fp32",
    multiple=True,
    metavar="LAYER",
    help="With fp16: a module's path or a node's name that stays in FP32; may be repeated.",
)
@click.option("--target", help="Refuse a precision that does not pay on this target.")
@click.option("--allow-slow", is_flag=True, help="Only warn of such a precision.")
@json_option
def command(
    checkpoint: Path,
    output: Path,
    dynamic_batch: bool,
    input_shape: tuple[int, ...] | None,
    model: str | None,
    opset: int,
    precision: str,
    keep_fp32: tuple[str, ...],
    target: str | None,
    allow_slow: bool,
    as_json: bool,
) -> None:
    """Export a checkpoint to ONNX, checked against PyTorch.

    The file gets its name only once ONNX Runtime gives the same outputs as PyTorch. What is known
    of the model (teacher, metric, preprocessing, hash of the data) goes into its metadata. With
    --precision fp16 weights and arithmetic are half precision, inputs and outputs stay float32.

    \b
    Examples:
      tvmkd export runs/demo/student.pt -o student.onnx
      tvmkd export runs/demo/student.pt -o student.onnx --dynamic-batch
      tvmkd export weights.pt -o m.onnx --model torchvision:resnet18 --input-shape 1,3,224,224
      tvmkd export student.pt -o half.onnx --precision fp16 --keep-fp32 head
    """
    existing(checkpoint, "checkpoint")
    check_output(output)
    import onnx

    from tvmkd import targets
    from tvmkd.base import console
    from tvmkd.base.errors import UsageError
    from tvmkd.export import check, export
    from tvmkd.export.fusion import fusion
    from tvmkd.export.half import half

    if keep_fp32 and precision == "fp32":
        raise UsageError("--keep-fp32 goes with --precision fp16")
    if target is not None:
        slow = targets.load(target).check_pays(precision, allow_slow)
        if slow is not None:
            console.warn(slow)
    with contextlib.ExitStack() as opened:
        opened.enter_context(console.working(f"exporting {checkpoint}"))
        single = output
        if precision == "fp16":
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-export-"))
            single = Path(folder) / output.name
        export(
            checkpoint,
            single,
            input_shape,
            dynamic_batch=dynamic_batch,
            opset=opset,
            model=model,
        )
        fused = fusion(onnx.load(str(single), load_external_data=False))
        error = half(single, output, keep_fp32) if precision == "fp16" else None
    info = check(output, {"batch": 1} if dynamic_batch else None)
    problem = fused.problem()
    if problem is not None:
        console.warn(f"{output}: {problem}")
    if as_json:
        facts = {"precision": precision, "fusion": fused.to_dict(), "fp16_error": error}
        print_json({**info.to_dict(), **facts})
        return
    size = sum(path.stat().st_size for path in (output, *info.external))
    click.echo(f"{output}: {size / 1e6:.2f} MB, opset {info.opset}, agrees with PyTorch")
    if error is not None:
        click.echo(f"FP16: differs from FP32 by at most {error:.1e} of the output's range")
    if problem is None:
        click.echo(fused.line())
