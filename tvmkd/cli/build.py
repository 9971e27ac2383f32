"""``tvmkd build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvmkd.base import stack_registry
from tvmkd.base.runtimes import RUNTIMES, TVM
from tvmkd.cli._options import (
    PATH,
    dims_option,
    environment_key,
    json_option,
    label,
    print_json,
    stack_options,
    target_option,
    tracker,
)
from tvmkd.cli.lower import region_lines

if TYPE_CHECKING:
    from tvmkd.base.frame_description import FrameOptions


def frame_size(text: str) -> tuple[int, int]:
    """Parses ``1280x720`` for click: width and height in pixels."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise click.BadParameter(f'"{text}" is not WxH, for example 1280x720')
    return int(width), int(height)


def _frames(largest: tuple[int, int] | None, steps: str | None) -> FrameOptions:
    from tvmkd.base import frame_reader
    from tvmkd.base.errors import InputError
    from tvmkd.base.files import read_text
    from tvmkd.base.frame_description import LARGEST, FrameOptions

    where = "--preprocessing"
    if steps is not None and not steps.lstrip().startswith("{"):
        where = steps
        try:
            steps = read_text(Path(steps))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where}: cannot be read: {error}") from None
    return FrameOptions(
        largest or LARGEST, frame_reader.parse_steps(steps, where) if steps is not None else {}
    )


@click.command()
@click.argument("onnx", type=PATH, metavar="ONNX|FOLDER")
@target_option
@click.option(
    "--records",
    type=PATH,
    multiple=True,
    help="A folder of records that `tvmkd tune` wrote; may be given several times. Records that "
    "ship with tvmkd are used as well.",
)
@click.option("-o", "--output", type=PATH, required=True, help="The artifact folder to write.")
@click.option(
    "--untuned", is_flag=True, help="Use no records at all, as a baseline for comparisons."
)
@click.option(
    "--inputs", type=PATH, help="An .npz of real inputs for the check against ONNX Runtime."
)
@click.option(
    "--rpc-tracker",
    type=tracker,
    metavar="HOST[:PORT]",
    help="The tracker of a board to check the artifact on, if the target does not run here.",
)
@click.option(
    "--rpc-key",
    type=label,
    default=environment_key,
    metavar="KEY",
    help="The key of that board; default: TVM_TRACKER_KEY.",
)
@stack_options()
@click.option(
    "--byoc",
    type=click.Choice(stack_registry.byoc_engines()),
    help="Offload supported subgraphs to this engine; TVM compiles the rest. With --stack relay "
    "TensorRT only; onnxruntime is for a machine without a GPU.",
)
@click.option(
    "--byoc-precision",
    type=click.Choice(["fp32", "tf32", "fp16"]),
    help="What TensorRT computes the regions of an FP32 model in. A model in FP16 or with "
    "QuantizeLinear (INT8) is computed as it is. Default: fp32.",
)
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default=TVM,
    show_default=True,
    help="What is to run the artifact. standalone: nothing; it is a C library, shared and static, "
    "that needs no TVM and no Python.",
)
@click.option(
    "--name",
    type=label,
    metavar="NAME",
    help="What the model is called; a standalone library's files and symbols are named after it. "
    "Default: the file's name, or that of the run whose early exits the folder holds.",
)
@click.option(
    "--with-preprocessing",
    is_flag=True,
    help="With --runtime standalone: the library takes a camera's frames, too, and gives boxes or "
    "classes.",
)
@click.option(
    "--frame",
    type=frame_size,
    metavar="WxH",
    help="The largest frame, in pixels; default: 1920x1080.",
)
@click.option(
    "--preprocessing",
    metavar="JSON",
    help="How frames become the input, or a file of it; in place of what the ONNX file's metadata "
    "says.",
)
@dims_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End the compiler if it gives no sign of life for so long; 0: never. Default: "
    "TVMKD_BUILD_TIMEOUT, or 1800.",
)
@json_option
def command(
    onnx: Path,
    target_name: str,
    stack: str,
    stack_python: Path | None,
    byoc: str | None,
    byoc_precision: str | None,
    runtime: str,
    name: str | None,
    with_preprocessing: bool,
    frame: tuple[int, int] | None,
    preprocessing: str | None,
    records: tuple[Path, ...],
    output: Path,
    untuned: bool,
    inputs: Path | None,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str | None,
    dims: tuple[tuple[str, int], ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Compile an ONNX model to an artifact: a library and its manifest.

    Given the folder of a network with early exits (exits.json), and --runtime standalone: compile
    it to one library with all of them.

    The artifact folder is written only if the outputs agree with ONNX Runtime's. If a tuned kernel
    is wrong, its record is set aside and the next best one is used. Code for a board is checked on
    a board if a tracker is given.

    \b
    Examples:
      tvmkd build model.onnx -o out/
      tvmkd build model.onnx --target jetson-nano --records records/nano -o out/nano \\
          --rpc-tracker 127.0.0.1:9190 --rpc-key nano
      tvmkd build model.onnx --untuned -o out/untuned --json
      tvmkd build model.onnx --stack relay --records records/relay -o out/relay
      tvmkd build model.onnx --byoc tensorrt --byoc-precision fp16 -o out/tensorrt
      tvmkd build model.onnx --target jetson-nano --runtime standalone -o out/nano
      tvmkd build runs/x/early-exit/exits --runtime standalone -o out/exits
      tvmkd build detector.onnx --runtime standalone --with-preprocessing --frame 1280x720 \\
          -o out/detector
    """
    if untuned and records:
        raise click.UsageError("--untuned uses no records: give one of --untuned and --records")
    if rpc_tracker is not None and rpc_key is None:
        raise click.UsageError("--rpc-tracker goes with --rpc-key")
    if not with_preprocessing and (frame is not None or preprocessing is not None):
        raise click.UsageError("--frame and --preprocessing go with --with-preprocessing")
    if byoc_precision is not None and byoc is None:
        raise click.UsageError("--byoc-precision goes with --byoc")
    frames = _frames(frame, preprocessing) if with_preprocessing else None
    from tvmkd import targets
    from tvmkd.early_exit.library import builder_of
    from tvmkd.stacks import progress

    target = targets.load(target_name)
    with progress.following(f"building for {target.name}") as follow:
        manifest = builder_of(onnx)(
            onnx,
            target,
            list(records),
            output,
            shipped=not untuned,
            inputs=inputs,
            dims=dict(dims),
            stack=stack,
            stack_python=stack_python,
            byoc=byoc,
            byoc_precision=byoc_precision,
            runtime=runtime,
            name=name,
            frames=frames,
            timeout=timeout,
            on_event=follow,
            board=None
            if rpc_tracker is None
            else {"host": rpc_tracker[0], "port": rpc_tracker[1], "key": rpc_key},
        )
    if as_json:
        print_json(manifest)
    else:
        handed = manifest["coverage"].get("byoc")
        for line in [*(region_lines(handed) if handed else ()), *progress.coverage_lines(manifest)]:
            click.echo(line)
        click.echo(f"artifact: {output}")
