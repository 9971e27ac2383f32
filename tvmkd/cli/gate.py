"""``tvmkd gate``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from tvmkd.cli._options import PATH, json_option, print_json


@click.command()
@click.argument("result", type=PATH)
@click.option(
    "--require",
    "requirements",
    multiple=True,
    required=True,
    metavar="EXPRESSION",
    help="What must hold, such as 'tvm.p99 < 20ms'; several times: all of them.",
)
@json_option
def command(result: Path, requirements: tuple[str, ...], as_json: bool) -> int:
    """Check a comparison against requirements: exit code 0 or 1.

    RESULT is what `tvmkd compare -o` wrote. An expression compares a figure of an engine (p50 p90
    p95 p99 mean min max, build, size, memory, error) with a quantity, with the budget, or with
    another engine's. Exit code 0 when all hold, 1 when one does not.

    \b
    Examples:
      tvmkd gate result.json --require 'tvm.p99 < 20ms'
      tvmkd gate result.json --require 'tvm.p50 <= 1.2 * onnxruntime.p50'
      tvmkd gate result.json --require 'tvm.p99 < budget' --require 'tvm.size < 4MB' --json
    """
    from tvmkd.bench import gate
    from tvmkd.bench.schema import Comparison

    for text in requirements:
        gate.parse(text)
    checks = gate.evaluate(Comparison.load(result), requirements)
    passed = all(check.holds for check in checks)
    if as_json:
        print_json({"passed": passed, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        for check in checks:
            click.echo(f"{'pass' if check.holds else 'FAIL'}  {check.text}")
    return 0 if passed else 1
