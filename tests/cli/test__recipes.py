from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base import resources
from tvmkd.cli import _recipes

FOLDER = resources.folder("recipes")


def test_the_recipes_that_are_offered_are_those_that_ship() -> None:
    offered = [*_recipes.DISTILL, *_recipes.SEARCH]
    assert sorted(offered) == sorted(path.stem for path in FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", [*_recipes.DISTILL, *_recipes.SEARCH])
def test_a_recipe_is_a_config_of_its_name(name: str) -> None:
    cfg = config.read(FOLDER / f"{name}.toml")
    assert cfg.project.name == name
    assert (cfg.search is not None) == (name in _recipes.SEARCH)


@pytest.mark.parametrize(("verb", "name"), [("distill", "classification"), ("search", "digits")])
def test_a_recipe_is_copied_and_nothing_is_written_over(
    tvmkd: Any, tmp_path: Path, verb: str, name: str
) -> None:
    place = tmp_path / "mine.toml"
    done = tvmkd(verb, "--recipe", name, "--copy", place)
    assert done.code == 0
    assert f"start it with: tvmkd {verb} --config {place}" in done.err
    assert place.read_text() == (FOLDER / f"{name}.toml").read_text()
    again = tvmkd(verb, "--recipe", name, "--copy", place)
    assert again.code == 4
    assert f"{place}: exists already" in again.err
