"""What is remembered of the networks that were lowered, with a compiler that is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from made_up_boards import HOST, Names, World, install, key, write
from onnx import TensorProto, helper, numpy_helper

from tvmkd.base.errors import InputError
from tvmkd.search.latency.lowering import SMALL, Lowering, structure


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    install(monkeypatch, made)
    return made


def network(*numbers: int) -> Any:
    return Names(*numbers)


def test_a_structure_is_lowered_once(world: World, tmp_path: Path) -> None:
    with Lowering(HOST) as lowering:
        first = lowering.kernels(network(1, 2, 1), (1, 3))
        again = lowering.kernels(network(1, 2, 1), (1, 3))
        from_file = lowering.kernels(write([1, 2, 1], tmp_path / "n.onnx"))
        other = lowering.kernels(network(1, 2), (1, 3))
    assert first == again == from_file
    assert [(each.key, each.calls) for each in first] == [(key(1), 2), (key(2), 1)]
    assert first[0].features["work"] > 0
    assert [each.calls for each in other] == [1, 1]
    assert world.log == [("lower", (1, 2, 1)), ("lower", (1, 2))]


def test_files_cover_the_kernels_that_are_asked_for(world: World, tmp_path: Path) -> None:
    with Lowering(HOST) as lowering:
        given = write([1, 2], tmp_path / "n.onnx")
        lowering.kernels(given)
        for numbers in ((1, 3), (2,), (3, 4, 5), (1, 5)):
            lowering.kernels(network(*numbers), (1, 3))
        assert lowering.files([key(2)]) == [given]
        (one,) = lowering.files([key(3), key(5)])
        assert len(lowering.files([key(2), key(4)])) == 2
        assert lowering.files([]) == []
        # Networks without a new kernel are not kept, and whole ones until the next call.
        assert len(list(lowering.folder.iterdir())) == 2
        (one,) = lowering.files([key(3), key(5)])
        assert one.exists()
        with pytest.raises(ValueError, match=r"no network lowered so far has 0x0+9"):
            lowering.files([key(9)])
        folder = lowering.folder
    assert not folder.exists()
    assert given.exists()


def test_normalised_files_are_there_only_meanwhile(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd.export import door

    def admit(path: Path, dims: Any, folder: Path) -> Any:
        assert dims == {"N": 2}
        (folder / "normalised.onnx").write_text("")
        facts = {"normalised": folder / "normalised.onnx", "assumptions": ["M is free"]}
        return SimpleNamespace(path=path, **facts)

    monkeypatch.setattr(door, "admit", admit)
    path = write([1], tmp_path / "n.onnx")
    with Lowering(HOST, dims={"N": 2}) as lowering:
        with lowering.admitted(path, path) as found:
            places = [info.normalised for info in found]
            assert len({place for place in places if place.exists()}) == 2
        assert not any(place.exists() for place in places)
        lowering.kernels(path)
        lowering.build(path, [], tmp_path / "out")
        assert list(lowering.folder.iterdir()) == []
        assert lowering.assumptions == ["M is free"]


def test_sizes_of_free_dimensions_are_for_files_that_are_given(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd.export import door

    asked: list[Any] = []

    def admit(path: Path, dims: Any, folder: Path) -> Any:
        asked.append(dims)
        return SimpleNamespace(path=path, assumptions=[])

    monkeypatch.setattr(door, "admit", admit)
    with Lowering(HOST, dims={"N": 2}) as lowering:
        lowering.kernels(network(1, 2), (1, 3))
        lowering.kernels(write([1], tmp_path / "n.onnx"))
    assert asked == [None, {"N": 2}]


def test_a_network_that_fails_may_be_tried_again(world: World) -> None:
    world.compiler.faults = {("lower", 1): InputError("no such operator")}
    with Lowering(HOST) as lowering:
        with pytest.raises(InputError, match="no such operator"):
            lowering.kernels(network(1), (1, 3))
        assert list(lowering.folder.iterdir()) == []
        world.compiler.faults.clear()
        assert len(lowering.kernels(network(1), (1, 3))) == 1


def test_a_module_needs_a_shape(world: World) -> None:
    with Lowering(HOST) as lowering, pytest.raises(ValueError, match="needs the shape"):
        lowering.kernels(network(1))


def model(weights: np.ndarray, axes: list[int], path: Path) -> Path:
    """``ReduceMean(x @ weights, axes)``, with a note of where it comes from."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMean", ["h", "axes"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    constants = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array(axes), "axes"),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    made = helper.make_model(graph)
    made.metadata_props.add(key="made", value=str(path))
    onnx.save(made, path)
    return path


def test_the_values_of_weights_are_no_structure(tmp_path: Path) -> None:
    size = SMALL // 8 + 1
    ones, twos = (np.full((8, size), value, np.float32) for value in (1, 2))
    first = structure(model(ones, [0], tmp_path / "a.onnx"))
    assert structure(model(twos, [0], tmp_path / "b.onnx")) == first
    assert structure(model(ones, [1], tmp_path / "c.onnx")) != first
    assert structure(model(ones.astype(np.float16), [0], tmp_path / "d.onnx")) != first
    assert structure(model(ones[:, 1:], [0], tmp_path / "e.onnx")) != first


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    path.write_text("no model")
    with pytest.raises(InputError, match=r"n\.onnx: not an ONNX file"):
        structure(path)
    with pytest.raises(InputError, match=r"none\.onnx: there is no such file"):
        structure(tmp_path / "none.onnx")
