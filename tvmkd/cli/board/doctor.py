"""``tvmkd board doctor``."""

from __future__ import annotations

import click

from tvmkd.cli._options import (
    environment_key,
    environment_tracker,
    json_option,
    label,
    print_json,
    target_option,
    tracker,
)


@click.command()
@target_option
@click.option(
    "--rpc-tracker",
    type=tracker,
    default=environment_tracker,
    metavar="HOST[:PORT]",
    help="The tracker; default: TVM_TRACKER_HOST and TVM_TRACKER_PORT.",
)
@click.option(
    "--rpc-key",
    type=label,
    default=environment_key,
    metavar="KEY",
    help="The key of the boards; default: TVM_TRACKER_KEY.",
)
@json_option
def command(
    target_name: str, rpc_tracker: tuple[str, int] | None, rpc_key: str | None, as_json: bool
) -> int:
    """Check the boards under a key and print how to fix each fault.

    Compares each free board with the target, reads its power mode, clocks and temperature, and
    runs a kernel with a known result. Exits with code 4 if a check fails.

    \b
    Examples:
      tvmkd board doctor --target jetson-nano --rpc-tracker 127.0.0.1:9190 --rpc-key nano
      tvmkd board doctor --target jetson-nano --rpc-key nano --json
    """
    import dataclasses
    import itertools

    from tvmkd import targets
    from tvmkd.base import console
    from tvmkd.base.checks import Check
    from tvmkd.boards import examine, inventory
    from tvmkd.boards.connect import check
    from tvmkd.cli.doctor import MARKS

    if rpc_key is None:
        raise click.UsageError("give --rpc-key (or TVM_TRACKER_KEY)")
    target = targets.load(target_name)
    host, port = rpc_tracker or ("127.0.0.1", 9190)
    check(host, port, rpc_key)
    with console.working(f"asking the boards under {rpc_key!r}"):
        (entry,) = inventory.call(host, port, only=rpc_key)
    found: dict[str, list[Check]] = {}
    for board in entry["boards"]:
        facts, name = board.get("facts"), f"{board['host']}:{board['port']}"
        if facts is None:
            found[name] = [Check("session", "warn", "busy: it was not asked", "try again later")]
        elif "error" in facts:
            found[name] = [Check("session", "fail", facts["error"], "restart its server")]
        else:
            found[name] = list(examine.examine(target, facts))
    free = any(board.get("facts", {}).get("board") for board in entry["boards"])
    if free and not any(each.status == "fail" for each in itertools.chain(*found.values())):
        with console.working("running a kernel whose answer is known"):
            address = {"host": host, "port": port, "key": rpc_key}
            found["a free board"] = list(examine.trial(target, address))
    failed = any(each.status == "fail" for each in itertools.chain(*found.values()))
    if as_json:
        rows = {
            name: [dataclasses.asdict(each) for each in checks] for name, checks in found.items()
        }
        print_json({"ok": not failed, "boards": rows})
        return 4 if failed else 0
    for name, checks in found.items():
        click.echo(name)
        for each in checks:
            click.echo(f"  {MARKS[each.status]}  {each.name:<13} {each.finding}")
            if each.fix:
                click.echo(f"        {'':<13} mend it with: {each.fix}")
    return 4 if failed else 0
