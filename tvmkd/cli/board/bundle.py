"""``tvmkd board bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, json_option, print_json


@click.command()
@click.option(
    "--target",
    "target_name",
    required=True,
    metavar="NAME|FILE",
    help="The board: a name that `tvmkd targets` lists, or the path of a target file.",
)
@click.option("-o", "--output", type=PATH, required=True, help="The .tar.gz to write.")
@json_option
def command(target_name: str, output: Path, as_json: bool) -> None:
    """Create the archive that turns a bare board into a TVM RPC server.

    It contains tvmkd's server, cross-compiled here, the runtime libraries from TVM's own wheels, a
    start script and a systemd unit. The board needs neither Python nor a compiler. Downloads and
    builds are cached: a second bundle takes seconds.

    \b
    Examples:
      tvmkd board bundle --target jetson-nano -o nano.tar.gz
      scp nano.tar.gz user@nano: && ssh user@nano tar xzf nano.tar.gz
      ssh user@nano tvmkd-board/start.sh 192.168.1.10:9190 nano
    """
    from tvmkd import targets
    from tvmkd.base import console
    from tvmkd.boards import bundle

    target = targets.load(target_name)
    check_output(output)
    with console.working(f"bundling for {target.name}") as tell:
        made = bundle.bundle(target, output, tell=tell)
    if as_json:
        print_json(made)
        return
    for name, file in made["files"].items():
        needs = ", ".join(f"{kind} {version}" for kind, version in sorted(file["needs"].items()))
        click.echo(f"{name:<28}{file['bytes'] / 1024:>8.0f} KiB  {needs}")
    click.echo(f"{output}: {made['bytes'] / 2**20:.1f} MiB, sha256 {made['sha256']}")
    click.echo("On the board: tar xzf the archive, then tvmkd-board/start.sh TRACKER_HOST:9190 KEY")
