from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_latency import MadeUpLatency

from tvmkd import config, targets
from tvmkd.base import resources
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.files import file_hash
from tvmkd.search.soft import opening

SHIPPED = resources.folder("schedules") / "relax"
NANO = targets.load("jetson-nano")


def parsed(table: Path | None = None, **sections: Any) -> config.Config:
    given: dict[str, Any] = {"latency": "table", "latency_weight": 0.5, "shape": ["depth"]}
    if table is not None:
        given["table"] = str(table)
    return config.parse({"project": {"name": "x"}, "distill": given, **sections})


def test_the_table_is_that_of_the_section_of_the_search_or_of_the_run() -> None:
    search = {"space": {"width": [0.5, 1.0]}, "table": "of-search"}
    run = Path("run")
    assert opening.table_folder(parsed(Path("own"), search=search), run) == Path("own")
    assert opening.table_folder(parsed(search=search), run) == Path("of-search")
    assert opening.table_folder(parsed(), run) == run / "search" / "table"


def test_no_table_is_one_line_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        opening.check(parsed(), NANO, tmp_path)
    text = str(caught.value)
    assert "no latency table of jetson-nano" in text
    assert f"tvmkd latency table --space tvmkd.toml --target host --records {tmp_path}" in text
    assert "\n" not in text


def test_a_table_of_another_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="raspberry-pi-4"):
        opening.check(parsed(SHIPPED / "raspberry-pi-4"), NANO, tmp_path)


def test_the_shaper_is_what_the_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, made = SHIPPED / "jetson-nano", list[tuple[Any, ...]]()

    @contextlib.contextmanager
    def open_table(*args: Any) -> Iterator[MadeUpLatency]:
        made.append(args)
        yield MadeUpLatency()

    monkeypatch.setattr("tvmkd.search.latency.table.LatencyTable", open_table)
    with opening.open_shaper(parsed(table), NANO, tmp_path) as shaper:
        assert shaper.table == file_hash(table)
        assert (shaper.weight, shaper.kinds) == (0.5, ("depth",))
        assert shaper.multiple == NANO.channel_multiple
        assert shaper.folder == tmp_path / "students" / "shaping"
    assert made == [(table, NANO, None, "relax")], "it only predicts"
