from __future__ import annotations

from tvmkd.deploy.board_learner.draws import Draws


def test_it_is_splitmix64() -> None:
    """The upper halves of the generator's first outputs for the seed 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    draws = Draws(1234567)
    assert [draws.below(2**32 - 1) for _ in published] == [
        (value >> 32) * (2**32 - 1) >> 32 for value in published
    ]


def test_every_number_below_a_limit_comes() -> None:
    draws = Draws(3)
    found = [draws.below(5) for _ in range(2000)]
    assert all(320 < found.count(number) < 480 for number in range(5))
    assert sum(found.count(number) for number in range(5)) == 2000
