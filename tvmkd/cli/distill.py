"""``tvmkd distill``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tvmkd.base.files import check_output
from tvmkd.cli._options import PATH, json_option
from tvmkd.stages import CLASSES

# The files of tvmkd/recipes: a constant, since importing this module must not read the folder. A
# test compares them.
RECIPES = ("classification", "detection", "detection-edge", "early-exit", "prune", "qat")
LAST = [stage.name for stage in CLASSES if stage.makes_student][-1]
_DEFAULT = click.core.ParameterSource.DEFAULT


@click.command()
@click.option(
    "--config",
    type=PATH,
    default="tvmkd.toml",
    show_default=True,
    help="The file that describes the run.",
)
@click.option(
    "--recipe",
    type=click.Choice(RECIPES),
    help="A file that ships with tvmkd, instead of --config.",
)
@click.option("--copy", "-o", type=PATH, help="Only write the recipe to this file, for changes.")
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
    from tvmkd.base import console, resources
    from tvmkd.base.errors import UsageError
    from tvmkd.cli.run import carry_out

    if recipe is not None:
        if click.get_current_context().get_parameter_source("config") is not _DEFAULT:
            raise UsageError("give --recipe or --config, not both")
        config = resources.folder("recipes") / f"{recipe}.toml"
    if copy is not None:
        if recipe is None:
            raise UsageError("--copy copies a recipe: give --recipe NAME")
        check_output(copy)
        _copy(config, copy)
        console.say(f"{copy}: the recipe {recipe}; start it with: tvmkd distill --config {copy}")
        return 0
    cfg = configs.read(config)
    if int(os.environ.get("RANK", "0")) > 0:
        # Only the process of rank 0 writes the run folder; the others only train.
        from tvmkd import targets
        from tvmkd.stages.distill import train

        train(cfg, targets.load(cfg.target.name), cfg.project.out, [config.parent])
        return 0
    return carry_out(cfg, [config.parent], LAST, as_json)


def _copy(recipe: Path, place: Path) -> None:
    from tvmkd.base.errors import InputError

    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(recipe.read_text(encoding="utf-8"))
    except FileExistsError:
        raise InputError(f"{place}: exists already; give another name") from None
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {error.strerror}") from None
