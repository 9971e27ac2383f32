"""Code for a board, checked on one: an emulated Jetson Nano."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from plant import plant
from scipy import special

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError
from tvmkd.boards import emulate
from tvmkd.boards.remote import RemoteModel
from tvmkd.stacks.client import StackClient
from tvmkd.stacks.compile import build
from tvmkd.stacks.progress import coverage_lines

NANO = targets.load("jetson-nano")
pytestmark = [
    pytest.mark.board,
    pytest.mark.rpc,
    pytest.mark.timeout(240),
    pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not())),
]


@pytest.fixture(scope="module")
def board() -> Iterator[dict[str, Any]]:
    with emulate.emulated_fleet(NANO, 1, "nano") as address:
        yield address


@pytest.fixture
def stack(relax_stack: StackClient) -> StackClient:
    return relax_stack


@pytest.mark.parametrize("name", ["separable", "winograd"])
def test_what_is_built_for_a_nano_is_right_on_one(
    name: str, stack: StackClient, board: dict[str, Any], tmp_path: Path
) -> None:
    model = graphs.ALL[name](tmp_path / "m.onnx")
    manifest = stack.build(model, NANO.to_dict(), [], tmp_path / "out", board=board)
    assert manifest["check"]["max_error"] < 1e-4
    assert manifest["check"]["on"]["emulated"] is True
    assert "checked on an emulated board at 127.0.0.1" in "\n".join(coverage_lines(manifest))


FUNCTIONS: dict[str, Any] = {
    "Erf": special.erf,
    "Exp": np.exp,
    "Log": np.log,
    "Sigmoid": special.expit,
    "Tanh": np.tanh,
}


def test_functions_are_as_exact_on_the_board_as_here(
    stack: StackClient, board: dict[str, Any], tmp_path: Path
) -> None:
    bits = np.arange(0, 2**32, 131_071, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32), np.linspace(-12, 12, 20_000)]).astype(np.float32)
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n in ("x", *FUNCTIONS)
    ]
    nodes = [helper.make_node(name, ["x"], [name]) for name in FUNCTIONS]
    made = helper.make_model(
        helper.make_graph(nodes, "g", infos[:1], infos[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.save(made, str(tmp_path / "m.onnx"))
    stack.build(tmp_path / "m.onnx", NANO.to_dict(), [], tmp_path / "out", board=board)
    with RemoteModel(tmp_path / "out" / "model.so", NANO.to_dict(), board, "relax") as model:
        found = model.run([x])
    for (name, exact), got in zip(FUNCTIONS.items(), found, strict=True):
        with np.errstate(all="ignore"):
            wanted = exact(x.astype(np.float64))
            rounded = wanted.astype(np.float32)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
        known = np.isfinite(rounded) & (np.abs(rounded) >= np.finfo(np.float32).tiny)
        error = np.abs(got[known].astype(np.float64) - wanted[known])
        units = float((error / np.spacing(np.abs(rounded[known]))).max())
        assert units <= 3.5, f"{name}: {units:.2f} units in the last place"


def test_a_wrong_record_is_found_on_the_board(
    stack: StackClient, board: dict[str, Any], tmp_path: Path
) -> None:
    model, records = graphs.separable(tmp_path / "m.onnx"), tmp_path / "records"
    plant(model, records, NANO.to_dict(), ["good", "wrong"])
    manifest = stack.build(model, NANO.to_dict(), [records], tmp_path / "out", board=board)
    (aside,) = manifest["coverage"]["set_aside"]
    assert "differ" in aside["reason"]
    assert manifest["coverage"]["tuned"] == manifest["coverage"]["tasks"]


def test_a_board_that_does_not_fit_or_is_not_there_is_no_kernels_fault(
    stack: StackClient, board: dict[str, Any], tmp_path: Path
) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    other = {**NANO.to_dict(), "toolchain": {"triple": "aarch64-linux-gnu", "glibc": "9.99"}}
    with pytest.raises(InputError, match=r"does not fit the target 'jetson-nano': its glibc"):
        stack.build(model, other, [], tmp_path / "out", board=board)
    with pytest.raises(MissingError, match="no board under key 'nobody'"):
        build(model, NANO, [], tmp_path / "out", board={**board, "key": "nobody"})
    assert not (tmp_path / "out").exists()


def test_records_of_emulated_boards_are_marked_and_not_ranked_with_real_ones(
    stack: StackClient, tmp_path: Path
) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    for name, kind in (("real", "real"), ("emulated", "emulated")):
        plant(model, tmp_path / name, NANO.to_dict(), ["good"])
        path = tmp_path / name / "session.json"
        info = json.loads(path.read_text())
        path.write_text(json.dumps({**info, "measured_on": kind}))
    folders = [tmp_path / "real", tmp_path / "emulated"]
    with pytest.raises(InputError, match="cannot be ranked together"):
        stack.build(model, NANO.to_dict(), folders, tmp_path / "out")
    manifest = stack.build(model, NANO.to_dict(), folders[1:], tmp_path / "out")
    assert manifest["records"][0]["emulated"] is True
    assert "whose times mean nothing" in "\n".join(coverage_lines(manifest))
