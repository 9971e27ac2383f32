"""``tvmkd compare --suite``: the options, their checks, and the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvmkd.cli._options import PATH

if TYPE_CHECKING:
    from tvmkd.suites.result import Result
    from tvmkd.suites.running import Watcher

Command = TypeVar("Command", bound=Callable[..., Any])

ALONE = {
    "artifacts": "--artifact",
    "untuned": "--untuned",
    "checkpoint": "--checkpoint",
    "model": "--model",
    "rpc_tracker": "--rpc-tracker",
    "ssh": "--ssh",
    "emulate": "--emulate",
    "inputs": "--inputs",
    "dims": "--dim",
    "report": "--report",
    "budget_ms": "--budget-ms",
}
"""Options of one model's comparison, which a suite has no use for."""
ONLY = {"records": "--records", "trials": "--trials", "minutes": "--minutes", "target": "--target"}


def suite_options(command: Command) -> Command:
    """``--suite`` and what goes with it."""
    command = click.option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="With --suite: begin no network that is expected to end later; the same command goes "
        "on another time.",
    )(command)
    command = click.option(
        "--trials",
        type=click.IntRange(min=0),
        default=0,
        help="With --suite: tune each network by so many trials on this machine first.",
    )(command)
    command = click.option(
        "--records",
        type=PATH,
        multiple=True,
        help="With --suite: tuning records for the artifacts, beside those that ship. Several "
        "times.",
    )(command)
    command = click.option(
        "--target",
        metavar="NAME",
        help="With --suite: what the artifacts are built for; default: host, or cuda with --device "
        "gpu.",
    )(command)
    return click.option(
        "--suite",
        metavar="NAME",
        help="Compare on every network of a suite, in place of MODEL: edge10, or a TOML file. -o "
        "is its folder; what is done there is not done again.",
    )(command)


def check(given: dict[str, Any], suite: str | None, onnx: Path | None) -> None:
    """Refuses options that do not go together.

    Raises:
        click.UsageError: names one of them.
    """
    if suite is None:
        for name, option in ONLY.items():
            if given[name]:
                raise click.UsageError(f"{option} goes with --suite")
        if onnx is None:
            raise click.UsageError("Missing argument 'ONNX', or --suite NAME.")
        return
    if onnx is not None:
        raise click.UsageError("give a model or --suite, not both")
    for name, option in ALONE.items():
        if given[name]:
            raise click.UsageError(f"{option} does not go with --suite")
    if given["output"] is None:
        raise click.UsageError("--suite goes with -o FOLDER")


def run(
    name: str,
    out: Path,
    *,
    device: str | None,
    engines: tuple[str, ...],
    target: str | None,
    records: tuple[Path, ...],
    trials: int,
    minutes: float | None,
    precision: str,
    as_json: bool,
    **method: Any,
) -> None:
    """Runs a suite, with its page written after each network."""
    from tvmkd import targets
    from tvmkd.base.errors import InputError
    from tvmkd.bench import CompareOptions
    from tvmkd.suites import definition, page, running

    suite = definition.load(name)
    device = device or "cpu"
    made_for = targets.load(target or (targets.GPU if device == "gpu" else targets.HOST))
    method.pop("budget_ms")
    plan = running.Plan(
        device=device,
        target=made_for,
        engines=engines,
        records=records,
        trials=trials,
        precision=precision,
        options=CompareOptions(**method),
        minutes=minutes,
    )
    result = running.run(suite, plan, out, _watcher(out))
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        _show(result, out / page.FILE)
    if not result.count("done"):
        raise InputError(f"{out}: no network was compared; each reason is given above")


def _watcher(out: Path) -> Watcher:
    from tvmkd.base import console
    from tvmkd.bench import table
    from tvmkd.stacks import progress
    from tvmkd.suites import page, running

    def began(name: str, number: int, count: int) -> None:
        console.say(f"{name} ({number} of {count})")

    def changed(result: Result) -> None:
        page.write(result, out)

    return running.Watcher(
        network=began,
        building=lambda name: progress.following(f"building for {name}"),
        comparing=table.following,
        changed=changed,
    )


def _show(result: Result, path: Path) -> None:
    from tvmkd.suites import figures

    folder = path.parent
    compared = [(entry.name, found) for entry, found in result.comparisons(folder)]
    for name in figures.engines(compared):
        mean = figures.mean_ratio(compared, name)
        click.echo(
            f"{name}: {mean.ratio:.2f} of the fastest's time (mean of {mean.networks} networks, "
            f"fastest on {mean.fastest})"
        )
    for entry in result.networks:
        if entry.state != "done":
            what = "failed" if entry.state == "failed" else "left out"
            click.echo(f"{entry.name}: {what}: {entry.reason}")
    click.echo(f"page: {path}")
