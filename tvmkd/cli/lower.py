"""``tvmkd lower``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvmkd.base import stack_registry
from tvmkd.cli._options import (
    PATH,
    dims_option,
    json_option,
    print_json,
    stack_options,
    target_option,
)

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument("onnx", type=PATH, metavar="ONNX|FOLDER")
@target_option
@click.option("--show", is_flag=True, help="Print the lowered module, in Relax or Relay.")
@click.option(
    "--byoc",
    type=click.Choice(stack_registry.byoc_engines()),
    help="List the subgraphs that this engine supports, in place of the kernels; with --stack "
    "relay TensorRT only.",
)
@stack_options()
@dims_option
@json_option
def command(
    onnx: Path,
    target_name: str,
    stack: str,
    stack_python: Path | None,
    show: bool,
    byoc: str | None,
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Show the kernels or the code that an ONNX model compiles to.

    Given the folder of a network with early exits (exits.json): what `tvmkd build --runtime
    standalone` compiles of it.

    The kernels are the tasks that `tvmkd tune` tunes: their kind, how often the model runs each
    (weight), and what one run of it computes.

    \b
    Examples:
      tvmkd lower model.onnx
      tvmkd lower model.onnx --show > model.py
      tvmkd lower model.onnx --stack relay --target jetson-nano --json
      tvmkd lower model.onnx --byoc tensorrt
      tvmkd lower model.onnx --stack relay --byoc tensorrt
    """
    from tvmkd import targets
    from tvmkd.early_exit.library import one_file
    from tvmkd.stacks.client import StackClient
    from tvmkd.stacks.compile import admitted
    from tvmkd.stacks.progress import following

    target = targets.load(target_name)
    with (
        tempfile.TemporaryDirectory(prefix="tvmkd-") as work,
        StackClient(stack, stack_python) as client,
        one_file(onnx) as path,
        following(f"lowering {onnx}") as tell,
    ):
        model = admitted(path, dict(dims), Path(work), tell)
        found = client.lower(model, target.to_dict(), dict(dims), show=show, byoc=byoc)
    if as_json:
        print_json(found)
    elif show:
        click.echo(found["module"])
    elif byoc is not None:
        for line in region_lines(found["byoc"]):
            click.echo(line)
    else:
        from rich.console import Console

        Console(highlight=False).print(table(found["tasks"]))
        for note in found["notes"]:
            click.echo(note)


def table(tasks: list[dict[str, Any]]) -> Table:
    """The tasks as a rich table, in the given order."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    total = sum(task["weight"] * task["flop"] for task in tasks)
    result = Table(
        caption=f"{len(tasks)} tasks, {total / 1e9:.3g} GFLOP in all",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    result.add_column("kind", no_wrap=True)
    result.add_column("weight", justify="right", no_wrap=True)
    result.add_column("GFLOP", justify="right", no_wrap=True)
    result.add_column("name", overflow="fold")
    for task in tasks:
        result.add_row(task["kind"], str(task["weight"]), f"{task['flop'] / 1e9:.3g}", task["name"])
    return result


def region_lines(byoc: Mapping[str, Any]) -> list[str]:
    """Lines that describe the regions that an engine supports, and the operators that are left."""
    from tvmkd.byoc.region import ENGINES

    taken, regions, share = byoc["offloaded"], byoc["regions"], byoc["mac_share"]
    title = ENGINES[byoc.get("engine", "tensorrt")]
    version = f" {byoc['version']}" if byoc["version"] else ""
    lines = [
        f"{title}{version} takes {sum(taken.values())} of {byoc['operators']} operators, "
        f"in {regions} region{'' if regions == 1 else 's'}"
        + ("" if share is None else f", {share:.1%} of the multiply-accumulates")
    ]
    if taken:
        lines.append(f"in {title}: {_counted(taken)}")
    if byoc["left"]:
        lines.append("left in TVM:")
    lines += [
        f"  {entry['count']} {entry['name']}: {'; '.join(entry['reasons'])}"
        for entry in byoc["left"]
    ]
    if byoc.get("available") is not None:
        lines.append(f"cannot be built here: {byoc['available']}")
    return lines


def _counted(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items())
