from __future__ import annotations

from tvmkd.search.page.labels import Box, free_place

INSIDE = Box(0, 0, 400, 300)


def test_a_label_stands_beside_its_dot() -> None:
    box, end = free_place((100, 100), "winner", [(100, 100)], [], INSIDE)
    assert not end
    assert box.left > 100
    assert box.top < 100 < box.bottom


def test_at_the_right_edge_it_stands_on_the_left() -> None:
    box, end = free_place((390, 100), "winner", [(390, 100)], [], INSIDE)
    assert end
    assert box.right < 390


def test_it_avoids_dots_and_other_labels() -> None:
    crowd = [(120 + 5 * i, 100) for i in range(20)] + [(80 - 5 * i, 100) for i in range(15)]
    box, _ = free_place((100, 100), "winner", [(100, 100), *crowd], [], INSIDE)
    assert not any(box.holds(*dot) for dot in crowd)
    other, _ = free_place((102, 100), "by MACs", [(100, 100), *crowd], [box], INSIDE)
    assert not other.meets(box)
