"""``tvmkd targets``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from tvmkd.base.errors import MissingError
from tvmkd.cli._options import json_option, print_json

if TYPE_CHECKING:
    from tvmkd.targets import Target


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or show one.

    A target is a TOML file: what to compile for, how to link, what precisions pay, what the time
    budget is. Give the path of your own file wherever a NAME is wanted.

    \b
    Examples:
      tvmkd targets
      tvmkd targets jetson-nano
      tvmkd targets x86-64-v3 --json
    """
    from tvmkd import targets

    if name is not None:
        target = targets.load(name)
        if as_json:
            print_json(target.to_dict())
        else:
            _show(target)
        return
    found = {label: targets.load(label) for label in targets.shipped()}
    host, gpu = targets.host_name(), None
    with contextlib.suppress(MissingError):
        gpu = targets.load(targets.GPU)
        found = {targets.GPU: gpu, **found}
    if as_json:
        print_json({"host": host, "targets": [item.to_dict() for item in found.values()]})
        return
    width = max(map(len, found))
    for label, item in found.items():
        here = "  (host)" if label == host else "  (this machine's GPU)" if item is gpu else ""
        click.echo(f"{label:<{width}}  {item.device:<4}  {item.description}{here}")


def _show(target: Target) -> None:
    click.echo(f"{target.name}: {target.description}")
    rows = {
        "device": target.device,
        "TVM target": _pairs(target.tvm),
        "TVM host": _pairs(target.host) if target.host else "the same",
        "linked for": f"{target.toolchain.triple}, glibc {target.toolchain.glibc}",
        "channels": f"best in multiples of {target.channel_multiple}",
        "budget": _pairs(target.budget) or "none",
    }
    if target.cuda:
        gpu, facts = target.cuda, [target.cuda.arch, f"PTX up to {target.cuda.ptx_max}"]
        facts += [f"TensorRT {gpu.tensorrt}"] if gpu.tensorrt else []
        facts += [f"{gpu.multiprocessors} multiprocessors"] if gpu.multiprocessors else []
        facts += [f"{gpu.memory_gb_s:g} GB/s"] if gpu.memory_gb_s else []
        rows["CUDA"] = ", ".join(facts)
    if target.power:
        rows["power"] = _pairs(target.power)
    for label, precision in target.precisions.items():
        rows[label] = f"{'pays' if precision.ok else 'does not pay'}: {precision.reason}"
    for label, reason in target.unused.items():
        rows[label] = f"not used: {reason}"
    rows["runs here"] = target.runs_here() or "yes"
    for key, value in rows.items():
        click.echo(f"  {key:<11} {value}")


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items())
