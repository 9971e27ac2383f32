from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tvmkd.stacks.standalone.graph import ALIGNMENT, Call, Graph, Place, Storage, Tensor, plan

BYTE = np.dtype(np.uint8)


def tensor(number: int, size: int = 64, place: Place = Place.ARENA) -> Tensor:
    return Tensor(Storage(place, number, size), (size,), BYTE)


def chain(*sizes: int) -> list[Call]:
    """Each kernel reads the tensor before its own."""
    tensors = [tensor(number, size) for number, size in enumerate(sizes)]
    pairs = itertools.pairwise(tensors)
    return [Call(f"k{number}", "s", pair) for number, pair in enumerate(pairs)]


def test_a_chain_takes_two_buffers() -> None:
    offsets, total = plan(chain(100, 100, 100, 100))
    assert total == 128 * 2
    assert sorted(offsets.values()) == [0, 0, 128, 128]


def test_what_is_still_read_keeps_its_place() -> None:
    first, *_ = chain(64, 64, 64)
    last = Call("add", "s", (first.arguments[0], tensor(2), tensor(3)))
    middle = Call("k", "s", (first.arguments[1], tensor(2)))
    offsets, total = plan([first, middle, last])
    assert total == 64 * 3
    assert len({offsets[each.storage] for each in last.arguments}) == 3


def test_views_of_one_storage_are_one_place() -> None:
    storage = Storage(Place.ARENA, 0, 48)
    flat, square = Tensor(storage, (48,), BYTE), Tensor(storage, (6, 8), BYTE)
    offsets, total = plan([Call("a", "s", (flat,)), Call("b", "s", (square,))])
    assert offsets == {storage: 0}
    assert total == ALIGNMENT


def test_only_the_arena_is_planned() -> None:
    places = [place for place in Place if place is not Place.ARENA]
    call = Call("k", "s", tuple(tensor(1, place=place) for place in places))
    assert plan([call]) == ({}, 0)
    assert plan([]) == ({}, 0)


@st.composite
def programs(draw: st.DrawFn) -> list[Call]:
    count = draw(st.integers(1, 12))
    tensors = [tensor(number, draw(st.integers(0, 400))) for number in range(count)]
    calls = st.lists(st.sampled_from(tensors), min_size=1, max_size=4, unique=True)
    return [
        Call("k", "s", tuple(given)) for given in draw(st.lists(calls, min_size=1, max_size=15))
    ]


@settings(max_examples=300, deadline=None)
@given(programs())
def test_nothing_that_lives_at_once_overlaps(calls: list[Call]) -> None:
    offsets, total = plan(calls)
    uses: dict[Storage, list[int]] = {}
    for number, call in enumerate(calls):
        for each in call.arguments:
            uses.setdefault(each.storage, []).append(number)
    assert offsets.keys() == uses.keys()
    for number in range(len(calls)):
        alive = [each for each, found in uses.items() if found[0] <= number <= found[-1]]
        pieces = sorted((offsets[each], offsets[each] + each.size) for each in alive)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(pieces))
        assert all(end <= total for _, end in pieces)
    assert all(offset % ALIGNMENT == 0 for offset in offsets.values())
    assert total <= sum(each.size + -each.size % ALIGNMENT for each in uses)


def test_kernels_get_other_symbols() -> None:
    calls = (Call("a", "x", ()), Call("b", "y", ()))
    renamed = Graph(calls, (), (2,)).renamed({"x": "k1"})
    assert [call.symbol for call in renamed.calls] == ["k1", "y"]
    assert [call.kernel for call in renamed.calls] == ["a", "b"]
