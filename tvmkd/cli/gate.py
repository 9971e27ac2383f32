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
    """Check a result against requirements: exit code 0 or 1.

    RESULT is what `tvmkd compare -o` wrote, or the stream.json of `tvmkd stream --out`. An
    expression compares a figure of an engine (p50 p90 p95 p99 mean min max, build, size, memory,
    error) with a quantity, with the budget, or with another engine's. The figures of a stream are
    stream.worst p50 p90 p95 p99 p999 mean min jitter (times), misses late dropped frames fps,
    celsius (the highest) and throttled (readings). Exit code 0 when all hold, 1 when one does not.

    \b
    Examples:
      tvmkd gate result.json --require 'tvm.p99 < 20ms'
      tvmkd gate result.json --require 'tvm.p50 <= 1.2 * onnxruntime.p50'
      tvmkd gate result.json --require 'tvm.p99 < budget' --require 'tvm.size < 4MB' --json
      tvmkd gate streamed/stream.json --require 'stream.worst < 30ms' \\
          --require 'stream.misses == 0'
    """
    from tvmkd.bench import gate
    from tvmkd.bench.schema import Comparison
    from tvmkd.deploy.streaming import result as streams

    for text in requirements:
        gate.parse(text)
    stream = streams.load(result).figures() if streams.is_stream(result) else None
    checks = gate.evaluate(stream or Comparison.load(result), requirements)
    passed = all(check.holds for check in checks)
    if as_json:
        print_json({"passed": passed, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        for check in checks:
            click.echo(f"{'pass' if check.holds else 'FAIL'}  {check.text}")
    return 0 if passed else 1
