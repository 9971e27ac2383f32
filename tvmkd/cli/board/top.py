"""``tvmkd board top``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvmkd.cli._options import (
    PATH,
    environment_key,
    environment_tracker,
    json_option,
    label,
    print_json,
    tracker,
)

if TYPE_CHECKING:
    from tvmkd.deploy.monitoring.fleet import Fleet
    from tvmkd.deploy.monitoring.view import View

    Show = Callable[[View], None]


WIDTH = 180


@click.command()
@click.option(
    "--server",
    "urls",
    multiple=True,
    metavar="URL",
    help="An inference server, such as http://nano:8000; once for each.",
)
@click.option(
    "--rpc-tracker",
    type=tracker,
    default=environment_tracker,
    metavar="HOST[:PORT]",
    help="A tracker whose boards to show; default: TVM_TRACKER_HOST and TVM_TRACKER_PORT.",
)
@click.option("--rpc-key", type=label, default=environment_key, metavar="KEY", help="One key only.")
@click.option(
    "--ssh",
    "destinations",
    multiple=True,
    metavar="USER@HOST",
    help="A board to ask over ssh; it needs a shell and nothing else. Once for each.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="Seconds between two questions to the servers.",
)
@click.option(
    "--board-interval",
    type=click.FloatRange(min=1.0),
    default=30.0,
    show_default=True,
    help="Seconds between two questions to a board. No tuning can use it while it is asked.",
)
@click.option("--token-file", type=PATH, help="A file with the token that the servers want.")
@click.option("--cafile", type=PATH, help="Certificates to trust, for https.")
@click.option("--once", is_flag=True, help="Ask once, print, and end.")
@click.option("--page", type=PATH, metavar="FILE", help="Write a page, again and again.")
@click.option(
    "--http",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve the page to browsers on this machine.",
)
@click.option(
    "--dashboards",
    type=PATH,
    metavar="FOLDER",
    help="Write the Grafana dashboard and the Prometheus rules there, and end.",
)
@json_option
def command(
    urls: tuple[str, ...],
    rpc_tracker: tuple[str, int] | None,
    rpc_key: str | None,
    destinations: tuple[str, ...],
    interval: float,
    board_interval: float,
    token_file: Path | None,
    cafile: Path | None,
    once: bool,
    page: Path | None,
    http: int | None,
    dashboards: Path | None,
    as_json: bool,
) -> int:
    """Watch boards and inference servers, live.

    Temperatures, clocks, power modes, latency, missed deadlines and versions: of the boards at a
    tracker or over ssh, and of the servers that `tvmkd serve` and the static server run. It runs
    until Ctrl-C. --json prints a line for each look, or one object with --once. With --once the
    exit code is 1 if a board or a server is down.

    \b
    Examples:
      tvmkd board top --server http://nano-1:8000 --server http://nano-2:8000
      tvmkd board top --rpc-tracker 127.0.0.1:9190 --ssh user@nano-3 --http 8088
      tvmkd board top --server http://nano-1:8000 --once --json
      tvmkd board top --dashboards monitoring/
    """
    if dashboards is not None:
        from tvmkd.deploy.monitoring import dashboards as shipped

        for path in shipped.write(dashboards):
            click.echo(path)
        return 0
    if not (urls or rpc_tracker or destinations):
        raise click.UsageError("give --server, --rpc-tracker or --ssh")
    from tvmkd.base.files import check_output
    from tvmkd.deploy.monitoring.fleet import Fleet
    from tvmkd.deploy.monitoring.scrape import Server
    from tvmkd.deploy.serving.access import read_token

    if page is not None:
        check_output(page)
    token = None if token_file is None else read_token(token_file)
    watched = Fleet(
        [Server.at(url, token, cafile) for url in urls],
        rpc_tracker,
        rpc_key,
        destinations,
        board_interval,
    )
    with watched as fleet, contextlib.ExitStack() as stack:
        shows = [] if page is None and http is None else [_pages(stack, page, http, interval)]
        shows.append(_console(stack, once, as_json, quiet=bool(shows)))
        with contextlib.suppress(KeyboardInterrupt):
            return _watch(fleet, shows, interval, once)
    return 0


def _watch(fleet: Fleet, shows: list[Show], interval: float, once: bool) -> int:
    """Looks until it is interrupted, or once: 1 if a board or server is down then, else 0."""
    due = time.monotonic()
    while True:
        view = fleet.look()
        for show in shows:
            show(view)
        if once:
            return int(any(row.status == "down" for row in view.boards))
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _console(stack: contextlib.ExitStack, once: bool, as_json: bool, quiet: bool) -> Show:
    """Prints every view; ``quiet`` prints none to what is no terminal."""
    if as_json:
        if once:
            return lambda view: print_json(view.to_dict())
        return lambda view: click.echo(json.dumps(view.to_dict()))
    from rich.console import Console

    from tvmkd.deploy.monitoring import table

    screen = Console(highlight=False)
    if not screen.is_terminal:
        if quiet and not once:
            return lambda view: None
        screen = Console(highlight=False, width=WIDTH)  # names and addresses stay whole
    if once or not screen.is_terminal:
        return lambda view: _print(screen, view)
    from rich.live import Live

    live = stack.enter_context(Live(console=screen, auto_refresh=False, screen=True))
    return lambda view: live.update(table.render(view), refresh=True)


def _print(screen: object, view: View) -> None:
    from rich.console import Console

    from tvmkd.deploy.monitoring import table

    assert isinstance(screen, Console)
    with screen.capture() as captured:
        screen.print(table.render(view))
    click.echo(captured.get(), nl=False)


def _pages(
    stack: contextlib.ExitStack, path: Path | None, port: int | None, interval: float
) -> Show:
    from tvmkd.base import console
    from tvmkd.base.files import write_text
    from tvmkd.deploy.monitoring import page
    from tvmkd.deploy.monitoring.history import History
    from tvmkd.deploy.monitoring.serve_page import PageServer

    history = History()
    server = None if port is None else stack.enter_context(PageServer(port))
    if server is not None:
        console.say(f"http://127.0.0.1:{server.port}/")

    def show(view: View) -> None:
        history.add(view)
        text = page.render(view, history, interval)
        if path is not None:
            write_text(path, text)
        if server is not None:
            server.show(text, view.to_dict())

    return show
