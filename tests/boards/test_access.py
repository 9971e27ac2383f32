from __future__ import annotations

import pytest

from tvmkd.base.errors import UsageError
from tvmkd.boards import access


@pytest.mark.parametrize(
    ("peer", "allowed", "good"),
    [
        ("10.1.2.3", [], True),
        ("127.0.0.1", ["192.168.1.0/24"], True),
        ("::1", ["192.168.1.0/24"], True),
        ("192.168.1.77", ["192.168.1.0/24"], True),
        ("192.168.2.77", ["192.168.1.0/24"], False),
        ("::ffff:192.168.1.77", ["10.0.0.0/8", "192.168.1.77"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
    ],
)
def test_the_loopback_and_the_named_networks_get_in(
    peer: str, allowed: list[str], good: bool
) -> None:
    assert access.is_allowed(peer, allowed) == good


def test_reach_is_said_in_words() -> None:
    assert access.reach("127.0.0.1", []) == "only this machine can reach it"
    assert access.reach("localhost", ["10.0.0.0/8"]) == "only this machine can reach it"
    assert access.reach("0.0.0.0", ["10.0.0.0/8"]) == "this machine and 10.0.0.0/8 can reach it"
    assert "EVERY machine" in access.reach("0.0.0.0", [])


def test_what_is_no_network_or_host_is_said() -> None:
    with pytest.raises(UsageError, match=r"--allow home: .*192\.168\.1\.0/24"):
        access.check_networks(["10.0.0.0/8", "home"])
    with pytest.raises(UsageError, match=r"no-such-host\.invalid"):
        access.is_loopback("no-such-host.invalid")
