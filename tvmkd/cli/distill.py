"""``tvmkd distill``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tvmkd.cli import _recipes
from tvmkd.cli._options import json_option
from tvmkd.stages import CLASSES

LAST = [stage.name for stage in CLASSES if stage.makes_student][-1]


@click.command()
@_recipes.recipe_options(_recipes.DISTILL, "The file that describes the run.")
@json_option
def command(config: Path, recipe: str | None, copy: Path | None, as_json: bool) -> int:
    """Train the teacher and distil the student of a tvmkd.toml.

    The chosen student is OUT/student.pt, all numbers are in OUT/metrics.json. An interrupted
    training continues. Under torchrun all processes share the work.

    \b
    Examples:
      tvmkd distill --config tvmkd.toml
      tvmkd distill --recipe classification
      tvmkd distill --recipe classification --copy tvmkd.toml
      torchrun --nproc-per-node 2 -m tvmkd distill --config tvmkd.toml
    """
    from tvmkd import config as configs
    from tvmkd.cli.run import carry_out

    file = _recipes.given("distill", config, recipe, copy)
    if file is None:
        return 0
    cfg = configs.read(file)
    if int(os.environ.get("RANK", "0")) > 0:
        # Only the process of rank 0 writes the run folder; the others only train.
        from tvmkd import targets
        from tvmkd.stages.distill import train

        train(cfg, targets.load(cfg.target.name), cfg.project.out, [file.parent])
        return 0
    return carry_out(cfg, [file.parent], LAST, as_json)
