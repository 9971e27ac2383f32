"""``tvmkd export``."""

from __future__ import annotations

import ast
import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, existing, json_option, print_json


def shape(text: str) -> tuple[int, ...]:
    """Parses ``1,3,224,224`` for click."""
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f'"{text}" is not a shape, for example 1,3,224,224')
    return tuple(int(part) for part in parts)


def argument(text: str) -> tuple[str, Any]:
    """Parses ``NAME=VALUE`` for click: the value as JSON or Python, otherwise as text."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise click.BadParameter(f'"{text}" is not NAME=VALUE, for example num_classes=10')
    for parse in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return name, parse(value)
    return name, value


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
@click.option(
    "--model-arg",
    "model_args",
    type=argument,
    metavar="NAME=VALUE",
    multiple=True,
    help="An argument of --model, for example num_classes=10; once for each.",
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
    model_args: tuple[tuple[str, Any], ...],
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
    A file of weights may hold a state_dict in any common form, or safetensors; if only its number
    of classes differs from that of --model, the model is built with the file's.

    \b
    Examples:
      tvmkd export runs/demo/student.pt -o student.onnx
      tvmkd export runs/demo/student.pt -o student.onnx --dynamic-batch
      tvmkd export weights.pt -o m.onnx --model torchvision:resnet18 --input-shape 1,3,224,224
      tvmkd export w.safetensors -o m.onnx --model my:net --model-arg w=8 --input-shape 1,3,64,64
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

    if model_args and model is None:
        raise UsageError("--model-arg goes with --model")
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
            model_args=dict(model_args) or None,
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
