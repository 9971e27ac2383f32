"""Whether threads pay is decided for each configuration."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.stacks.relax.templates.threads import EXPECTED, SYNC, with_threads


def order(steps: list[int], cycles: list[float], threads: int) -> list[tuple[int, bool, float]]:
    configs: list[dict[str, Any]] = [{"at": i, "steps": n} for i, n in enumerate(steps)]
    found = with_threads(configs, cycles, Cpu(threads=threads))
    assert [c[EXPECTED] for c in found] == sorted(c[EXPECTED] for c in found)
    return [(c["at"], c["parallel"], c[EXPECTED]) for c in found]


@inside("relax")
def test_long_kernels_use_threads_and_short_ones_do_not() -> None:
    long, short = 100 * SYNC, SYNC / 4
    assert order([8], [long], 2) == [(0, True, long / 2 + SYNC), (0, False, long)]
    assert order([8], [short], 2) == [(0, False, short), (0, True, short / 2 + SYNC)]
    assert order([8], [long], 1) == [(0, False, long)]


@inside("relax")
def test_the_thread_with_the_most_steps_decides() -> None:
    long = 100 * SYNC
    assert order([1], [long], 4) == [(0, False, long)]
    assert order([5, 8], [long, long], 4)[:2] == [
        (1, True, long / 4 + SYNC),
        (0, True, long * 2 / 5 + SYNC),
    ]
