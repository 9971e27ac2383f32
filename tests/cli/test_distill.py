from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base import resources
from tvmkd.cli import distill

FOLDER = resources.folder("recipes")


def test_the_recipes_that_are_offered_are_those_that_ship() -> None:
    assert sorted(distill.RECIPES) == sorted(path.stem for path in FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", distill.RECIPES)
def test_a_recipe_is_a_config_of_its_name(name: str) -> None:
    assert config.read(FOLDER / f"{name}.toml").project.name == name


def test_a_recipe_is_run(tvmkd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tvmkd.stages import pipeline

    ran: list[Any] = []

    def run(cfg: Any, **options: Any) -> dict[str, Any]:
        ran.append((cfg.project.name, options["until"]))
        return {}

    monkeypatch.setattr(pipeline, "run", run)
    assert tvmkd("distill", "--recipe", "classification", "--json").code == 0
    assert ran == [("classification", distill.LAST)]


def test_a_recipe_is_copied_and_nothing_is_written_over(tvmkd: Any, tmp_path: Path) -> None:
    place = tmp_path / "mine.toml"
    assert tvmkd("distill", "--recipe", "classification", "--copy", place).code == 0
    assert place.read_text() == (FOLDER / "classification.toml").read_text()
    again = tvmkd("distill", "--recipe", "classification", "--copy", place)
    assert again.code == 4
    assert f"{place}: exists already" in again.err


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("--recipe", "classification", "--config", "a.toml"), "not both"),
        (("--copy", "a.toml"), "give --recipe NAME"),
        (("--recipe", "clasification"), "classification"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tvmkd: Any, given: tuple[str, ...], line: str
) -> None:
    done = tvmkd("distill", *given)
    assert done.code == 2
    assert line in done.err
