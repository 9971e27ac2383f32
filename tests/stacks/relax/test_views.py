"""Tensors followed back through what moves no data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd.stacks.relax.expressions import dataflow, operator, sizes
    from tvmkd.stacks.relax.views import origin

    op = relax.op


def emitted(value: Any) -> Any:
    return relax.BlockBuilder.current().emit(value)


def then(x: Any, *steps: Any) -> Any:
    for step in steps:
        x = emitted(step(x))
    return x


def found(make: Any, shape: tuple[int, ...], scaled: bool = True) -> tuple[Any, np.ndarray]:
    """The origin of a module's result, and the numbers of the input's elements that it has."""
    mod = relax.transform.CanonicalizeBindings()(module([shape], make))
    bindings = dataflow(mod) or []
    values = {binding.var: binding.value for binding in bindings}
    last = mod["main"].body.body
    result = origin(last, values, lambda _view: True, scaled=scaled)
    assert result is not None
    shape = tuple(sizes(last) or ())
    places = np.array([result.view.at(place) for place in np.ndindex(*shape)])
    return result, places.reshape(shape)


COUNTED = np.arange(5 * 24).reshape(1, 5, 24)


@inside("relax")
def test_heads_are_read_where_the_product_before_wrote_them() -> None:
    result, places = found(
        lambda x: then(
            x,
            lambda y: op.reshape(y, [1, 5, 3, 2, 4]),
            lambda y: op.permute_dims(y, [2, 0, 3, 1, 4]),
            lambda y: op.strided_slice(y, [0], [1], [2]),
            lambda y: op.squeeze(y, [0]),
            lambda y: op.multiply(y, relax.const(np.float32(0.5))),
            lambda y: op.divide(y, relax.const(np.float32(4.0))),
            lambda y: op.permute_dims(y, [0, 1, 3, 2]),
        ),
        (1, 5, 24),
    )
    wanted = COUNTED.reshape(1, 5, 3, 2, 4).transpose(2, 0, 3, 1, 4)[1]
    assert np.array_equal(places, wanted.swapaxes(-1, -2))
    assert result.factor == 0.125
    assert not result.last


FORMS: dict[str, tuple[Any, Any]] = {
    "split": (
        lambda x: then(x, lambda y: op.split(y, [8, 20], axis=-1), lambda y: y[1]),
        lambda a: a[..., 8:20],
    ),
    "split evenly": (
        lambda x: then(x, lambda y: op.split(y, 3, axis=2), lambda y: y[2]),
        lambda a: a[..., 16:],
    ),
    "taken": (lambda x: op.take(x, relax.const(3, "int64"), axis=1), lambda a: a[:, 3]),
    "repeated": (
        lambda x: op.broadcast_to(emitted(op.expand_dims(x, [1])), [2, 3, 5, 24]),
        lambda a: np.broadcast_to(a, (2, 3, 5, 24)),
    ),
    "every third": (
        lambda x: op.strided_slice(x, [2, 1], [1, 0], [100, 4], [3, 1]),
        lambda a: a[:, :4, 1::3],
    ),
    "reversed": (lambda x: op.permute_dims(x), lambda a: a.transpose()),
}


@pytest.mark.parametrize("form", FORMS)
@inside("relax")
def test_each_operator_is_a_view(form: str) -> None:
    make, wanted = FORMS[form]
    _, places = found(make, (1, 5, 24))
    assert np.array_equal(places, wanted(COUNTED))


@inside("relax")
def test_data_that_moves_or_changes_is_an_origin() -> None:
    def cut_and_joined(x: Any) -> Any:
        return then(
            x,
            lambda y: op.permute_dims(y, [0, 2, 1]),
            lambda y: op.reshape(y, [1, 8, 15]),
            lambda y: op.multiply(y, const(1, 8, 15)),
            lambda y: op.reshape(y, [1, 2, 4, 15]),
        )

    result, places = found(cut_and_joined, (1, 5, 24))
    assert np.array_equal(places.reshape(-1), np.arange(120))
    assert list(sizes(result.source) or []) == [1, 8, 15]
    # A number only where it is asked for.
    result, _ = found(
        lambda x: op.multiply(x, relax.const(np.float32(2.0))), (1, 5, 24), scaled=False
    )
    assert result.factor == 1.0


@inside("relax")
def test_images_of_convolutions_are_read_with_channels_last() -> None:
    def convolved(x: Any) -> Any:
        return then(
            x,
            lambda y: op.nn.conv2d(y, const(6, 2, 1, 1)),
            lambda y: op.add(y, const(1, 6, 1, 1)),
            lambda y: op.reshape(y, [1, 6, 12]),
            lambda y: op.permute_dims(y, [0, 2, 1]),
        )

    result, places = found(convolved, (1, 2, 3, 4))
    assert result.last
    assert np.array_equal(places.reshape(-1), np.arange(72))
    result, _ = found(lambda x: then(x, lambda y: op.reshape(y, [1, 2, 12])), (1, 2, 3, 4))
    assert not result.last
    assert operator(result.source) == ""
