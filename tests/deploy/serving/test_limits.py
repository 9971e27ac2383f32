"""CPUs and threads of instances, and what is left to the server."""

from __future__ import annotations

from typing import Any

import pytest

from tvmkd.deploy.serving import limits as limits_module
from tvmkd.deploy.serving.limits import SPIN_US, Limits, default_spin, leave, share


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(2, (2, 3)), [((2,), 1), ((3,), 1)]),
        (Limits(2, (1, 2, 3, 4)), [((1, 3), 2), ((2, 4), 2)]),
        (Limits(3, (7,)), [((7,), 1)] * 3),
        (Limits(2, (1, 2, 3)), [((1, 3), 2), ((2,), 1)]),
        (Limits(1, (1, 2), threads=5), [((1, 2), 5)]),
        (Limits(1), [((), 4)]),
        (Limits(3), [((), 1)] * 3),
    ],
)
def test_cpus_are_shared_out(
    limits: Limits, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert [share(limits, number) for number in range(limits.instances)] == expected


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The CPUs of this process, which a test can change and `leave` changes."""
    found = {0, 1, 2, 3}

    def allow(_: int, chosen: set[int]) -> None:
        found.intersection_update(chosen)

    monkeypatch.setattr(limits_module.os, "sched_getaffinity", lambda _: set(found))
    monkeypatch.setattr(limits_module.os, "sched_setaffinity", allow)
    return found


def test_instances_look_for_requests_only_where_a_cpu_is_left(cpus: set[int]) -> None:
    assert [default_spin(count) for count in (1, 3, 4, 5)] == [SPIN_US, SPIN_US, 0, 0]


@pytest.mark.parametrize(
    ("taken", "left"),
    [((), {0, 1, 2, 3}), ((1, 3), {0, 2}), ((0, 1, 2, 3), {0, 1, 2, 3}), ((7,), {0, 1, 2, 3})],
)
def test_the_server_leaves_the_cpus_of_its_instances(
    cpus: set[int], taken: tuple[int, ...], left: set[int]
) -> None:
    leave(taken)
    assert cpus == left
