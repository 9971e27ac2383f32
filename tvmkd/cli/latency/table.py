"""``tvmkd latency table``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tvmkd.cli._options import (
    PATH,
    environment_key,
    environment_tracker,
    json_option,
    label,
    print_json,
    stack_options,
    target_option,
    tracker,
)


@click.command()
@click.option(
    "--space",
    type=PATH,
    required=True,
    metavar="TOML",
    help="A tvmkd.toml with [search.space], or whose [distill] shapes the student by a latency "
    "table: the networks to be predicted.",
)
@target_option
@click.option(
    "--records",
    type=PATH,
    required=True,
    help="The table's folder: new, one to continue, or any folder of tuning records.",
)
@click.option(
    "--rpc-tracker",
    type=tracker,
    default=environment_tracker,
    metavar="HOST[:PORT]",
    help="The TVM tracker of the boards; default: TVM_TRACKER_HOST and TVM_TRACKER_PORT, "
    'or "local": a tracker and a board started on this machine.',
)
@click.option(
    "--rpc-key",
    type=label,
    default=lambda: environment_key() or "local",
    metavar="KEY",
    help="The key of the boards; default: TVM_TRACKER_KEY.",
)
@click.option("--boards", type=click.IntRange(min=1), help="Boards to tune on at once.")
@click.option(
    "--networks",
    "count",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Networks of the space to look for kernels in.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials of each kernel that has none.",
)
@click.option(
    "--kernels",
    type=click.IntRange(min=0),
    help="Kernels to measure now at most, the most useful first; default: all.",
)
@click.option(
    "--whole",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="Whole networks to time, which say what kernels cost inside of one.",
)
@click.option(
    "--evaluator",
    type=click.Choice(["time", "icount"]),
    default="time",
    show_default=True,
    help="icount: instructions instead of time, on emulated boards that count them.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@stack_options()
@json_option
def command(
    space: Path,
    target_name: str,
    records: Path,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str,
    boards: int | None,
    count: int,
    trials: int,
    kernels: int | None,
    whole: int,
    evaluator: str,
    seed: int,
    stack: str,
    stack_python: Path | None,
    as_json: bool,
) -> None:
    """Measure the kernels of a search space on the target, so that times can be predicted.

    Networks are drawn from the space, or cut out of the student, and lowered; kernels that nobody
    has measured are tuned, the most useful first, on every board under the key; then the networks
    are timed whole whose prediction is the least certain. Everything is written as it is measured:
    the same command again continues.

    \b
    Examples:
      tvmkd latency table --space tvmkd.toml --target host --records latency/host
      tvmkd latency table --space tvmkd.toml --target jetson-nano --records latency/nano \\
          --rpc-tracker 127.0.0.1:9190 --rpc-key nano
    """
    from tvmkd import config, targets
    from tvmkd.base import console
    from tvmkd.base.errors import InputError
    from tvmkd.base.files import check_output
    from tvmkd.distill import tasks
    from tvmkd.search.latency import filling
    from tvmkd.search.latency.report import lines
    from tvmkd.search.latency.table import LatencyTable
    from tvmkd.search.latency.target_boards import TargetBoards
    from tvmkd.search.sampling import networks, structures
    from tvmkd.search.soft import sampling
    from tvmkd.search.space import Space

    cfg = config.read(space)
    if cfg.search is None and not cfg.distill.shaped:
        raise InputError(
            f'{space}: has no [search.space], and no [distill] latency = "table" with a '
            "latency_weight; one of them says which networks there are"
        )
    check_output(records, folder=True)
    target = targets.load(target_name)
    task = tasks.make(cfg, [space.parent])
    if cfg.search is None:
        sample = sampling.networks(cfg, target, task, count, seed)
    else:
        chosen = Space.from_config(cfg, target, [space.parent])
        sample = networks(chosen, task, structures(chosen, count, seed))
    fleet = TargetBoards(
        target,
        stack,
        tracker=rpc_tracker,
        key=rpc_key,
        evaluator=evaluator,
        boards=boards,
        python=stack_python,
    )
    with (
        LatencyTable(records, target, fleet, stack, python=stack_python) as table,
        console.progress() as progress,
    ):
        done = filling.fill(
            table,
            sample,
            trials=trials,
            kernels=kernels,
            whole=whole,
            seed=seed,
            progress=progress,
        )
        facts = table.describe()
    if as_json:
        print_json({**asdict(done), "table": facts})
        return
    click.echo("\n".join(lines(done, facts)))
