from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import exits
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tvmkd import artifact
from tvmkd.base.errors import InputError
from tvmkd.base.files import sha256
from tvmkd.early_exit.join import join
from tvmkd.early_exit.library import name_of
from tvmkd.early_exit.runtime import Plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exits.pieces(tmp_path_factory.mktemp("network") / "exits", (0.25, 2.0))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "exits"))


def test_the_joined_network_has_the_logits_of_every_piece(made: Path, tmp_path: Path) -> None:
    found = join(made, tmp_path / "all.onnx")
    assert found.thresholds == (0.25, 2.0)
    assert found.scaling == {}
    assert found.pieces == tuple(sha256(made / f"{number}.onnx") for number in range(3))
    session = onnxruntime.InferenceSession(tmp_path / "all.onnx")
    assert [value.name for value in session.get_outputs()] == ["exit0", "exit1", "exit2"]
    (given,) = session.get_inputs()
    assert session.get_modelmeta().custom_metadata_map == exits.METADATA
    image = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    for got, want in zip(
        session.run(None, {given.name: image}), exits.run(made, image), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-5)


def replaced(folder: Path, piece: str, model: onnx.ModelProto) -> None:
    """Puts another ONNX file there, with a manifest and a plan that fit."""
    onnx.save(model, folder / f"{piece}.onnx")
    path = folder / piece / artifact.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "onnx_sha256": sha256(folder / f"{piece}.onnx")}))
    plan = Plan.of(folder, ["0", "1", "2"], [0.5, 0.5])
    plan.save(folder)


def linear(shape: list[int], classes: int, outputs: int = 2) -> onnx.ModelProto:
    """A piece that is no part of the network: its logits are sums of what it gets."""
    names = ["logits", "features", "more"][:outputs]
    nodes = [helper.make_node("Flatten", ["x"], ["flat"])]
    size = int(np.prod(shape[1:]))
    weights = onnx.numpy_helper.from_array(np.ones((size, classes), np.float32), "w")
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["logits"]))
    nodes += [helper.make_node("Relu", ["x"], [name]) for name in names[1:]]
    infos = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], classes])]
    infos += [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names[1:]]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "g", given, infos, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def other_opset(folder: Path) -> None:
    model = onnx.load(folder / "2.onnx")
    model.opset_import[0].version = 19
    replaced(folder, "2", model)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "exits.json").unlink(), "exits.json: there is none; tvmkd distill"),
        (lambda f: (f / "exits.json").write_text("{"), "exits.json: damaged"),
        (lambda f: (f / "1.onnx").unlink(), "1.onnx: is missing; distil again"),
        (
            lambda f: shutil.copy(f / "0.onnx", f / "1.onnx"),
            "1.onnx: not the file that the piece",
        ),
        (
            lambda f: replaced(f, "1", linear([1, 3, 5, 5], 10)),
            "1.onnx: a piece of another network: takes float32 1 x 3 x 5 x 5, and 0.onnx gives",
        ),
        (
            lambda f: replaced(f, "0", linear([1, 1, 16, 16], 7)),
            "0.onnx: its logits are float32 1 x 7, the last float32 1 x 10",
        ),
        (
            lambda f: replaced(f, "0", linear([1, 1, 16, 16], 10, outputs=1)),
            "0.onnx: not a piece of the network in",
        ),
        (
            lambda f: replaced(f, "2", linear([2, 1, 16, 16], 10, outputs=1)),
            "its logits are float32 1 x 10, the last float32 2 x 10",
        ),
        (other_opset, "2.onnx: cannot be joined with the piece before it"),
        (lambda f: (f / "0.onnx").write_bytes(b"x"), "0.onnx: not the file that"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=re.escape(said)) as refused:
        join(folder, tmp_path / "all.onnx")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "all.onnx").exists()


def test_a_batch_is_refused(folder: Path, tmp_path: Path) -> None:
    for piece in "012":
        replaced(folder, piece, linear([2, 1, 16, 16], 10, outputs=1 if piece == "2" else 2))
    with pytest.raises(InputError, match="early exits are for single images"):
        join(folder, tmp_path / "all.onnx")


def test_the_name_is_the_runs() -> None:
    assert name_of(Path("runs/digits/early-exit/exits")) == "digits"
    assert name_of(Path("runs/digits")) == "digits"
