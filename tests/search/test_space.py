from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import latencies
import onnxruntime
import pytest
import spaces

from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.distill.task import Task
from tvmkd.search.space import Space

SPACE: dict[str, Any] = {
    "model": ["depthwise", "mlp"],
    "width": {"low": 0.5, "high": 1.0, "step": 0.25},
    "student.args.patch": [2, 4],
    "precision": ["fp32", "int8"],
    "quantize.keep_fp32": [[], ["head"]],
    "exits": [False, ["features.4"]],
}


@pytest.fixture(scope="module")
def space() -> Space:
    return spaces.make(SPACE)


@pytest.fixture(scope="module")
def task(space: Space) -> Task:
    return tasks.make(space.cfg)


def test_a_structure_gives_a_config_and_a_network(space: Space, task: Task) -> None:
    found = {"model": "depthwise", "precision": "int8", "exits": False, "width": 0.5}
    found["quantize.keep_fp32"] = ["head"]
    cfg = space.apply(space.cfg, found)
    assert (cfg.student.model, cfg.student.args) == ("depthwise", {"width": 0.5})
    assert cfg.quantize is not None
    assert (cfg.export.precision, cfg.quantize.keep_fp32) == ("int8", ["head"])
    assert cfg.early_exit is None
    network = space.build(space.cfg, found, task)
    assert network.get_submodule("features.0").out_channels == 8
    assert space.shape(space.cfg, found, task) == (1, 1, 16, 16)


def test_a_value_for_each_stage_is_a_list(tmp_path: Path, task: Task) -> None:
    (tmp_path / "listed_net.py").write_text(
        "from torch import nn\n"
        "def net(units):\n"
        "    if units[0] > units[1]:\n"
        "        raise ValueError('too narrow')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, units[0]), nn.Linear(*units),\n"
        "                         nn.Linear(units[1], 10))\n"
    )
    units = {"low": 2, "high": 4, "per_stage": 2}
    student = {"model": "listed_net:net"}
    space = spaces.make({"student.args.units": units}, tmp_path, student=student)
    assert space.size == 9
    good = {"student.args.units.0": 2, "student.args.units.1": 3}
    assert space.apply(space.cfg, good).student.args == {"units": [2, 3]}
    assert space.build(space.cfg, good, task).get_submodule("2").out_features == 3
    bad = {"student.args.units.0": 4, "student.args.units.1": 2}
    with pytest.raises(InputError, match=r"^student\.args\.units\.0=4.*too narrow") as caught:
        space.build(space.cfg, bad, task)
    assert "\n" not in str(caught.value)
    assert space.key(bad) != space.key(good)


def test_exits_after_a_share_of_the_blocks() -> None:
    space = spaces.make({"depth": [1, 3], "exits": [False, ["features.4"], [0.5]]})
    places = {}
    for depth in (1, 3):
        cfg = space.apply(space.cfg, {"depth": depth, "exits": [0.5]})
        assert cfg.early_exit is not None
        places[depth] = cfg.early_exit.exits
    # 5 blocks behind a stem of 3 layers; three times as many with the other depth.
    assert places == {1: ["features.4"], 3: ["features.10"]}
    keys = [space.key({"depth": 1, "exits": exits}) for exits in (["features.4"], [0.5], False)]
    assert keys[0] == keys[1] != keys[2]


def test_networks_that_are_the_same_have_one_key() -> None:
    space = spaces.make({"width": {"low": 0.5, "high": 1.5}, "distill.lr": [0.1, 0.2]})
    keys = [
        space.key({"width": width, "distill.lr": lr})
        for width, lr in ((0.5, 0.1), (0.51, 0.1), (0.51, 0.2), (1.0, 0.1))
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_latency_of_a_structure(space: Space, task: Task, tmp_path: Path) -> None:
    latency = latencies.Staircase()
    plain = {"model": "depthwise", "precision": "fp32", "exits": False, "width": 1.0}
    assert space.predict(space.cfg, plain, task, latency).seconds > 0.01
    exits = {**plain, "exits": ["features.4"]}
    space.predict(space.cfg, exits, task, latency)
    int8 = {**plain, "precision": "int8", "quantize.keep_fp32": ["head"]}
    for _ in range(2):
        space.predict(space.cfg, int8, task, latency)
    kinds = [type(each).__name__ for each in latency.asked]
    assert kinds == ["DepthwiseNet", "Until", "Until", kinds[-1], kinds[-1]]
    first, second = latency.asked[-2:]
    assert first == second
    assert isinstance(first, Path)
    assert first.exists()  # a predictor may read it later
    path = space.onnx(space.cfg, exits, task, tmp_path)
    (session,) = [onnxruntime.InferenceSession(str(path))]
    assert [output.shape for output in session.get_outputs()] == [[1, 10], [1, 10]]
    missing = {**int8, "quantize.keep_fp32": ["head"], "model": "mlp", "student.args.patch": 2}
    with pytest.raises(InputError, match=r"^model=mlp, precision=fp32.*there is no module"):
        space.onnx(
            space.cfg, {**missing, "precision": "fp32", "exits": ["features.4"]}, task, tmp_path
        )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"precision": "auto"}, r'precision = "auto" measures which one is faster, and a search'),
        ({"batch": 8}, r"batch = 8: a search predicts and measures networks for one image"),
    ],
)
def test_what_a_search_cannot_compare_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spaces.make({"width": [0.5]}, export=section, quantize={})


def test_files_of_predictions_stay_when_the_parameters_change() -> None:
    made = spaces.make({"width": [0.5, 1.0]})
    (made.folder / "a.onnx").touch()
    other = made.with_parameters(made.parameters)
    del made
    gc.collect()
    assert (other.folder / "a.onnx").exists()
