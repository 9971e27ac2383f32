"""The kernel of recurrent layers against their definition, in every way of computing it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside
from scipy.special import expit

if INSIDE:
    import tvm
    from relax_graphs import PLAIN, compiled

    from tvmkd.stacks.relax import vector_math
    from tvmkd.stacks.relax.recurrent_kernel import arguments, kernel
    from tvmkd.stacks.relax.recurrent_layer import Layer, in_tiles, packed

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def stepped(what: Any, given: np.ndarray, hidden: np.ndarray, cell: np.ndarray, r: np.ndarray,
            bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The next state of one sequence in float64, by ONNX's formulas; ``given [gates, hidden]``."""
    product = (r @ hidden).reshape(what.gates, -1)
    if what.kind == "RNN":
        total = (given + product)[0]
        return (np.maximum(total, 0) if what.bend == "relu" else np.tanh(total)), cell
    if what.kind == "LSTM":
        i, o, f, c = given + product
        cell = expit(f) * cell + expit(i) * np.tanh(c)
        return expit(o) * np.tanh(cell), cell
    z, reset = expit((given + product)[:2])
    if what.reset_after:
        last = reset * (product[2] + bias)
    else:
        last = r.reshape(3, what.hidden, -1)[2] @ (reset * hidden)
    return (1 - z) * np.tanh(given[2] + last) + z * hidden, cell


def defined(what: Any, given: np.ndarray, recurrent: np.ndarray, bias: np.ndarray,
            first: np.ndarray, cells: np.ndarray) -> dict[str, np.ndarray]:  # fmt: skip
    states = np.zeros((what.steps, *first.shape))
    hidden, cell = first.astype(np.float64), cells.astype(np.float64)
    for d, backward in enumerate(what.backward):
        for row in range(what.batch):
            for t in range(what.steps)[:: -1 if backward else 1]:
                hidden[d, row], cell[d, row] = stepped(
                    what, given[t, row, d], hidden[d, row], cell[d, row],
                    recurrent[d].astype(np.float64), bias[d],
                )  # fmt: skip
                states[t, d, row] = hidden[d, row]
    return {"states": states, "hidden": hidden, "cell": cell}


def check(kind: str, **more: Any) -> None:
    settings = {"steps": 5, "batch": 1, "hidden": 11, "backward": (False,), "lanes": 4, **more}
    what = Layer(kind, **settings)
    directions, batch, hidden = what.directions, what.batch, what.hidden
    given = numbers(what.steps, batch, directions, what.gates, hidden)
    recurrent = numbers(directions, what.gates * hidden, hidden) * np.float32(0.3)
    bias, first, cell = (numbers(directions, n, hidden) for n in (1, batch, batch))
    wanted = defined(what, given, recurrent, bias[:, 0], first, cell)

    def padded(array: np.ndarray) -> np.ndarray:
        more = [(0, 0)] * (array.ndim - 1) + [(0, what.width - hidden)]
        return np.pad(array, more)

    flat = given.reshape(-1, directions, what.gates * hidden)
    tiled = np.stack([in_tiles(what, each) for each in flat])
    known = {"given": tiled, "bias": padded(bias)[:, 0], "first_hidden": padded(first)}
    known["first_cell"] = padded(cell)
    known.update({f"weights{n}": each for n, each in enumerate(packed(what, recurrent))})
    vector_math.install()
    shapes = arguments(what)
    arrays = {
        name: tvm.runtime.tensor(
            known[name].reshape(shape) if name in known else np.full(shape, np.nan, np.float32)
        )
        for name, shape in shapes.items()
    }
    mod = tvm.IRModule({"main": kernel(what).with_attr("global_symbol", "main")})
    compiled(mod, PLAIN)["main"](*arrays.values())
    for name in ("states", "hidden", *(["cell"] if kind == "LSTM" else [])):
        got = arrays[name].numpy()
        np.testing.assert_allclose(got[..., :hidden], wanted[name], rtol=2e-5, atol=2e-6)
        np.testing.assert_array_equal(got[..., hidden:], 0)


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("RNN", {}),
    ("RNN", {"bend": "relu", "backward": (True,)}),
    ("GRU", {}),
    ("GRU", {"reset_after": True}),
]


@pytest.mark.parametrize(("kind", "form"), FORMS)
@inside("relax")
def test_one_sequence(kind: str, form: dict[str, Any]) -> None:
    check(kind, **form)


@pytest.mark.parametrize(("kind", "form"), FORMS)
@inside("relax")
def test_two_directions_of_a_batch_in_threads_with_a_part_that_is_smaller(
    kind: str, form: dict[str, Any]
) -> None:
    more = {**form, "backward": (False, True), "batch": 3, "rows": 2, "vectors": 2}
    check(kind, **more, threads="sequences")


@pytest.mark.parametrize(("kind", "form"), FORMS)
@inside("relax")
def test_threads_share_the_tiles_of_a_step(kind: str, form: dict[str, Any]) -> None:
    check(kind, **form, threads="tiles")


@inside("relax")
def test_two_directions_may_be_the_same() -> None:
    check("GRU", backward=(True, False), lanes=8)


@inside("relax")
def test_one_step_and_many_sums_side_by_side() -> None:
    check("LSTM", steps=1, hidden=16, vectors=4)
