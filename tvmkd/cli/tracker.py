"""``tvmkd tracker``."""

from __future__ import annotations

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=9190, show_default=True)
@click.option(
    "--ssh",
    "boards",
    multiple=True,
    metavar="USER@BOARD[:PORT]",
    help="Open an SSH tunnel for a board, so that it registers at its own 127.0.0.1:9190 and is "
    "reached here at 127.0.0.1:PORT (9090); several times, with different ports.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once it listens.")
def command(host: str, port: int, boards: tuple[str, ...], as_json: bool) -> None:
    """Run a TVM tracker for boards to register with.

    It runs until Ctrl-C.

    \b
    Examples:
      tvmkd tracker
      tvmkd tracker --ssh user@nano --ssh user@nano2:9091
      tvmkd tracker --host 0.0.0.0
    """
    import contextlib
    import json

    from tvmkd.base import console
    from tvmkd.boards import access, fleet, tunnel

    reach = access.reach(host, ())
    for board in boards:
        tunnel.parse(board)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        process = fleet.start_tracker(host, port)
        stack.callback(process.end)
        port = process.wait_until_listening()
        for board in boards:
            stack.enter_context(tunnel.to_board(board, port))
        if not access.is_loopback(host):
            console.warn(access.WARNING)
        if as_json:
            click.echo(json.dumps({"host": host, "port": port}))
        else:
            click.echo(f"tracker at {host}:{port}: {reach}")
            for board in boards:
                click.echo(
                    f"tunnel to {board}: start its server there with --tracker 127.0.0.1:9190"
                )
        process.wait()
