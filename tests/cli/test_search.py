from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base import resources
from tvmkd.search import methods
from tvmkd.search.results import Point, Study

CONFIG = """
[project]
name = "toy"
out = "{out}"
[search]
budget = "2ms"
trials = 7
[search.space]
width = [0.5, 1.0]
"""


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(CONFIG.format(out=tmp_path / "run"))
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configs that are searched; the search finds a network of 1 ms."""
    configs: list[Any] = []

    def search(cfg: Any, target: Any, *, search_in: Any, on_event: Any) -> Study:
        configs.append((cfg, search_in))
        limit = cfg.search.limit
        found = Study(
            tvmkd_version="1",
            name=cfg.project.name,
            method="study",
            objective=cfg.search.objective,
            target=target.name,
            unit="ms",
            budget=None if limit is None else limit.value,
            metric="accuracy",
            points=[
                Point(
                    number=0, structure={"width": 0.5}, state="complete", accuracy=0.9, predicted=1
                )
            ],
            winner=0,
        )
        on_event("study", {"study": found})
        return found

    monkeypatch.setattr(methods, "search", search)
    return configs


def test_the_end_is_a_table_and_the_winner(tvmkd: Any, given: Path, asked: list[Any]) -> None:
    done = tvmkd("search", "--config", given)
    assert done.code == 0
    assert "winner: trial 0, 90.0%, 1.00 ms predicted within 2.00 ms" in done.out
    assert "pareto.html: the page" in done.out
    assert "1/7 networks" in done.err
    assert asked[0][1] == [given.parent]


def test_options_stand_over_the_file(tvmkd: Any, given: Path, asked: list[Any]) -> None:
    options = ("--budget", "5ms", "--objective", "front", "--trials", 9, "--workers", 3)
    done = tvmkd("search", "--config", given, *options, "--json")
    assert done.code == 0
    assert json.loads(done.out)["budget"] == 5.0
    search = asked[0][0].search
    assert (search.limit.value, search.objective, search.trials, search.workers) == (
        5,
        "front",
        9,
        3,
    )
    assert search.space.keys() == {"width"}


def test_the_exit_code_says_if_the_budget_was_missed(
    tvmkd: Any, given: Path, asked: list[Any]
) -> None:
    assert tvmkd("search", "--config", given, "--budget", "0.5").code == 1


def test_the_gate_says_what_it_knows(tvmkd: Any, given: Path, asked: list[Any]) -> None:
    given.write_text(given.read_text() + '[gate]\nrequire = ["tvm.p99 < 3ms"]\n')
    done = tvmkd("search", "--config", given)
    assert done.code == 0
    assert "pass  latency <= 2 ms: 1 of 1 predicted networks; trial 0" in done.out
    assert "open  tvm.p99 < 3ms: a run of the winner compares" in done.out
    given.write_text(given.read_text().replace("3ms", "3 parsecs"))
    assert tvmkd("search", "--config", given).code == 2
    assert len(asked) == 1, "a wrong rule is told before the search"


def test_the_page_can_be_written_again(tvmkd: Any, tmp_path: Path) -> None:
    found = Study(
        tvmkd_version="1",
        name="toy",
        method="study",
        objective="front",
        target="host",
        unit="ms",
        metric="accuracy",
    )
    (tmp_path / "study.json").write_text(found.model_dump_json())
    assert tvmkd("search", "--page", tmp_path).code == 0
    assert "No network was trained to the end" in (tmp_path / "pareto.html").read_text()
    assert tvmkd("search", "--page", tmp_path / "nothing").code == 4


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--budget", "5parsecs"), 4, 'the command line: search.budget: unknown unit "parsecs"'),
        (("--trials", "0"), 2, "trials"),
        (("--recipe", "digits"), 2, "give --recipe or --config, not both"),
        (("--copy", "x.toml"), 2, "give --recipe NAME"),
    ],
)
def test_wrong_options(
    tvmkd: Any, given: Path, options: tuple[str, ...], code: int, line: str
) -> None:
    done = tvmkd("search", "--config", given, *options)
    assert done.code == code
    assert line in done.err


def test_a_file_without_a_space(tvmkd: Any, given: Path) -> None:
    given.write_text('[project]\nname = "x"\n')
    done = tvmkd("search", "--config", given, "--budget", "5ms")
    assert done.code == 4
    assert "there is no [search.space]" in done.line


def test_an_empty_space(tvmkd: Any, given: Path) -> None:
    given.write_text('[project]\nname = "x"\n[search.space]\n')
    done = tvmkd("search", "--config", given)
    assert done.code == 4
    assert "search.space: is empty" in done.line


def test_the_recipe(tvmkd: Any, asked: list[Any]) -> None:
    assert tvmkd("search", "--recipe", "digits", "--budget", "2ms").code == 0
    cfg, search_in = asked[0]
    assert cfg.search.space
    assert cfg.search.limit is not None
    assert search_in == [resources.folder("recipes")]
