"""``tvmkd stack install``."""

from __future__ import annotations

import click

from tvmkd.cli._options import json_option, print_json


@click.command()
@click.argument("stack")
@click.option(
    "--python",
    metavar="PYTHON",
    help="The CPython 3.10 that creates the environment. Default: the first one found.",
)
@json_option
def command(stack: str, python: str | None, as_json: bool) -> None:
    """Install a compiler stack into a separate environment.

    STACK is `relay`, the classic TVM. It is installed into a virtual environment of CPython 3.10 in
    the user's data folder, from the only build on the package index (TVM 0.16, x86-64 Linux, glibc
    2.34 or newer). If it is installed already, the command only tests it, in seconds. To use your
    own TVM 0.14 to 0.19, set TVMKD_RELAY_PYTHON to its Python instead.

    \b
    Examples:
      tvmkd stack install relay
      tvmkd stack install relay --python ~/.pyenv/versions/3.10.13/bin/python
    """
    from tvmkd.base import console, stack_registry
    from tvmkd.base.errors import UsageError

    installer = stack_registry.get(stack).installer
    if installer is None:
        raise UsageError(f"{stack} comes with tvmkd itself; check it with tvmkd doctor")
    with console.working(f"looking for the {stack} stack") as tell:
        record = stack_registry.load(installer)(python, say=tell)
    if as_json:
        print_json(record)
        return
    click.echo(f"{stack}: TVM {record['tvm']}, LLVM {record['llvm']}")
    click.echo(f"  {record['python']}")
