from __future__ import annotations

import pytest

from tvmkd import config


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
