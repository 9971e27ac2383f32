from __future__ import annotations

import pytest
import torch

from tvmkd.distill.curriculum import PACING, Curriculum


def make(pacing: str = "linear", count: int = 100, **settings: float) -> Curriculum:
    return Curriculum(
        torch.rand(count, generator=torch.Generator().manual_seed(1)), pacing, **settings
    )


@pytest.mark.parametrize("pacing", PACING)
def test_the_share_grows_from_the_first_to_the_whole(pacing: str) -> None:
    curriculum = make(pacing, start=0.2, full_at=0.5)
    shares = [curriculum.share(step / 40) for step in range(41)]
    assert shares[0] == pytest.approx(0.2)
    assert shares == sorted(shares)
    assert all(share == 1.0 for share in shares[20:])


@pytest.mark.parametrize(
    ("pacing", "progress", "share"),
    [
        ("linear", 0.0, 0.2),
        ("linear", 0.3, 0.6),
        ("linear", 0.6, 1.0),
        ("root", 0.15, 0.6),
        ("root", 0.6, 1.0),
        ("step", 0.0, 0.2),
        ("step", 0.19, 0.2),
        ("step", 0.21, 0.6),
        ("step", 0.39, 0.6),
        ("step", 0.41, 1.0),
    ],
)
def test_the_shares_by_hand(pacing: str, progress: float, share: float) -> None:
    """From a fifth to the whole at a progress of 0.6; three steps of 0.2 each."""
    assert make(pacing, start=0.2, full_at=0.6).share(progress) == pytest.approx(share)


def test_the_root_is_ahead_of_the_line() -> None:
    line, root = make("linear"), make("root")
    assert root.share(0.2) > line.share(0.2)


def test_the_easiest_are_drawn_from_first_and_all_of_them_equally() -> None:
    curriculum = make(start=0.25)
    order = curriculum.order(0.0, torch.Generator().manual_seed(0))
    assert len(order) == 100
    counts = torch.bincount(order, minlength=100)
    easy = torch.argsort(curriculum.confidence, descending=True)[:25]
    assert counts[easy].tolist() == [4] * 25
    assert int(counts.sum()) == 100


def test_in_the_end_each_image_is_drawn_once() -> None:
    order = make().order(1.0, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(100))


def test_the_generator_alone_decides() -> None:
    draws = [make().order(0.3, torch.Generator().manual_seed(seed)).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_from_the_start_where_it_is_full_at_once() -> None:
    assert make(full_at=0.0, start=0.1).share(0.0) == 1.0


def test_by_default_it_goes_from_three_tenths_to_the_whole_in_a_straight_line() -> None:
    curriculum = Curriculum(torch.rand(4))
    assert curriculum.share(0.0) == pytest.approx(0.3)
    assert curriculum.share(0.35) == pytest.approx(0.65)
    assert curriculum.share(0.7) == curriculum.share(1.0) == 1.0


def test_at_least_the_easiest_image_is_drawn_from() -> None:
    curriculum = Curriculum(torch.tensor([0.2, 0.1, 0.9, 0.3, 0.4]), start=0.01)
    assert curriculum.order(0.0, torch.Generator()).tolist() == [2] * 5
