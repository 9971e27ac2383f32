"""``tvmkd distill``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tvmkd.cli._options import PATH, json_option


@click.command()
@click.option(
    "--config",
    type=PATH,
    default="tvmkd.toml",
    show_default=True,
    help="The file that describes the run.",
)
@json_option
def command(config: Path, as_json: bool) -> int:
    """Train the teacher and distil the student of a tvmkd.toml.

    The chosen student is OUT/student.pt, all numbers are in OUT/metrics.json. Goes on where it was
    stopped. Under torchrun all processes share the work.

    \b
    Examples:
      tvmkd distill --config tvmkd.toml
      torchrun --nproc-per-node 2 -m tvmkd distill --config tvmkd.toml
    """
    from tvmkd import config as configs
    from tvmkd.cli.run import carry_out

    cfg = configs.read(config)
    if int(os.environ.get("RANK", "0")) > 0:
        # The leader looks after the run's folder; the others only lend a hand.
        from tvmkd import targets
        from tvmkd.distill import distill

        # The same as in the pipeline, or the processes would train different students.
        multiple = targets.load(cfg.target.name).channel_multiple
        distill(cfg, cfg.project.out, search_in=[config.parent], multiple=multiple)
        return 0
    return carry_out(cfg, [config.parent], "distill", as_json)
