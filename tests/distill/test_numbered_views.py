from __future__ import annotations

import pytest
import torch

from tvmkd.data.augment import Affine, Chain
from tvmkd.data.camera import Camera, Normalised
from tvmkd.data.splits import TensorImages
from tvmkd.distill import numbered_views
from tvmkd.distill.numbered_views import NumberedViews

SHAPE = (1, 12, 12)
COUNT = 9
CAMERA = Normalised(Camera(), (0.4,), (0.2,))
CHANGES = [Affine(flip=True), CAMERA, Chain((Affine(), CAMERA))]


def views(change=CHANGES[0], seed: int = 3) -> NumberedViews:
    pixels = torch.rand(COUNT, *SHAPE, generator=torch.Generator().manual_seed(0))
    return NumberedViews(
        TensorImages(pixels, torch.arange(COUNT), [0.4], [0.2]), change, seed, 2, SHAPE
    )


def epoch(made: NumberedViews, order: list[list[int]], view: int) -> dict[int, torch.Tensor]:
    """The view of each image."""
    found = {}
    for pictures, labels in made.batches([torch.tensor(part) for part in order], view):
        found.update(zip(labels.tolist(), pictures, strict=True))
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_a_view_depends_on_its_image_and_number_alone(change) -> None:
    one = epoch(views(change), [[0, 1, 2, 3], [4, 5, 6, 7]], 1)
    other = epoch(views(change), [[7], [3, 8, 5], [0, 1, 2, 4, 6]], 1)
    assert len(one) == 8
    assert all(torch.equal(one[index], other[index]) for index in one)
    assert not torch.equal(one[2], epoch(views(change), [[2]], 0)[2])
    assert not torch.equal(one[2], epoch(views(change, seed=4), [[2]], 1)[2])


def test_views_come_again_without_being_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = views()
    first = epoch(made, [[0, 1, 2], [3, 4]], 1)
    calls = []
    make = NumberedViews.make
    monkeypatch.setattr(
        NumberedViews, "make", lambda self, *args: calls.append(args) or make(self, *args)
    )
    again = epoch(made, [[4, 2], [0, 3, 1]], 1)
    assert not calls
    assert all(torch.equal(first[index], again[index]) for index in range(5))
    epoch(made, [[4, 5]], 1)  # one of these is new
    epoch(made, [[4, 5]], 0)
    assert len(calls) == 2
    assert [args[2] for args in calls] == [1, 0]


def test_views_that_do_not_fit_are_made_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = epoch(views(), [[0, 1]], 0)
    need = 2 * COUNT * 144 * 4
    monkeypatch.setattr(numbered_views, "KEPT_BYTES", need - 1)
    made = views()
    for _ in range(2):
        found = epoch(made, [[1, 0]], 0)
        assert torch.equal(found[0], kept[0])
    assert made._kept is None
    monkeypatch.setattr(numbered_views, "KEPT_BYTES", need)
    made = views()
    epoch(made, [[1, 0]], 0)
    assert made._kept is not None
