"""Attention as files spell it out: found, and computed by one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside
from scipy import special

if INSIDE:
    from relax_graphs import const, module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax import vector_math
    from tvmkd.stacks.relax.attention import attention
    from tvmkd.stacks.relax.layout import channels_last
    from tvmkd.stacks.relax.row_kernels import legalizations
    from tvmkd.stacks.relax.templates.cpu import Cpu

    op, softmax = relax.op, relax.op.nn.softmax
    CPU = Cpu()
    vector_math.install()

RNG = np.random.default_rng(0)
TOKENS, HEADS, SIZE = 10, 2, 8


def emitted(value: Any) -> Any:
    return relax.BlockBuilder.current().emit(value)


def number(value: float) -> Any:
    return relax.const(np.float32(value))


def heads(x: Any, which: int, axes: tuple[int, ...] = (0, 2, 1, 3)) -> Any:
    """Queries, keys or values of ``[1, tokens, 3 * heads * size]``."""
    part = emitted(op.strided_slice(x, [2], [which * 16], [which * 16 + 16]))
    return emitted(op.permute_dims(emitted(op.reshape(part, [1, TOKENS, HEADS, SIZE])), axes))


def joined(x: Any) -> Any:
    turned = emitted(op.permute_dims(x, [0, 2, 1, 3]))
    return emitted(op.reshape(turned, [1, TOKENS, HEADS * SIZE]))


def spelled(
    scaled: Any = lambda s: op.multiply(s, number(0.5)), before: Any = lambda x: x, by: Any = None
) -> Any:
    """Attention over one tensor ``[1, tokens, 3 * heads * size]``."""

    def make(x: Any) -> Any:
        x = emitted(op.exp(x))
        q, k, v = emitted(before(heads(x, 0))), heads(x, 1, (0, 2, 3, 1)), heads(x, 2)
        scores = emitted(scaled(emitted(op.matmul(q, k))))
        return joined(emitted(op.matmul(emitted((by or softmax)(scores, -1)), v)))

    return make


def batched(x: Any) -> Any:
    """As torch's ``MultiheadAttention`` is exported: heads are a batch of matrices."""
    x = emitted(op.exp(x))
    parts = [emitted(op.strided_slice(x, [2], [i * 16], [i * 16 + 16])) for i in range(3)]
    turned = [emitted(op.permute_dims(part, [1, 0, 2])) for part in parts]
    q, k, v = (
        emitted(op.permute_dims(emitted(op.reshape(part, [TOKENS, HEADS, SIZE])), [1, 0, 2]))
        for part in turned
    )
    scores = emitted(op.matmul(emitted(op.multiply(q, number(0.5))), swapped(k)))
    out = emitted(op.matmul(emitted(softmax(scores, -1)), v))
    return emitted(op.reshape(emitted(op.permute_dims(out, [1, 0, 2])), [1, TOKENS, HEADS * SIZE]))


def swapped(x: Any) -> Any:
    rank = int(x.ty.ndim)
    return emitted(op.permute_dims(x, [*range(rank - 2), rank - 1, rank - 2]))


def values_first(x: Any) -> Any:
    """The transposed values by the transposed weights, as in LeViT's convolutional form."""
    x = emitted(op.exp(x))
    q, k, v = heads(x, 0), heads(x, 1, (0, 2, 3, 1)), heads(x, 2, (0, 2, 3, 1))
    weights = emitted(softmax(emitted(op.multiply(emitted(op.matmul(q, k)), number(0.5))), -1))
    out = emitted(op.matmul(v, swapped(weights)))
    return emitted(
        op.reshape(emitted(op.permute_dims(out, [0, 3, 1, 2])), [1, TOKENS, HEADS * SIZE])
    )


def inner(x: np.ndarray, scale: float = 0.5, change: Any = lambda s: s) -> np.ndarray:
    q, k, v = np.exp(x.astype(np.float64)).reshape(TOKENS, 3, HEADS, SIZE).transpose(1, 2, 0, 3)
    weights = special.softmax(change(scale * q @ k.swapaxes(-1, -2)), -1)
    return (weights @ v).transpose(1, 0, 2).reshape(1, TOKENS, HEADS * SIZE)


def found(make: Any, shape: tuple[int, ...] = (1, TOKENS, 3 * HEADS * SIZE)) -> Any:
    """A module and what becomes of it, without operators that only name a value."""
    mod = relax.transform.CanonicalizeBindings()(module([shape], make))
    return mod, attention(mod, CPU)


def check(make: Any, wanted: Any) -> None:
    """One kernel, three times ``reshape`` and what was before; the right output."""
    _, changed = found(make)
    kernels = [name for name in operators(changed) if name != "reshape"]
    assert kernels == ["exp", "attention"], kernels
    x = RNG.standard_normal((1, TOKENS, 3 * HEADS * SIZE)).astype(np.float32) / 2
    lowered = relax.transform.LegalizeOps(legalizations())(changed)
    np.testing.assert_allclose(run(lowered, [x])[0], wanted(x), rtol=1e-5, atol=1e-5)


FORMS: dict[str, tuple[Any, Any]] = {
    "scale behind": (spelled(), inner),
    "divided": (spelled(lambda s: op.divide(s, number(2.0))), inner),
    "scale before": (
        spelled(lambda s: op.add(s, number(1.0)), lambda q: op.multiply(q, number(0.5))),
        inner,
    ),
    "heads as a batch": (batched, inner),
    "values first": (values_first, inner),
}


@pytest.mark.parametrize("form", FORMS)
@inside("relax")
def test_forms_become_one_kernel(form: str) -> None:
    make, wanted = FORMS[form]
    check(make, wanted)


BIAS = (np.arange(HEADS * TOKENS * TOKENS) % 7 / 3).reshape(1, HEADS, TOKENS, TOKENS)
SEEN = np.tril(np.ones((TOKENS, TOKENS), bool))


@inside("relax")
def test_scores_are_biased_and_masked() -> None:
    bias = BIAS.astype(np.float32)
    check(
        spelled(lambda s: op.add(relax.const(bias), s)),
        lambda x: inner(x, 1.0, lambda s: s + bias[0]),
    )
    hidden = number(-np.inf)
    check(
        spelled(lambda s: op.where(relax.const(SEEN), s, hidden)),
        lambda x: inner(x, 1.0, lambda s: np.where(SEEN, s, -np.inf)),
    )
    check(
        spelled(lambda s: op.where(relax.const(~SEEN), hidden, s)),
        lambda x: inner(x, 1.0, lambda s: np.where(SEEN, s, -np.inf)),
    )
    # For each head a factor, as in Swin V2; less a bias of each key, in windows.
    factors = np.array([0.5, 2.0], np.float32).reshape(1, HEADS, 1, 1)

    def windowed(scores: Any) -> Any:
        scores = emitted(op.multiply(scores, relax.const(factors)))
        scores = emitted(op.reshape(scores, [1, 1, HEADS, TOKENS, TOKENS]))
        scores = emitted(op.subtract(scores, relax.const(bias[:, None, 1:, :1])))
        return op.reshape(scores, [1, HEADS, TOKENS, TOKENS])

    check(
        spelled(windowed),
        lambda x: inner(x, 1.0, lambda s: s * factors[0] - bias[0, 1:, :1]),
    )


@inside("relax")
def test_a_mask_that_is_computed_is_read_as_it_is() -> None:
    def make(x: Any, mask: Any) -> Any:
        added = emitted(op.multiply(emitted(op.subtract(number(1.0), mask)), number(-1e4)))
        return spelled(lambda s: op.add(s, emitted(op.expand_dims(added, [1, 2]))))(x)

    mod = module([(1, TOKENS, 3 * HEADS * SIZE), (1, TOKENS)], make)
    changed = attention(relax.transform.CanonicalizeBindings()(mod), CPU)
    assert operators(changed).count("attention") == 1
    x = RNG.standard_normal((1, TOKENS, 3 * HEADS * SIZE)).astype(np.float32) / 2
    seen = (np.arange(TOKENS) != 3).astype(np.float32)
    lowered = relax.transform.LegalizeOps(legalizations())(changed)
    wanted = inner(x, 1.0, lambda s: s - 1e4 * (1 - seen))
    np.testing.assert_allclose(run(lowered, [x, seen[None]])[0], wanted, rtol=1e-5, atol=1e-5)


@inside("relax")
def test_one_key_for_all_heads_and_more_keys_than_queries() -> None:
    def make(q: Any, k: Any, v: Any) -> Any:
        return op.matmul(emitted(softmax(emitted(op.matmul(q, swapped(k))), -1)), v)

    shapes = [(2, 3, 6, 4), (2, 1, 12, 4), (2, 1, 12, 8)]
    changed = attention(relax.transform.CanonicalizeBindings()(module(shapes, make)), CPU)
    assert operators(changed).count("attention") == 1
    q, k, v = (RNG.standard_normal(shape).astype(np.float32) for shape in shapes)
    lowered = relax.transform.LegalizeOps(legalizations())(changed)
    wanted = special.softmax(q.astype(np.float64) @ k.swapaxes(-1, -2), -1) @ v
    np.testing.assert_allclose(run(lowered, [q, k, v])[0], wanted, rtol=1e-5, atol=1e-5)


@inside("relax")
def test_images_are_read_with_channels_last() -> None:
    def make(x: Any) -> Any:
        q, k, v = (
            emitted(op.reshape(emitted(op.nn.conv2d(x, const(8, 6, 1, 1, low=low))), [1, 8, 12]))
            for low in (-0.5, -0.4, -0.3)
        )
        weights = softmax(emitted(op.matmul(swapped(q), k)), -1)
        return op.matmul(v, swapped(emitted(weights)))

    mod = relax.transform.CanonicalizeBindings()(module([(1, 6, 3, 4)], make))
    changed = attention(mod, CPU)
    assert operators(changed).count("attention") == 1
    x = RNG.standard_normal((1, 6, 3, 4)).astype(np.float32)
    lower = relax.transform.LegalizeOps(legalizations())
    lowered = lower(channels_last(changed))
    # The convolutions' outputs are not transposed: only the input is.
    assert operators(lowered).count("transpose") == 1
    np.testing.assert_allclose(run(lowered, [x])[0], run(lower(mod), [x])[0], rtol=1e-5, atol=1e-5)


OTHERS: dict[str, Any] = {
    "of another axis": spelled(by=lambda s, _axis: softmax(s, 2)),
    "its logarithm": spelled(by=relax.op.nn.log_softmax if INSIDE else None),
    "changed by a function": spelled(lambda s: op.tanh(s)),
    "changed by itself": spelled(lambda s: op.multiply(s, s)),
}


@pytest.mark.parametrize("form", OTHERS)
@inside("relax")
def test_what_is_no_attention_stays(form: str) -> None:
    mod, changed = found(OTHERS[form])
    assert changed is mod


@inside("relax")
def test_weights_that_are_read_elsewhere_are_written() -> None:
    def make(x: Any) -> Any:
        weights: list[Any] = []

        def kept(scores: Any, axis: int) -> Any:
            weights.append(emitted(softmax(scores, axis)))
            return weights[0]

        out = spelled(by=kept)(x)
        return relax.Tuple([out, emitted(op.mean(weights[0], 1))])

    mod, changed = found(make)
    assert changed is mod


@inside("relax")
def test_cores_that_were_not_measured_and_other_types_keep_their_kernels() -> None:
    mod = module([(1, TOKENS, 3 * HEADS * SIZE)], spelled())
    assert attention(mod, Cpu(lanes=4, registers=32)) is mod
    small = relax.transform.CanonicalizeBindings()(
        module([(1, TOKENS, 3 * HEADS * SIZE)], spelled(lambda s: s), dtype="float16")
    )
    assert attention(small, CPU) is small
