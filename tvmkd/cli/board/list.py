"""``tvmkd board list``."""

from __future__ import annotations

from typing import Any

import click

from tvmkd.cli._options import (
    environment_tracker,
    json_option,
    label,
    print_json,
    tracker,
)


@click.command()
@click.option(
    "--rpc-tracker",
    type=tracker,
    default=environment_tracker,
    metavar="HOST[:PORT]",
    help="The tracker; default: TVM_TRACKER_HOST and TVM_TRACKER_PORT.",
)
@click.option("--rpc-key", type=label, metavar="KEY", help="Only the boards under this key.")
@click.option("--facts/--no-facts", default=True, help="Ask each free board about itself.")
@json_option
def command(
    rpc_tracker: tuple[str, int] | None, rpc_key: str | None, facts: bool, as_json: bool
) -> None:
    """List the boards at a tracker.

    How many are free and waited for under each key, and what the free ones are. A busy board is not
    waited for.

    \b
    Examples:
      tvmkd board list --rpc-tracker 127.0.0.1:9190
      tvmkd board list --rpc-key nano --json
    """
    from tvmkd.base import console
    from tvmkd.boards import inventory

    address = rpc_tracker or ("127.0.0.1", 9190)
    with console.working("asking the boards"):
        keys = inventory.call(*address, only=rpc_key, ask=facts)
    if as_json:
        print_json({"tracker": f"{address[0]}:{address[1]}", "keys": keys})
        return
    if not keys:
        click.echo(f"no board is registered at {address[0]}:{address[1]}")
    for key in keys:
        click.echo(f"{key['key']}: {key['free']} free of {key['total']}, {key['waiting']} waiting")
        for board in key["boards"]:
            click.echo(f"  {board['host']}:{board['port']:<6} {_line(board.get('facts'))}")


def _line(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "busy, or not asked"
    if "error" in facts:
        return f"does not answer: {facts['error']}"
    named = facts.get("model") or facts.get("cpu") or "says nothing of itself"
    parts = [f"EMULATED {facts['emulator']}" if facts.get("emulated") else named]
    parts += [f"{facts[name]}" for name in ("machine", "libc") if facts.get(name)]
    if facts.get("tvm"):
        parts.append(f"TVM {facts['tvm']}")
    if facts.get("celsius") is not None:
        parts.append(f"{facts['celsius']:.0f} °C{' throttled' if facts.get('throttled') else ''}")
    return ", ".join(parts)
