"""The simulated board and space, and tvmkd's own table and space, are what the search asks for."""

from __future__ import annotations

import simulated

from tvmkd.search.joint.protocols import Mutable, Predictor, Spent, Tunable


def test_the_board_and_the_space_of_these_tests_fit() -> None:
    board: Tunable = simulated.Board()
    space: Mutable = simulated.Space()
    macs: Predictor = simulated.Macs()
    kernels = simulated.lower(
        {"block": "depthwise", "width": 16, "depth": 2, "kernel": 3, "expansion": 1}
    )
    assert space.key({"a": 1, "b": 2}) == space.key({"b": 2, "a": 1})
    assert macs.predict(kernels).seconds > 0
    before = board.predict(kernels)
    assert before.interpolated == 1
    assert board.progress(kernels[0].key) is None
    spent = board.tune({each.key: 1.0 for each in kernels}, 60)
    assert spent == Spent(60.0, 60)
    after = board.predict(kernels)
    assert after.interpolated == 0
    progress = board.progress(kernels[0].key)
    assert progress is not None
    assert progress.best <= progress.first
