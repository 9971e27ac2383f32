"""Where a server listens, as a URL; and defaults that are safe."""

from __future__ import annotations

import pytest

from tvmkd.boards.access import is_loopback
from tvmkd.deploy.serving.options import Address, Options


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address("127.0.0.1", 8000, 8001, "http"), "http://127.0.0.1:8000"),
        (Address("::1", 8000, None, "http"), "http://[::1]:8000"),
        (Address("board.lan", 443, None, "https"), "https://board.lan:443"),
    ],
)
def test_the_url(address: Address, url: str) -> None:
    assert address.url == url


def test_by_default_only_this_machine_can_ask() -> None:
    assert is_loopback(Options().host)
    assert Options().control is None, "the address and the token decide"
    assert Options().limits is not Options().limits, "no two servers share limits"
