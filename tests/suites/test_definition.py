from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.suites import definition

ONE = '[[network]]\nname = "a"\nmodel = "depthwise"\nshape = [1, 1, 32, 32]\n'


def test_the_shipped_suite_has_ten_networks_of_torchvision() -> None:
    from torchvision import models

    suite = definition.load("edge10")
    assert len(suite.networks) == 10
    assert {network.shape for network in suite.networks} == {(1, 3, 224, 224)}
    known = {f"torchvision:{name}" for name in models.list_models(module=models)}
    assert {network.model for network in suite.networks} <= known


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'description = "d"\n{ONE}[[network]]\nname = "b"\nonnx = "b.onnx"\n')
    suite = definition.load(str(path))
    assert (suite.name, suite.description, suite.folder) == ("mine", "d", tmp_path)
    assert [network.name for network in suite.networks] == ["a", "b"]
    assert suite.networks[1].onnx == Path("b.onnx")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("network = []", "network: list should have at least 1 item"),
        ("[[network]\n", "not a suite in TOML"),
        (ONE + ONE, 'two networks are called "a"'),
        (ONE.replace("name", "nam"), "network 1 name: field required"),
        (ONE.replace('"a"', '"../a"'), "network 1 name: string should match pattern"),
        (ONE.replace("shape = [1, 1, 32, 32]", ""), "network 1: model needs the shape"),
        (ONE.replace("[1, 1", "[0, 1"), "network 1: model needs the shape"),
        (
            ONE.replace('model = "depthwise"', ""),
            "network 1: give either model with shape, or onnx",
        ),
        (ONE + 'onnx = "m.onnx"', "network 1: give either model with shape, or onnx"),
        ('[[network]]\nname = "a"\nonnx = "m.onnx"\nshape = [1]\n', "onnx has the shapes in it"),
        ("networks = 3\n" + ONE, "networks: extra inputs are not permitted"),
    ],
)
def test_a_file_that_is_no_suite(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        definition.load(str(path))
    assert str(caught.value).startswith(str(path))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no suite "edge1"; did you mean "edge10"'):
        definition.load("edge1")
    with pytest.raises(InputError, match="there is no such suite"):
        definition.load(str(tmp_path / "none.toml"))
