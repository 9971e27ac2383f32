from __future__ import annotations

from typing import Any

import pytest

from tvmkd.cli import distill


def test_a_recipe_is_run(tvmkd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tvmkd.stages import pipeline

    ran: list[Any] = []

    def run(cfg: Any, **options: Any) -> dict[str, Any]:
        ran.append((cfg.project.name, options["until"]))
        return {}

    monkeypatch.setattr(pipeline, "run", run)
    assert tvmkd("distill", "--recipe", "classification", "--json").code == 0
    assert ran == [("classification", distill.LAST)]


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
