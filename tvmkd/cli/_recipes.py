"""Recipes: ``tvmkd.toml`` files that ship with tvmkd, for ``distill`` and ``search``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from tvmkd.cli._options import PATH

Command = TypeVar("Command", bound=Callable[..., Any])

# The files of tvmkd/recipes: constants, since importing this module must not read the folder. A
# test compares them.
DISTILL = ("classification", "detection", "detection-edge", "early-exit", "prune", "qat")
SEARCH = ("digits",)
_DEFAULT = click.core.ParameterSource.DEFAULT


def recipe_options(names: Sequence[str], what: str) -> Callable[[Command], Command]:
    """``--config``, ``--recipe`` and ``--copy``.

    Args:
        names: of the recipes that the command offers.
        what: the config file is, for the help.
    """

    def decorate(command: Command) -> Command:
        command = click.option(
            "--copy", "-o", type=PATH, help="Only write the recipe to this file, for changes."
        )(command)
        command = click.option(
            "--recipe",
            type=click.Choice(names),
            help="A file that ships with tvmkd, instead of --config.",
        )(command)
        return click.option(
            "--config", type=PATH, default="tvmkd.toml", show_default=True, help=what
        )(command)

    return decorate


def given(verb: str, config: Path, recipe: str | None, copy: Path | None) -> Path | None:
    """The file to read; None if the recipe was only to be copied, which is done then.

    Args:
        verb: the command that uses the copy.
        config, recipe, copy: as given.

    Raises:
        UsageError: they do not go together.
        InputError: the copy cannot be written.
    """
    from tvmkd.base import console, resources
    from tvmkd.base.errors import UsageError
    from tvmkd.base.files import check_output

    if recipe is None:
        if copy is not None:
            raise UsageError("--copy copies a recipe: give --recipe NAME")
        return config
    if click.get_current_context().get_parameter_source("config") is not _DEFAULT:
        raise UsageError("give --recipe or --config, not both")
    file = resources.folder("recipes") / f"{recipe}.toml"
    if copy is None:
        return file
    check_output(copy)
    _copy(file, copy)
    console.say(f"{copy}: the recipe {recipe}; start it with: tvmkd {verb} --config {copy}")
    return None


def _copy(recipe: Path, place: Path) -> None:
    from tvmkd.base.errors import InputError

    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(recipe.read_text(encoding="utf-8"))
    except FileExistsError:
        raise InputError(f"{place}: exists already; give another name") from None
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {error.strerror}") from None
