from __future__ import annotations

import socket

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
        ("::ffff:127.0.0.1", ["10.0.0.0/8"], True),
        ("::ffff:192.168.1.78", ["10.0.0.0/8", "192.168.1.77"], False),
        ("127.8.8.8", ["192.168.1.0/24"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("fe80::1%eth0", ["192.168.1.0/24"], False),
        ("fd00::1", ["fe80::/10", "fd00::/8"], True),
        ("192.168.1.0", ["192.168.1.77/24"], True),
        ("192.168.1.255", ["192.168.1.77/24"], True),
        ("192.168.0.255", ["192.168.1.77/24"], False),
        ("192.168.2.0", ["192.168.1.77/24"], False),
        ("192.168.1.77", ["192.168.1.77"], True),
        ("192.168.1.76", ["192.168.1.77"], False),
        ("192.168.1.78", ["192.168.1.77/32"], False),
        ("126.255.255.255", ["10.0.0.0/8"], False),
        ("128.0.0.0", ["10.0.0.0/8"], False),
        ("::2", ["10.0.0.0/8"], False),
        # A network of one family has no address of the other.
        ("10.1.2.3", ["::/0"], False),
        ("fd00::1", ["0.0.0.0/0"], False),
        ("::ffff:10.1.2.3", ["0.0.0.0/0"], True),
        ("::ffff:10.1.2.3", [], True),
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


@pytest.mark.parametrize(
    ("addresses", "alone"),
    [
        (["127.0.0.1"], True),
        (["127.0.0.1", "::1"], True),
        (["127.255.255.254"], True),
        (["10.0.0.1"], False),
        (["127.0.0.1", "10.0.0.1"], False),
        (["10.0.0.1", "127.0.0.1"], False),
        (["::1", "2001:db8::1"], False),
        (["fe80::1%eth0"], False),
        (["::1%lo"], True),
        (["0.0.0.0"], False),
        (["128.0.0.0"], False),
    ],
)
def test_one_public_address_among_several_is_public(
    addresses: list[str], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolved(host: str, port: object) -> list[tuple[object, ...]]:
        asked.append((host, port))
        return [(0, 0, 0, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    assert access.is_loopback("board.local") == alone
    assert asked == [("board.local", None)]
    expected = "only this machine" if alone else "every machine that can route to board.local"
    assert access.reach("board.local", []) == f"{expected} can reach it"


@pytest.mark.parametrize("reason", [socket.gaierror(-2, "unknown"), OSError("no network")])
def test_a_name_that_does_not_resolve_says_why(
    reason: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(host: str, port: object) -> list[tuple[object, ...]]:
        raise reason

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    why = reason.strerror or "no network"
    with pytest.raises(UsageError, match=f"^board.local: {why}$"):
        access.is_loopback("board.local")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_at_once_are_everybodys(host: str) -> None:
    assert access.reach(host, []) == "EVERY machine on every network of this one can reach it"
    both = "this machine and 10.0.0.0/8, 192.168.1.7 can reach it"
    assert access.reach(host, ["10.0.0.0/8", "192.168.1.7"]) == both


@pytest.mark.parametrize(
    "text", ["", "home", "10.0.0.0/33", "300.1.1.1", "10.0.0", "fd00::/129", "10.0.0.0/8,"]
)
@pytest.mark.parametrize("first", [True, False])
def test_each_network_is_checked(text: str, first: bool) -> None:
    allowed = [text, "10.0.0.0/8"] if first else ["10.0.0.0/8", text]
    with pytest.raises(UsageError) as caught:
        access.check_networks(allowed)
    assert str(caught.value).startswith(f"--allow {text}: ")


def test_a_network_may_be_given_by_any_of_its_addresses() -> None:
    access.check_networks(["192.168.1.77/24", "10.0.0.1", "fd00::/8"])
    access.check_networks([])
