"""``tvmkd doctor``."""

from __future__ import annotations

import dataclasses

import click

from tvmkd.cli._options import json_option, print_json

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Check this machine and list what is missing.

    Each line is ok, warn or FAIL, with the command that fixes it. Exits with code 5 if a check
    fails.

    \b
    Examples:
      tvmkd doctor
      tvmkd doctor --json
    """
    from tvmkd import host_checks

    checks = []
    for check in host_checks.checks():
        checks.append(check)
        if as_json:
            continue
        click.echo(f"{MARKS[check.status]}  {check.name:<16} {check.finding}")
        if check.fix:
            click.echo(f"      {'':<16} mend it with: {check.fix}")
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [dataclasses.asdict(check) for check in checks]})
    return 5 if failed else 0
