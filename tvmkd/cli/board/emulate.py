"""``tvmkd board emulate``."""

from __future__ import annotations

import contextlib
import json

import click

from tvmkd.cli._options import (
    label,
    tracker,
)


@click.command()
@click.option(
    "--target",
    "target_name",
    default="jetson-nano",
    show_default=True,
    metavar="NAME|FILE",
    help="An AArch64 board.",
)
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--rpc-key", type=label, default="emulated", show_default=True, metavar="KEY")
@click.option(
    "--rpc-tracker",
    type=tracker,
    default="local",
    show_default=True,
    metavar="HOST[:PORT]",
    help='The tracker to register with; "local" starts one.',
)
@click.option("--icount", is_flag=True, help="Count instructions, for --evaluator icount.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once they are ready.")
def command(
    target_name: str,
    count: int,
    rpc_key: str,
    rpc_tracker: tuple[str, int] | None,
    icount: bool,
    as_json: bool,
) -> None:
    """Run emulated boards here, registered with a tracker.

    They run until Ctrl-C. The server, the uploads and the AArch64 instructions are real; the times
    are not, and are marked as emulated wherever they are written. A board that dies is started
    again.

    \b
    Examples:
      tvmkd board emulate --target jetson-nano --count 3
      tvmkd board emulate --count 2 --icount --rpc-tracker 127.0.0.1:9190 --rpc-key nano
    """
    from tvmkd import targets
    from tvmkd.base import console
    from tvmkd.boards import emulate

    target = targets.load(target_name)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        with console.working(f"starting {count} emulated {target.name}"):
            fleet = stack.enter_context(
                emulate.running_emulated_fleet(
                    target, count, rpc_key, icount=icount, tracker=rpc_tracker
                )
            )
        ports = [board.port for board in fleet.servers]
        if as_json:
            ready = {"host": fleet.host, "port": fleet.port, "key": rpc_key, "boards": ports}
            click.echo(json.dumps(ready))
        else:
            address = f"--rpc-tracker {fleet.host}:{fleet.port} --rpc-key {rpc_key}"
            click.echo(f"{count} emulated {target.name} under the key {rpc_key!r}, ports {ports}")
            click.echo(
                f"tvmkd tune model.onnx --target {target.name} {address} --trials 64 "
                f"--records records/emulated{' --evaluator icount' if icount else ''}"
            )
            click.echo("Their times mean nothing. Ctrl-C ends them.")
        emulate.keep_alive(fleet, lambda text: click.echo(text, err=True))
