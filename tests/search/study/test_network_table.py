from __future__ import annotations

from pathlib import Path

import pytest
from some_studies import POINTS, study, text

from tvmkd.search.study import network_table


def test_the_state_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(network_table.time, "monotonic", lambda: now)
    progress = network_table.Progress(9)
    assert progress.line() == "0/9 networks"
    progress.take("study", {"study": study(POINTS[:1], winner=None)})
    assert progress.line() == "1/9 networks"
    now = 160.0
    progress.take("study", {"study": study()})
    line = "5/9 networks · 1 stopped early · 1 too slow · 1 failed · best 95.0% at 4.20 ms"
    assert progress.line() == f"{line} · 4.0 a minute · 1:00 left"
    progress.take("something else", {})
    done = network_table.Progress(5)
    done.take("study", {"study": study()})
    assert done.line() == line.replace("5/9", "5/5"), "nothing was done in this run"


def test_the_table_has_the_winner_first_then_the_front_then_others() -> None:
    progress = network_table.Progress(9)
    progress.take("study", {"study": study()})
    assert [each.number for each in progress.rows(9)] == [1, 2, 0, 3]
    shown = text(network_table.table(progress, 3, 120))
    rows = [line.split() for line in shown.splitlines() if "width" in line]
    assert rows[0][:6] == ["1", "95.0%", "4.20", "ms", "–", "winner,"]
    assert rows[1][:6] == ["2", "99.0%", "~9.00", "ms", "–", "front,"]
    assert "over budget" in shown.splitlines()[4]
    assert rows[2][:5] == ["0", "91.2%", "2.10", "ms", "1,234"]
    assert len(rows) == 3


def test_a_narrow_screen_cuts_structures_only() -> None:
    wide = study([POINTS[1].model_copy(update={"structure": {"blocks": [[16, 2]] * 9}})])
    shown = text(network_table.summary(wide, 80), 80)
    assert "95.0%" in shown
    assert "blocks [[16," in shown
    assert "…" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80


def test_the_end_says_where_everything_is(tmp_path: Path) -> None:
    lines = network_table.ending(study(), tmp_path)
    assert lines[0] == "winner: trial 1, 95.0%, 4.20 ms measured, 4.00 ms predicted within 5.00 ms"
    assert "another machine trained it" in lines[1]
    assert lines[2] == "  ~: predicted; 2 of 4 networks are"
    assert lines[3] == f"  {tmp_path}/pareto.html: the page; {tmp_path}/study.json: all of it"
    (tmp_path / "winner").mkdir()
    (tmp_path / "winner" / "tvmkd.toml").touch()
    place = tmp_path / "winner" / "tvmkd.toml"
    here = [each.model_copy(update={"checkpoint": "trials/a.pt"}) for each in POINTS]
    assert (
        network_table.ending(study(here), tmp_path)[1]
        == f"  {place}: continue with tvmkd run --config {place}"
    )
    earlier = network_table.ending(study(), tmp_path)[1]
    assert "another machine trained it" in earlier, "the file is of an earlier winner"
    none = network_table.ending(study(winner=None, budget=1.0), tmp_path)
    assert none[0] == "no network was found within 1.00 ms; the fastest takes 2.10 ms"
