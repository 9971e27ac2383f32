from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_session import FakeSession
from onnx_files import convolution, save
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.base.tolerance import EXPORT_ABSOLUTE, EXPORT_RELATIVE
from tvmkd.export import parity as module
from tvmkd.export.parity import flatten, parity

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    def __init__(self, model) -> None:
        super().__init__()
        from onnx import numpy_helper

        kernel = numpy_helper.to_array(model.graph.initializer[0])
        self.kernel = nn.Parameter(torch.from_numpy(kernel.copy()))

    def forward(self, x):
        return torch.relu(nn.functional.conv2d(x, self.kernel))


def test_an_equal_file_passes_at_any_batch(tmp_path):
    model = convolution(batch="batch")
    path = save(model, tmp_path / "m.onnx")
    assert parity(Net(model), path, SHAPE, True, "net") < 1e-4


class Constant(nn.Module):
    """Gives the same row for each element of the batch."""

    def __init__(self, *row: float) -> None:
        super().__init__()
        self.row = torch.tensor(row)

    def forward(self, x):
        return self.row.expand(len(x), -1)


Fake = Callable[..., FakeSession]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Lets `parity` open a fake session with the given function."""

    def make(function) -> FakeSession:
        session = FakeSession(function)
        monkeypatch.setattr(module, "open_session", lambda path, name: session)
        return session

    return make


def compare(network: nn.Module, dynamic_batch: bool = True, batch: int = 1) -> float:
    return parity(network, Path("m.onnx"), (batch, 2), dynamic_batch, "net")


# Of a value itself: the relative and the absolute share of 100 add up. Of a zero beside it: the
# absolute share alone. Where every value is below 1 the absolute share is of 1.
EDGES = [
    ((100.0, 100.0), 1, 100 * (EXPORT_RELATIVE + EXPORT_ABSOLUTE)),
    ((100.0, 0.0), 1, 100 * EXPORT_ABSOLUTE),
    ((0.01, 0.0), 1, EXPORT_ABSOLUTE),
]


@pytest.mark.parametrize(("row", "position", "allowed"), EDGES)
@pytest.mark.parametrize("sign", [1, -1])
def test_half_the_tolerance_passes_and_twice_is_refused(
    fake: Fake, row: tuple[float, ...], position: int, allowed: float, sign: int
) -> None:
    def off(by: float):
        changed = np.array(row, np.float32)
        changed[position] += sign * by
        return lambda x: np.tile(changed, (len(x), 1))

    fake(off(allowed / 2))
    assert compare(Constant(*row)) == pytest.approx(allowed / 2, rel=1e-3)
    fake(off(allowed * 2))
    with pytest.raises(InputError, match='net: "y" differs between PyTorch and ONNX Runtime by'):
        compare(Constant(*row))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_or_infinity_from_onnx_runtime_is_refused(fake: Fake, bad: float) -> None:
    fake(lambda x: np.full((len(x), 2), bad, np.float32))
    with pytest.raises(InputError, match="differs between PyTorch and ONNX Runtime"):
        compare(Constant(1.0, 1.0))


def test_an_output_of_one_value_is_compared(fake: Fake) -> None:
    fake(lambda x: np.full((len(x), 1), 2, np.float32))
    with pytest.raises(InputError, match="differs"):
        compare(Constant(1.0), dynamic_batch=False)


def test_an_empty_output_has_no_difference(fake: Fake) -> None:
    fake(lambda x: np.zeros((len(x), 0), np.float32))
    assert compare(Constant()) == 0.0


def test_a_free_batch_is_tried_with_several_sizes(fake: Fake) -> None:
    session = fake(lambda x: np.ones((len(x), 2), np.float32))
    compare(Constant(1.0, 1.0))
    assert [len(x) for x in session.fed] == [1, 2, 3, 4]
    # A file that is right with a batch of 1 only.
    fake(lambda x: np.ones((len(x), 2), np.float32) * len(x))
    with pytest.raises(InputError, match="differs"):
        compare(Constant(1.0, 1.0))


def test_a_fixed_batch_is_kept(fake: Fake) -> None:
    session = fake(lambda x: np.ones((len(x), 2), np.float32))
    compare(Constant(1.0, 1.0), dynamic_batch=False, batch=3)
    assert [len(x) for x in session.fed] == [3, 3, 3, 3]


def test_inputs_differ_and_the_last_one_is_zero(fake: Fake) -> None:
    session = fake(lambda x: x)
    compare(nn.Identity())
    *others, last = session.fed
    assert not last.any()
    assert len({float(x[0, 0]) for x in others}) == 3
    assert all(x.any() and x.dtype == np.float32 for x in others)


def test_the_largest_difference_of_all_inputs_is_returned(fake: Fake) -> None:
    # The third input is one of three rows.
    fake(lambda x: np.ones((len(x), 2), np.float32) + (len(x) == 3) * np.float32(5e-4))
    assert compare(Constant(1.0, 1.0)) == pytest.approx(5e-4, rel=1e-3)


def test_a_file_that_fails_while_it_runs_names_the_batch(fake: Fake) -> None:
    def fails(x: np.ndarray) -> np.ndarray:
        if len(x) == 2:
            raise RuntimeError("Reshape: cannot\nmore")
        return np.ones((len(x), 2), np.float32)

    fake(fails)
    with pytest.raises(InputError, match=r"^net: .* fails on a batch of 2: Reshape: cannot$"):
        compare(Constant(1.0, 1.0))


def test_one_changed_weight_is_found(tmp_path):
    model = convolution()
    network = Net(model)
    path = save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        network.kernel[2, 1, 1, 1] += 0.05
    with pytest.raises(InputError, match=r'net: "out" differs .* by'):
        parity(network, path, SHAPE, False, "net")


def test_nan_in_pytorch_is_refused(tmp_path):
    model = convolution()
    network = Net(model)
    path = save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        network.kernel[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="NaN or infinite in PyTorch already"):
        parity(network, path, SHAPE, False, "net")


def test_another_number_of_outputs_or_shape(tmp_path):
    model = convolution()
    path = save(model, tmp_path / "m.onnx")

    class Two(Net):
        def forward(self, x):
            return super().forward(x), x

    class Flat(Net):
        def forward(self, x):
            return super().forward(x).flatten(1)

    with pytest.raises(InputError, match="2 outputs, the exported file 1"):
        parity(Two(model), path, SHAPE, False, "net")
    with pytest.raises(InputError, match=r"shape \(1, 144\) in PyTorch, \(1, 4, 6, 6\)"):
        parity(Flat(model), path, SHAPE, False, "net")


def test_a_file_that_onnx_runtime_refuses(tmp_path):
    model = convolution()
    path = save(convolution(activation="Nonsense"), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"^net: ONNX Runtime cannot load it: "):
        parity(Net(model), path, SHAPE, False, "net")


def test_outputs_of_any_structure():
    a, b = torch.zeros(1), torch.ones(2)
    assert [list(t.shape) for t in flatten({"x": a, "y": [b, None]})] == [[1], [2]]
