"""``tvmkd board serve``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.cli._options import (
    environment_key,
    environment_tracker,
    label,
    stack_options,
    tracker,
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True)
@click.option(
    "--rpc-tracker",
    type=tracker,
    default=environment_tracker,
    metavar="HOST[:PORT]",
    help="The tracker to register with; default: TVM_TRACKER_HOST and TVM_TRACKER_PORT.",
)
@click.option(
    "--rpc-key",
    type=label,
    default=environment_key,
    metavar="KEY",
    help="The key to register under; default: TVM_TRACKER_KEY.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="CIDR",
    help="Accept clients from this network only, and from this machine; several times.",
)
@click.option("--threads", type=click.IntRange(min=1), help="For a kernel; default: TVM decides.")
@stack_options()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once it listens.")
def command(
    host: str,
    port: int,
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str | None,
    allow: tuple[str, ...],
    threads: int | None,
    stack: str,
    stack_python: Path | None,
    as_json: bool,
) -> None:
    """Run the RPC server here: this machine becomes a board.

    It runs until Ctrl-C. For machines that can run Python; others get `tvmkd board bundle`. A
    server runs the kernels of one stack: give each its own key.

    \b
    Examples:
      tvmkd board serve --rpc-tracker 127.0.0.1:9190 --rpc-key nano
      tvmkd board serve --host 192.168.1.7 --allow 192.168.1.0/24 \\
          --rpc-tracker 192.168.1.2 --rpc-key nano
      tvmkd board serve --stack relay --port 9091 --rpc-tracker 127.0.0.1 --rpc-key nano-relay
    """
    import contextlib
    import json

    from tvmkd.base import console
    from tvmkd.boards import access, fleet
    from tvmkd.boards.connect import summary
    from tvmkd.runtime import interpreters

    if rpc_tracker is None or rpc_key is None:
        raise click.UsageError("give --rpc-tracker and --rpc-key (or TVM_TRACKER_HOST and _KEY)")
    access.check_networks(allow)
    reach = access.reach(host, allow)
    runs = interpreters.find(stack, stack_python)
    summary(*rpc_tracker)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as opened:
        at = f"{rpc_tracker[0]}:{rpc_tracker[1]}"
        process = fleet.start_server(
            at, rpc_key, host=host, port=port, threads=threads, allow=allow, runs=runs
        )
        opened.callback(process.end)
        port = process.wait_until_listening()
        if not access.is_loopback(host) and not allow:
            console.warn(access.WARNING)
        if as_json:
            click.echo(json.dumps({"host": host, "port": port, "key": rpc_key}))
        else:
            click.echo(f"board at {host}:{port} under the key {rpc_key!r} of {at}: {reach}")
        process.wait()
