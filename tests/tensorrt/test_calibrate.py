from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from build_fakes import Generation, Memory

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.calibrate import calibrator


def make(memory: Any, samples: dict[str, np.ndarray], batch: int = 2) -> tuple[Any, Any]:
    bindings = Generation("8.6").bindings
    bindings.log.clear()
    return calibrator(bindings, samples, batch, memory), bindings.log


def test_whole_batches_arrive_in_order_and_a_partial_one_is_left_out() -> None:
    memory = Memory()
    samples = {"x": np.arange(15, dtype=np.float32).reshape(5, 3), "m": np.ones((5, 1), np.float32)}
    feeder, _log = make(memory, samples)
    assert feeder.get_batch_size() == 2
    for first in (0, 2):
        mask, address = feeder.get_batch(["m", "x"])
        assert memory.device[address] == samples["x"][first : first + 2].tobytes()
        assert memory.device[mask] == samples["m"][:2].tobytes()
        assert not memory.waiting
    assert feeder.get_batch(["m", "x"]) is None
    assert feeder.read_calibration_cache() is None
    feeder.write_calibration_cache(memoryview(b"ranges"))
    feeder.release()
    assert (memory.device, memory.pinned, memory.streams) == ({}, 0, 0)


def test_an_error_ends_the_batches_and_does_not_reach_cpp() -> None:
    feeder, log = make(Memory(full=True), {"x": np.zeros((4, 3), np.float32)})
    assert feeder.get_batch(["x"]) is None
    assert isinstance(log.stopped, MemoryError)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"x": np.zeros((1, 3))}, "make no batch of 2"),
        ({"x": np.zeros((4, 3)), "m": np.zeros((3, 1))}, "a different number of samples"),
    ],
)
def test_too_few_or_unequal_samples_are_refused(
    samples: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make(Memory(), samples)
