from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import DEAD, GONE, NANO, STUDENT

from tvmkd.boards.board_state import Telemetry
from tvmkd.deploy.monitoring import cells
from tvmkd.deploy.monitoring.view import BoardRow, ModelRow


def texts(row: BoardRow | ModelRow) -> list[str]:
    found = cells.board(row) if isinstance(row, BoardRow) else cells.model(row)
    heads = cells.BOARD_HEADS if isinstance(row, BoardRow) else cells.MODEL_HEADS
    assert len(found) == len(heads)
    return [cell.text for cell in found]


def test_a_board() -> None:
    assert texts(NANO) == [
        *("10.0.0.7:9090", "free", "71 throttled", "0.92 of 1.48 GHz", "MAXN", "2.3", "0.50"),
        *("2.0 GiB free", "0.1.0", "Nano"),
    ]
    assert cells.board(NANO)[2].bad


def test_a_board_that_tells_nothing_is_down_or_old() -> None:
    assert set(texts(replace(NANO, state=Telemetry(), version=None, model=None))[2:]) == {"–"}
    assert texts(replace(NANO, state=None))[1] == "free"
    assert texts(GONE)[:3] == ["me@gone", "down", "–"]
    assert cells.board(GONE)[1].why == "No route to host"
    assert texts(replace(NANO, age_s=300.0))[1] == "free, 300 s ago"
    assert texts(replace(NANO, emulated=True))[1] == "free, EMULATED"


def test_a_model() -> None:
    assert texts(STUDENT) == [
        *("student 2", "http://10.0.0.7:8000", "ready", "31.4", "1.94 ms", "8.46 ms"),
        *("12 (+2)", "3", "1", "1"),
    ]
    assert texts(DEAD)[:3] == ["–", "http://10.0.0.8:8000", "down"]


@pytest.mark.parametrize(
    ("fields", "place", "text"),
    [
        ({"ready": False}, 2, "not ready"),
        ({"new_misses": 2}, 6, "12 (+2)"),
        ({"new_errors": 1}, 7, "3 (+1)"),
        ({"instances": 0}, 9, "0"),
    ],
)
def test_what_is_set_off(fields: dict[str, object], place: int, text: str) -> None:
    well = replace(STUDENT, new_misses=0, new_errors=0)
    assert not any(cell.bad for cell in cells.model(well))
    cell = cells.model(replace(well, **fields))[place]  # type: ignore[arg-type]
    assert (cell.text, cell.bad) == (text, True)
