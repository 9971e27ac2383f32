"""``tvmkd latency table``, with boards and a compiler that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up_boards import World, install
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.search.latency import target_boards
from tvmkd.search.soft import sampling
from tvmkd.search.space import Space

FILE = """
[project]
name = "small"
[data]
image_size = 16
[search.space]
width = { low = 0.5, high = 1.5, step = 0.5 }
"""


class Made(nn.Module):
    """A network of a width: two kernels that all have, and one of its own."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.numbers = (1, 2, round(10 * width))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    install(monkeypatch, made)

    def boards(target: Any, stack: str, **options: Any) -> Any:
        made.log.append(("boards", target.name, stack, options))
        made.boards.evaluator = options["evaluator"]
        return made.boards

    monkeypatch.setattr(target_boards, "TargetBoards", boards)
    monkeypatch.setattr(Space, "build", lambda self, cfg, structure, task: Made(structure["width"]))
    return made


@pytest.fixture
def call(tvmkd: Any, world: World, tmp_path: Path) -> Any:
    """Fills ``table`` for the space; more options may follow."""
    space = tmp_path / "tvmkd.toml"
    space.write_text(FILE)

    def run(*options: object) -> Any:
        return tvmkd(
            *("latency", "table", "--space", space, "--records", tmp_path / "a table", *options)
        )

    return run


def test_a_table_is_made_and_gone_on_with(call: Any, world: World, tmp_path: Path) -> None:
    done = call("--networks", "2", "--whole", "1")
    assert done.code == 0, done.err
    assert done.out.splitlines()[:1] == [
        "2 networks have 4 kernels; 4 were measured now, 0 remain to be interpolated"
    ]
    assert done.out.splitlines()[1].startswith("1 networks were timed whole; boards were busy for ")
    done = call("--networks", "50", "--json")
    found = json.loads(done.out)
    assert (found["networks"], found["kernels"], found["tuned"], found["timed"]) == (3, 5, 1, 2)
    assert found["table"]["kernels_measured"] == 5
    assert found["table"]["folder"] == str(tmp_path / "a table")


def test_less_is_measured_where_it_is_asked_for(call: Any, world: World) -> None:
    done = call("--networks", "1", "--kernels", "0", "--whole", "0")
    assert done.code == 0
    assert "0 were measured now, 3 remain to be interpolated" in done.out
    done = call("--networks", "1", "--kernels", "1", "--whole", "0", "--trials", "4")
    assert [entry[2] for entry in world.log if entry[0] == "tune"] == [4]
    assert "1 were measured now, 2 remain to be interpolated" in done.out


def test_options_reach_the_boards(call: Any, world: World, tmp_path: Path) -> None:
    done = call(
        *("--target", "jetson-nano", "--rpc-tracker", "boards:9191", "--rpc-key", "nano"),
        *("--boards", "3", "--evaluator", "icount", "--networks", "1", "--json"),
    )
    assert done.code == 0, done.err
    (entry,) = (entry for entry in world.log if entry[0] == "boards")
    assert entry[1:3] == ("jetson-nano", "relax")
    assert entry[3] == {
        "tracker": ("boards", 9191),
        "key": "nano",
        "evaluator": "icount",
        "boards": 3,
        "python": None,
    }
    assert json.loads(done.out)["table"]["evaluator"] == "icount"


def test_a_board_that_goes_away(call: Any, world: World) -> None:
    world.boards.left = 2
    done = call("--networks", "3")
    assert done.code == 5
    assert done.line == "no board answers any more"
    world.boards.left = None
    done = call("--networks", "3", "--whole", "0")
    assert "5 kernels; 3 were measured now" in done.out


def test_networks_that_fail_are_named(call: Any, world: World) -> None:
    world.compiler.faults = {("lower", 5): InputError("no kernel for width 0.5")}
    done = call("--networks", "3", "--whole", "0")
    assert done.code == 0
    assert "1 networks could not be lowered; the first: no kernel for width 0.5" in done.out
    world.compiler.faults = {("lower", 1): InputError("no such operator")}
    done = call("--networks", "3")
    assert done.code == 4
    assert "none of 3 networks can be lowered; the first: no such operator" in done.line


def test_ctrl_c_says_that_it_can_go_on(
    call: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.boards, "tune", stop)
    done = call("--networks", "1")
    assert done.code == 130
    assert "what was done is kept; continue with: tvmkd latency table" in done.err


def test_a_student_that_is_shaped_is_a_space_too(
    tvmkd: Any, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def networks(cfg: Any, target: Any, task: Any, count: int, seed: int) -> list[Any]:
        asked.append((cfg.student.model, target.name, task.input_shape, count, seed))
        return [lambda width=width: (Made(width), (1, 1, 16, 16)) for width in (1.0, 0.5)]

    monkeypatch.setattr(sampling, "networks", networks)
    path = tmp_path / "tvmkd.toml"
    distill = '[distill]\nlatency = "table"\nlatency_weight = 0.5\n'
    path.write_text(FILE.partition("[search")[0] + distill)
    options = ("--records", tmp_path / "t", "--target", "jetson-nano", "--networks", "7")
    done = tvmkd("latency", "table", "--space", path, *options, "--seed", "3", "--whole", "0")
    assert done.code == 0, done.err
    assert asked == [("depthwise", "jetson-nano", (1, 1, 16, 16), 7, 3)]
    assert "2 networks have 4 kernels" in done.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[project]\nname = "a"\n', "has no [search.space], and no [distill] latency"),
        ("[search.space]\nwidth = {low = 2.0, high = 1.0}\n" + FILE.partition("[search")[0], "2"),
        ("nonsense", "tvmkd.toml"),
    ],
)
def test_bad_spaces(tvmkd: Any, world: World, tmp_path: Path, text: str, said: str) -> None:
    space = tmp_path / "tvmkd.toml"
    space.write_text(text)
    done = tvmkd("latency", "table", "--space", space, "--records", tmp_path / "new")
    assert done.code == 4, done.err
    assert str(space) in done.line
    assert said in done.line
    assert not (tmp_path / "new").exists()


def test_what_is_not_there(tvmkd: Any, call: Any, tmp_path: Path) -> None:
    done = tvmkd("latency", "table", "--space", tmp_path / "no.toml", "--records", tmp_path / "r")
    assert done.code == 4
    assert "no.toml" in done.line
    (tmp_path / "a table").write_text("")
    done = call()
    assert done.code == 4
    assert "a folder is needed" in done.line


@pytest.mark.parametrize(
    "options",
    [
        ["--networks", "0"], ["--trials", "0"], ["--whole", "-1"], ["--kernels", "-1"],
        ["--boards", "0"], ["--evaluator", "energy"], ["--rpc-tracker", "host:x"],
        ["--rpc-key", " "], ["--stack", "both"],
    ],
)  # fmt: skip
def test_wrong_usage(call: Any, world: World, options: list[str]) -> None:
    done = call(*options)
    assert done.code == 2
    assert options[0] in done.err
    assert world.log == []
