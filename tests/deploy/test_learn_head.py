from __future__ import annotations

import hashlib
import os
from pathlib import Path

import learner_heads
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.deploy import learn_head
from tvmkd.deploy.board_learner.head_file import read_head
from tvmkd.deploy.board_learner.learner import Learner


def network(path: Path, scale: float = 1.0) -> Path:
    """``learner_heads.head`` behind an image whose pixels are the features."""
    made = learner_heads.head()
    constants = {"w": made.weights[:4] * np.float32(scale), "b": made.bias[:4] * np.float32(scale)}
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], transB=1),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 3, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def examples(count: int = 80, seed: int = 5) -> dict[str, np.ndarray]:
    labels = np.arange(count) % 4
    images = learner_heads.clusters(labels, seed).reshape(-1, 1, 3, 4)
    return {"image": images, "labels": labels}


def test_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libtvmkd_learn.a").write_text("for the host")
    monkeypatch.setattr(learn_head.learner_library, "compiled", lambda _target: tmp_path)
    net = network(tmp_path / "net.onnx")
    out = tmp_path / "out"
    made = learn_head.make(
        net, out, examples(), max_classes=6, replay=5, target=targets.load("host")
    )
    assert sorted(os.listdir(out)) == sorted(
        ["net.onnx", "head.bin", "tvmkd_learner.py", "tvmkd_learn.h", "libtvmkd_learn.a"]
    )
    head = read_head(str(out / "head.bin"))
    assert head.model == hashlib.sha256((out / "net.onnx").read_bytes()).digest()
    assert (made.classes, made.max_classes, made.features) == (4, 6, 12)
    assert np.bincount(head.replay.labels[: head.replay.count]).tolist() == [5, 5, 5, 5]
    assert len(head.replay.labels) == 30
    assert made.held_back == head.guard.count == 28
    np.testing.assert_array_equal(head.weights[:4], learner_heads.head().weights[:4])
    replayed = {row.tobytes() for row in head.replay.features[:20]}
    assert not replayed & {row.tobytes() for row in head.guard.features}
    learner = Learner(str(out / "head.bin"))
    assert made.accuracy == pytest.approx(learner.guard_shipped / 28)
    assert learner_heads.taught(learner, "new") == "accepted"
    # Again, over the older ones; the same seed makes the same bytes.
    before = (out / "head.bin").read_bytes()
    learn_head.make(net, out, examples(), max_classes=6, replay=5)
    assert (out / "head.bin").read_bytes() == before


def test_held_back_examples_of_the_users(tmp_path: Path) -> None:
    net = network(tmp_path / "net.onnx")
    made = learn_head.make(net, tmp_path / "out", examples(), examples(400, 6))
    assert (made.max_classes, made.replay, made.held_back) == (8, 80, 160)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": None}, 'has no array "labels"'),
        ({"labels": np.arange(80) % 5}, "labels from 0 to 4, and the network has 4 classes"),
        ({"labels": (np.arange(80) + 1) % 4}, "of the held-back examples right, and chance is 25"),
        ({"labels": np.arange(80) % 3}, "class 3 has fewer than two examples"),
        ({"labels": np.arange(79) % 4}, r"has to be \[80\] whole numbers"),
        ({"labels": np.arange(80) % 4 * 1.0}, r"whole numbers"),
        (
            {"image": np.zeros((80, 12), np.float32)},
            r'"image" is \[80, 12\], and the network takes',
        ),
        ({"image": np.zeros((80, 1, 3, 4))}, "is float64, and the network takes float32"),
        ({"image": np.full((80, 1, 3, 4), 1e5, np.float32)}, "beyond half precision"),
        ({"image": np.full((80, 1, 3, 4), np.nan, np.float32)}, "not finite"),
        (
            {"image": None, "a": np.zeros(3), "c": np.zeros(3)},
            "which array is the input\\? call it",
        ),
    ],
)
def test_examples_that_cannot_be_used(
    tmp_path: Path, change: dict[str, np.ndarray | None], said: str
) -> None:
    net = network(tmp_path / "net.onnx")
    given = {name: value for name, value in {**examples(), **change}.items() if value is not None}
    with pytest.raises(InputError, match=said) as caught:
        learn_head.make(net, tmp_path / "out", given, where="train.npz")
    assert str(caught.value).startswith("train.npz: ")
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_other_bad_input(tmp_path: Path) -> None:
    net = network(tmp_path / "net.onnx")
    with pytest.raises(InputError, match="--max-classes 3: the network has 4"):
        learn_head.make(net, tmp_path / "out", examples(), max_classes=3)
    with pytest.raises(InputError, match="--replay 1000000: 8 classes have 8000000 examples"):
        learn_head.make(net, tmp_path / "out", examples(), replay=10**6)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        learn_head.make(net, tmp_path / "full", examples())
    assert os.listdir(tmp_path / "full") == ["mine"]
