from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spaces
import studies
from studies import point

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.models import checkpoint
from tvmkd.search import winner
from tvmkd.search.results import Study
from tvmkd.search.space import Space
from tvmkd.stages import pipeline
from tvmkd.tuning.records import LOG

SPACE: dict[str, Any] = {"width": [0.5, 1.0], "distill.lr": {"low": 1e-4, "high": 1e-2}}
STRUCTURE = {"width": 0.5, "distill.lr": 2.5e-3}


def searched(folder: Path, space: Space, structure: dict[str, Any], **known: Any) -> Study:
    """A study with one point, whose weights are in the folder."""
    task = tasks.make(space.cfg, space.search_in)
    network = space.build(space.cfg, structure, task, seed=3)
    kept = checkpoint.Checkpoint({}, network.state_dict(), optimizer={"step": 1})
    checkpoint.save(folder / "trials/7/student.pt", kept)
    only = point(7, 0.9, measured=4.0, structure=structure, seed=3)
    only = only.model_copy(update={"checkpoint": "trials/7/student.pt"})
    return studies.study([only], winner=7, **{"budget": 5.0, **known})


def test_a_run_goes_on_from_the_winner_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = {"model": "depthwise", "args": {"width": 0.25}, "epochs": 50, "stop_at": 0.5}
    space = spaces.make(SPACE, teacher=teacher, distill={"epochs": 500, "baseline": True})
    folder = Path("runs/a/search")
    study = searched(folder, space, STRUCTURE)
    task = tasks.make(space.cfg)
    made = task.build("depthwise", task.arguments("depthwise", {"width": 0.25}, None), "teacher", 0)
    checkpoint.save(folder / "teacher.pt", checkpoint.Checkpoint({}, made.state_dict()))
    path = winner.write(study, space.cfg, space, folder, teacher=folder / "teacher.pt")
    assert path == tmp_path / "runs/a/search/winner/tvmkd.toml"
    assert {item.name for item in path.parent.iterdir()} == {
        *("tvmkd.toml", "student.pt", "teacher.pt")
    }
    assert checkpoint.load(path.parent / "student.pt").optimizer is None

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cfg = config.read(path)
    assert cfg.search is None
    assert cfg.student.args["width"] == 0.5
    assert (cfg.distill.lr, cfg.distill.seeds, cfg.distill.epochs) == (2.5e-3, [3], 500)
    assert cfg.gate.require == ["tvm.p50 <= 5ms"]
    results = pipeline.run(cfg, search_in=[path.parent], until="distill")
    (run,) = results["distill"]["runs"]
    assert run["kind"] == "distilled"
    written = checkpoint.load(path.parent / "run/student.pt")
    known = checkpoint.load(tmp_path / "runs/a/search/trials/7/student.pt")
    assert checkpoint.fingerprint(written.state) == checkpoint.fingerprint(known.state)
    assert not (path.parent / "run/teacher.pt").exists()


def test_the_file_is_readable_and_its_paths_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "winning_nets.py").write_text(
        "from torch import nn\n\n\ndef net(width=4):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.Linear(width, 10))\n"
    )
    (tmp_path / "my.toml").write_text(Path(spaces.__file__).name)
    sections = {
        "student": {"model": "winning_nets:net"},
        "teacher": {"checkpoint": "given/teacher.pt", "ensemble": [{"checkpoint": "given/b.pt"}]},
        "target": {"name": "my.toml"},
        "gate": {"require": ["tvm.p99 < 9ms"]},
        "distill": {"latency": "winning_latency:estimate"},
        "tune": {"records": ["other/records"]},
    }
    (tmp_path / "winning_latency.py").write_text("def estimate(model):\n    return 1.0\n")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / LOG).write_text("")
    space = spaces.make({"width": [2, 4]}, tmp_path, **sections)
    known = {"name": "two\nlines \x1b[1m", "table": {"folder": "table"}}
    study = searched(tmp_path / "s", space, {"width": 2}, **known)
    path = winner.write(study, space.cfg, space, Path("s"))
    text = path.read_text(encoding="utf-8")
    head, _, body = text.partition("\n\n")
    assert all(line.startswith("# ") and line.isprintable() for line in head.splitlines())
    assert "Trial 7, the winner of the search two lines" in head
    assert "90.0%, 4.00 ms measured" in head
    assert "width 2" in head
    assert body.startswith('[project]\nname = "a"\n')
    cfg = config.read(path)
    assert cfg.teacher.checkpoint == tmp_path / "given/teacher.pt"
    assert cfg.teacher.ensemble[0].checkpoint == tmp_path / "given/b.pt"
    assert cfg.target.name == str(tmp_path / "my.toml")
    assert cfg.project.out == tmp_path / "s/winner/run"
    assert cfg.gate.require == ["tvm.p99 < 9ms"], "the file's own rules stay"
    for name in ("winning_nets.py", "winning_latency.py"):
        assert (path.parent / name).is_file(), "a user's module is found from there"
    assert cfg.tune.records == [tmp_path / "other/records", tmp_path / "table"]


def test_the_budget_becomes_a_rule_where_it_can_be_checked() -> None:
    def rule(engines: list[str], **known: Any) -> str | None:
        cfg = spaces.parse(SPACE, compare={"engines": engines})
        return winner.requirement(studies.study([], **{"budget": 1.5, **known}), cfg)

    assert rule(["torch", "tvm:untuned", "tvm@board"]) == "tvm@board.p50 <= 1.5ms"
    assert rule(["torch", "tvm:untuned"]) is None
    assert rule(["tvm"], unit="M instructions") is None
    assert rule(["tvm"], budget=None) is None


def test_a_winner_whose_weights_are_gone_is_one_line(tmp_path: Path) -> None:
    space = spaces.make(SPACE)
    study = searched(tmp_path, space, STRUCTURE)
    (tmp_path / "trials/7/student.pt").unlink()
    with pytest.raises(InputError, match=r"trial 7, the winner: its weights .* are gone"):
        winner.write(study, space.cfg, space, tmp_path)
    with pytest.raises(InputError, match="has no winner"):
        winner.write(study.model_copy(update={"winner": None}), space.cfg, space, tmp_path)
    assert not (tmp_path / "winner").exists()


def test_a_package_without_a_file_of_its_own_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "plain_nets"
    (package / "deep").mkdir(parents=True)
    (package / "small.py").write_text(
        "from torch import nn\n\n\ndef net(width=4):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.Linear(width, 10))\n"
    )
    (package / "weights.bin").write_bytes(b"0")
    space = spaces.make({"width": [2, 4]}, tmp_path, student={"model": "plain_nets.small:net"})
    study = searched(tmp_path / "s", space, {"width": 2})
    place = winner.write(study, space.cfg, space, tmp_path / "s").parent
    assert (place / "plain_nets" / "small.py").is_file()
    assert not (place / "plain_nets" / "weights.bin").exists()
