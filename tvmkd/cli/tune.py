"""``tvmkd tune``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import (
    PATH,
    dims_option,
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
@click.argument("onnx", type=PATH, metavar="ONNX|FOLDER")
@target_option
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
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    required=True,
    help="Kernels to measure in all, those of earlier calls included.",
)
@click.option(
    "--records", type=PATH, required=True, help="The folder of records: new, or one to continue."
)
@click.option(
    "--boards",
    type=click.IntRange(min=1),
    help='Boards to measure on at once; default: all under the key. "local" starts this many '
    "boards, one by default.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds after which a measurement counts as hung.",
)
@click.option(
    "--evaluator",
    type=click.Choice(["time", "icount"]),
    default="time",
    show_default=True,
    help="icount: instructions instead of time, on emulated boards that count them.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@stack_options(both=True)
@dims_option
@json_option
def command(
    onnx: Path,
    target_name: str,
    stack: str,
    stack_python: Path | None,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str,
    trials: int,
    records: Path,
    boards: int | None,
    timeout: float,
    evaluator: str,
    seed: int,
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Tune an ONNX model's kernels on boards over TVM RPC.

    Given the folder of a network with early exits (exits.json): tune what `tvmkd build --runtime
    standalone` compiles of it.

    Every board under the key is used, also those that register later. Every measurement is written
    as it ends. The same command again continues, and never measures a kernel twice.

    With `--stack both` each stack gets all the trials, one after the other, in RECORDS/relax and
    RECORDS/relay. At your own tracker the relay stack uses the boards under KEY-relay, since a
    server runs the kernels of one generation of TVM only.

    \b
    Examples:
      tvmkd tune model.onnx --target host --trials 256 --records records/
      tvmkd tune model.onnx --target jetson-nano --rpc-tracker 127.0.0.1:9190 --rpc-key nano \\
          --trials 1000 --records records/nano
    """
    from tvmkd import targets
    from tvmkd.base import stack_registry
    from tvmkd.early_exit.library import one_file
    from tvmkd.stacks.compile import tune
    from tvmkd.tuning import table

    target = targets.load(target_name)
    check_output(records, folder=True)
    summaries = {}
    both = stack == "both"
    for name in stack_registry.names() if both else (stack,):
        entry = stack_registry.get(name)
        with one_file(onnx) as model, table.following() as follow:
            summaries[name] = tune(
                model,
                target,
                records / name if both else records,
                trials=trials,
                tracker=rpc_tracker,
                key=f"{rpc_key}-{name}" if both and not entry.default else rpc_key,
                boards=boards,
                evaluator=evaluator,
                timeout=timeout,
                seed=seed,
                dims=dict(dims),
                stack=name,
                stack_python=stack_python if entry.own_interpreter else None,
                on_event=follow,
            )
    if as_json:
        print_json(summaries if both else summaries[stack])
        return
    for name, summary in summaries.items():
        place = records / name if both else records
        best = summary["end_to_end_us"]
        kernels = "" if best is None else f", kernels add up to {best / 1e3:.3g} ms"
        click.echo(
            f"{place}: {summary['trials']} trials of {len(summary['tasks'])} tasks, "
            f"{summary['fresh']} of them new, in {summary['seconds']:.0f} s{kernels}"
        )
