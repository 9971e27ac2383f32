"""``tvmkd profile``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, existing, json_option, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from tvmkd.bench.gpu_guess import Guess
    from tvmkd.bench.kernel_profile import KernelProfile
    from tvmkd.bench.nsys import GpuProfile


WIDTH = 132
"""Columns of the table at least: names of kernels are long."""


@click.command()
@click.argument("onnx", type=PATH)
@click.option(
    "--artifact",
    type=PATH,
    help="The artifact folder to profile; default: one that is built for this machine with the "
    "records that ship.",
)
@click.option(
    "--nsys",
    type=PATH,
    help="Take the times from this SQLite export of Nsight Systems, of runs of the artifact on a "
    "GPU.",
)
@click.option("--inputs", type=PATH, help="An .npz with one array per input. Default: random.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Timed runs, each with and without the timer.",
)
@click.option("--report", type=PATH, help="Write a self-contained HTML page to this file.")
@click.option("--trace", type=PATH, help="Write a trace for Perfetto (ui.perfetto.dev).")
@json_option
def command(
    onnx: Path,
    artifact: Path | None,
    nsys: Path | None,
    inputs: Path | None,
    runs: int,
    report: Path | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Show where an artifact's time goes, kernel by kernel.

    Each kernel comes with the ONNX nodes that it computes, which are found by the values that it
    writes, its speed against what this machine can do at most, and the time that ONNX Runtime takes
    for the same nodes. For an artifact of a GPU: with --nsys the times on it, otherwise a rank by
    what ptxas says of its kernels.

    \b
    Examples:
      tvmkd profile model.onnx
      tvmkd profile model.onnx --artifact out/ --report profile.html --trace trace.json
      tvmkd profile model.onnx --artifact out/ --json
      tvmkd profile model.onnx --artifact out/gpu
      tvmkd profile model.onnx --artifact out/gpu --nsys report.sqlite
    """
    for path, what in ((onnx, "ONNX file"), (artifact, "artifact"), (inputs, "file of inputs")):
        if path is not None:
            existing(path, what)
    if nsys is not None:
        if artifact is None or report is not None or trace is not None or inputs is not None:
            raise click.UsageError("--nsys goes with --artifact, and with nothing but --json")
        _on_gpu(onnx, artifact, nsys, as_json)
        return
    if artifact is not None and _for_gpu(artifact):
        if report or trace or inputs:
            raise click.UsageError(
                f"--report, --trace and --inputs are for a CPU's artifact, and {artifact} is for a "
                "GPU: give --nsys, or none of them"
            )
        _guessed(onnx, artifact, as_json)
        return
    for written in (report, trace):
        if written is not None:
            check_output(written)
    from tvmkd.base.files import write_json
    from tvmkd.bench import profiling
    from tvmkd.bench import trace as traces

    with contextlib.ExitStack() as opened:
        if artifact is None:
            from tvmkd import targets
            from tvmkd.stacks.compile import build
            from tvmkd.stacks.progress import following

            work = opened.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-"))
            artifact = Path(work) / "artifact"
            with following(f"building {onnx}") as tell:
                build(onnx, targets.load("host"), [], artifact, inputs=inputs, on_event=tell)
        found, peers = profiling.measure(onnx, artifact, inputs, runs)
    if trace is not None:
        write_json(trace, traces.events(found, peers))
    if report is not None:
        from tvmkd.report import profile as page

        page.write(report, found)
    if as_json:
        print_json(found.to_dict())
        return
    _print(table(found))
    click.echo(summary(found))


def _kernels(onnx: Path, artifact: Path) -> Mapping[str, Any]:
    """The facts of a GPU artifact's kernels."""
    from tvmkd import artifact as artifacts
    from tvmkd.bench import profiling

    manifest = artifacts.read(artifact)
    profiling.made_of(onnx, artifact, manifest)
    found: Mapping[str, Any] = manifest.coverage.get("kernels", {})
    return found


def _on_gpu(onnx: Path, artifact: Path, export: Path, as_json: bool) -> None:
    from tvmkd.bench import nsys

    found = nsys.profile(export, _kernels(onnx, artifact))
    if as_json:
        print_json(found.to_dict())
        return
    _print(gpu_table(found))
    whole = "" if found.run_us is None else f", {found.run_us / 1e3:.3f} ms from run to run"
    click.echo(
        f"a run: kernels take {found.gpu_us / 1e3:.3f} ms{whole} ({found.runs} runs; "
        f"{found.others} launches of other kernels)"
    )


def _for_gpu(artifact: Path) -> bool:
    from tvmkd import artifact as artifacts
    from tvmkd.base.errors import TvmkdError

    try:
        return artifacts.read(artifact, verify=False).target.get("device") == "cuda"
    except TvmkdError:  # said by what reads it next
        return False


def _guessed(onnx: Path, artifact: Path, as_json: bool) -> None:
    from tvmkd.bench import gpu_guess

    found = gpu_guess.rank(_kernels(onnx, artifact))
    if as_json:
        print_json({"guessed": [each.to_dict() for each in found]})
        return
    if not found:
        click.echo("It has no kernel of TVM's that can be tuned: there is nothing to rank")
        return
    _print(guess_table(found))
    click.echo(
        "Nothing was run: a share is that of a kernel's operations, counted more below an "
        "occupancy of 0.5. Kernels that cannot be tuned, such as sorting, are not in it. Times: "
        "nsys profile, and --nsys"
    )


def guess_table(guesses: Sequence[Guess]) -> Table:
    """The kernels of a GPU's artifact as a rich table, without times."""
    heads = ("calls", "share", "GFLOP", "regs", "spills", "shared", "occup.", "tuned")
    result = _headed(heads, width=34, nodes=28)
    for each in guesses:
        result.add_row(
            each.name,
            str(each.calls),
            f"{each.share:.1%}",
            f"{each.gflop:.3g}",
            _figure(each.registers, "d"),
            _figure(each.spill_bytes, "d"),
            _figure(each.shared_bytes, "d"),
            _figure(each.occupancy, ".2f"),
            "yes" if each.tuned else "no",
            short(each.nodes),
        )
    return result


def gpu_table(profile: GpuProfile) -> Table:
    """The kernels on a GPU as a rich table."""
    heads = ("launches", "us", "share", "GFLOP/s", "registers", "occupancy")
    result = _headed(heads, width=40, nodes=22)
    for kernel in profile.kernels:
        result.add_row(
            kernel.name,
            str(kernel.launches),
            f"{kernel.us:.1f}",
            f"{kernel.share:.1%}",
            _figure(kernel.gflops, ".0f"),
            _figure(kernel.registers, "d"),
            _figure(kernel.occupancy, ".2f"),
            short(kernel.nodes),
        )
    return result


def summary(profile: KernelProfile) -> str:
    """One run, the sum of ONNX Runtime's nodes, and the limits."""
    limits = profile.roofline
    return (
        f"a run: {profile.run_us / 1e3:.3f} ms; ONNX Runtime's nodes: {profile.peer_us / 1e3:.3f} "
        f"ms, of which {profile.peer_other_us / 1e3:.3f} ms belong to no kernel; {limits.threads} "
        f"threads reach {limits.gflops:.0f} GFLOP/s and read {limits.gbps:.1f} GB/s"
        + (f"\n{profile.warning}" if profile.warning else "")
    )


def table(profile: KernelProfile) -> Table:
    """The kernels as a rich table."""
    heads = ("calls", "us", "share", "ORT us", "GFLOP/s", "FLOP/B", "of limit")
    result = _headed(heads, width=44)
    for kernel in profile.kernels:
        result.add_row(
            kernel.name,
            str(kernel.calls),
            f"{kernel.us:.1f}",
            f"{kernel.share:.1%}",
            _figure(kernel.peer_us, ".1f"),
            _figure(kernel.gflops, ".1f"),
            _figure(kernel.intensity, ".2f"),
            _figure(kernel.of_limit, ".0%"),
            short(kernel.nodes),
        )
    return result


def _print(table: Table) -> None:
    from rich.console import Console

    Console(highlight=False, width=max(WIDTH, Console().width)).print(table)


def _headed(heads: Sequence[str], width: int, nodes: int | None = None) -> Table:
    """A table of kernels: their names, figures, and the ONNX nodes that they compute.

    Args:
        heads: of the figures.
        width, nodes: columns that names and nodes take at most.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(box=SIMPLE_HEAD)
    result.add_column("kernel", overflow="ellipsis", no_wrap=True, max_width=width)
    for head in heads:
        result.add_column(head, justify="right", no_wrap=True)
    result.add_column("ONNX nodes", overflow="ellipsis", no_wrap=True, max_width=nodes)
    return result


def short(nodes: list[str]) -> str:
    """The first node and how many more there are; a dash where none is known."""
    return f"{nodes[0]}{f' +{len(nodes) - 1}' if len(nodes) > 1 else ''}" if nodes else "–"


def _figure(value: Any, form: str) -> str:
    return "–" if value is None else format(value, form)
