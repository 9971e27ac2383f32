"""``tvmkd stack list``."""

from __future__ import annotations

from typing import Any

import click

from tvmkd.cli._options import json_option, print_json


@click.command()
@click.option(
    "--stack-python",
    metavar="PYTHON",
    help="Look at the relay stack of this interpreter, in place of the one that is set up.",
)
@json_option
def command(stack_python: str | None, as_json: bool) -> None:
    """List the compiler stacks, and why one cannot be used.

    Each with its TVM, what that writes code for, and the interpreter that it runs in.

    \b
    Examples:
      tvmkd stack list
      tvmkd stack list --stack-python /opt/tvm-0.16/bin/python --json
    """
    from tvmkd.base import console
    from tvmkd.stacks import survey

    with console.working("asking the interpreters"):
        rows = survey.survey(given=stack_python)
    if as_json:
        print_json({"stacks": rows})
        return
    for row in rows:
        click.echo(f"{row['name']}: {_line(row)}")
        if row["python"] is not None:
            click.echo(f"  {row['python']} ({row['source']})")
        for label in ("note", "fix"):
            if row[label] is not None:
                click.echo(f"  {LABELS[label]}: {row[label]}")


LABELS = {"note": "note", "fix": "mend it with"}


def _line(row: dict[str, Any]) -> str:
    if row["reason"] is not None:
        return f"cannot be used: {row['reason']}"
    codes = [name for name, key in (("CUDA", "cuda"), ("TensorRT", "tensorrt")) if row[key]]
    return f"TVM {row['tvm']}, LLVM {row['llvm']}, {' and '.join(codes) or 'no GPU'} code"
