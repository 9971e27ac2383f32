from __future__ import annotations

import json

import pytest

from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.power import Rail

FULL = Telemetry(
    zones=(Zone("cpu", 41.5), Zone("gpu", 44.0)),
    clocks=(Clock((0, 1), 900, 100, 1000), Clock((2,), 800, 200, 2000)),
    governor="performance",
    gpu=Clock((), 76800, 76800, 921600),
    gpu_load=0.25,
    throttled_by=("tegra-cpu",),
    throttle_count=3,
    rails=(Rail("VDD_IN", 2.5),),
    watts=2.5,
    power_mode="MAXN",
    load_1min=0.5,
    memory_bytes=1000,
    memory_available_bytes=500,
)


def test_the_hottest_zone_counts() -> None:
    assert FULL.celsius == 44.0
    assert Telemetry().celsius is None


def test_json_and_back_but_for_the_groups_of_cpus() -> None:
    data = json.loads(json.dumps(FULL.to_dict()))
    assert data["celsius"] == 44.0
    assert [clock["cpu"] for clock in data["clocks_khz"]] == [0, 1, 2]
    again = Telemetry.from_dict(data)
    assert again.clocks[1] == Clock((1,), 900, 100, 1000)
    assert again.to_dict() == data


def test_what_is_not_told_stays_unknown() -> None:
    assert Telemetry.from_dict(Telemetry().to_dict()) == Telemetry()
    assert Telemetry.from_dict({}) == Telemetry()


@pytest.mark.parametrize(
    ("data", "throttled"),
    [({"throttled": True}, True), ({"throttled": False}, False), ({"throttled": None}, None)],
)
def test_an_older_server_tells_only_whether(data: dict[str, bool], throttled: bool | None) -> None:
    assert Telemetry.from_dict(data).throttled is throttled


def test_what_makes_no_sense_is_left_out() -> None:
    found = Telemetry.from_dict(
        {
            "thermal": [{"zone": "a"}, {"celsius": 4}, 3, {"zone": "c", "celsius": 5}],
            "clocks_khz": "none",
            "gpu_khz": {"now": 1},
            "watts": "2",
            "load_1min": True,
            "governor": 5,
        }
    )  # fmt: skip
    assert found == Telemetry(zones=(Zone("c", 5.0),))


@pytest.mark.parametrize(
    ("by", "before", "after", "expected"),
    [
        (None, None, None, None),
        ((), None, 5, False),
        ((), 5, 5, False),
        ((), 5, 6, True),
        (None, 5, 6, True),
        (None, 5, 5, False),
        (("tegra-cpu",), 5, 5, True),
    ],
)
def test_throttling_between_two_readings(
    by: tuple[str, ...] | None, before: int | None, after: int | None, expected: bool | None
) -> None:
    earlier = Telemetry(throttle_count=before)
    now = Telemetry(throttled_by=by, throttle_count=after)
    assert now.throttled_since(earlier) is expected
