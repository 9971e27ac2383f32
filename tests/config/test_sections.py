from __future__ import annotations

from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("board", ("board", 9190)),
        ("10.0.0.7:9000", ("10.0.0.7", 9000)),
        ("[::1]", ("::1", 9190)),
        ("[::1]:9000", ("::1", 9000)),
    ],
)
def test_tracker_addresses(text: str, address: tuple[str, int]) -> None:
    assert config.parse_tracker(text) == address


@pytest.mark.parametrize("text", ["", ":9190", "host:0", "host:65536", "host:x", "a:1:2"])
def test_what_is_no_tracker_address(text: str) -> None:
    with pytest.raises(ValueError, match="not a tracker address"):
        config.parse_tracker(text)


def distill(**section: Any) -> config.Distill:
    return config.parse({"project": {"name": "a"}, "distill": section}).distill


def test_a_structure_is_learnt_only_with_a_table_and_a_weight() -> None:
    assert not distill().shaped
    assert not distill(latency_weight=0.5).shaped
    assert not distill(latency="table").shaped
    assert distill(latency="table", latency_weight=0.5).shaped


def test_the_budget_of_a_watch_is_a_time() -> None:
    assert distill().limit is None
    for text in ("8ms", "8", 8, 8.0, "8000us"):
        found = distill(watch=text).limit
        assert found is not None
        assert (found.value, found.unit) == (8.0, "ms")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"watch": "12M"}, "distill.watch: wants a latency such as 8ms"),
        ({"watch": "soon"}, "distill.watch: wants a latency such as 5ms"),
        (
            {"latency": "tabel"},
            'there is no latency model "tabel"; did you mean "table"',
        ),
        ({"latency": "torchvision:resnet18"}, "distill.latency: .*known: macs, table; or give"),
        ({"table": "t"}, 'table has no effect without latency = "table"'),
        ({"shaping": 0.2}, 'shaping has no effect without latency = "table"'),
        ({"latency": "table", "shape": []}, "distill.shape: .*at least 1"),
        ({"latency": "table", "shape": ["width", "width"]}, "shape names something twice"),
        ({"latency": "table", "shape": ["height"]}, "distill.shape.0: .*'width' or 'depth'"),
        ({"latency": "table", "shaping": 1.0}, "distill.shaping: .*less than 1"),
        ({"latency": "table", "latency_weight": 1, "epochs": 1}, "needs 2 epochs or more"),
    ],
)
def test_what_cannot_be_shaped_or_watched_is_one_line(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        distill(**section)
    assert "\n" not in str(caught.value)
