"""Who can reach a server. TVM RPC has no authentication, so this is its only protection."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from tvmkd.base.errors import UsageError

WARNING = (
    "TVM RPC has no authentication: every client that reaches this port can run code here. "
    "Prefer 127.0.0.1 and an SSH tunnel (--ssh USER@BOARD)"
)


def check_networks(allowed: Sequence[str]) -> None:
    """Checks that each value of ``--allow`` is an address or a network.

    Raises:
        UsageError: one is neither.
    """
    for text in allowed:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise UsageError(f"--allow {text}: {error}; give for example 192.168.1.0/24") from None


def is_loopback(host: str) -> bool:
    """True if only this machine can reach a server that listens at ``host``.

    A name that resolves to several addresses counts as public if any of them is.

    Raises:
        UsageError: the name does not resolve.
    """
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise UsageError(f"{host}: {error.strerror or error}") from None
    return all(ipaddress.ip_address(each).is_loopback for each in found)


def is_allowed(peer: str, allowed: Sequence[str]) -> bool:
    """True if a client may connect: from the loopback, or from one of ``allowed`` (empty: all)."""
    if not allowed:
        return True
    address = ipaddress.ip_address(peer)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or any(
        address in ipaddress.ip_network(text, strict=False) for text in allowed
    )


def reach(host: str, allowed: Sequence[str]) -> str:
    """Says in words who can reach a server that listens at ``host``."""
    if is_loopback(host):
        return "only this machine can reach it"
    if allowed:
        return f"this machine and {', '.join(allowed)} can reach it"
    if host in {"0.0.0.0", "::"}:
        return "EVERY machine on every network of this one can reach it"
    return f"every machine that can route to {host} can reach it"
