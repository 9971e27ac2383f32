from __future__ import annotations

import time

from tvmkd.boards.board_state import Telemetry
from tvmkd.deploy.streaming.sampler import Sampler


def test_it_reads_at_the_start_at_the_end_and_between() -> None:
    counts = iter(range(1000))
    with Sampler(0.02, lambda: Telemetry(throttle_count=next(counts) // 3)) as sampler:
        time.sleep(0.3)
        assert len(sampler.samples) >= 3
    taken = len(sampler.samples)
    time.sleep(0.05)
    assert len(sampler.samples) == taken
    throttled = [sample.throttled for sample in sampler.samples]
    assert throttled[:7] == [False, False, False, True, False, False, True][: len(throttled)]
    assert sampler.samples[0].at < sampler.samples[-1].at <= time.monotonic_ns()
