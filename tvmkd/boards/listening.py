"""The listening loop of a board: a place at the tracker, and one client after the other.

In place of upstream's, which ends with the first client that sends an empty key, with a tracker
that stays away for a minute, and which counts by a clock that may jump.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tvmkd.boards.access import is_allowed
from tvmkd.boards.connect import (
    CODE_SUCCESS,
    TRACKER_MAGIC,
    receive,
    receive_json,
    send_json,
)

RPC_MAGIC = 0xFF271
CODE_MISMATCH = RPC_MAGIC + 2
PUT, UPDATE_INFO, PENDING_KEYS = 3, 5, 7
POLL_SECONDS = 2.0  # between two questions to the tracker
UNMATCHED = 4  # questions in a row that find our key taken and nobody here: it is given up
PATIENCE = 5.0  # what a tracker may take for an answer, and a client to say who it is
MOST_KEY = 4096

Serve = Callable[[socket.socket, float | None], None]


def keep_alive(sock: socket.socket) -> None:
    """Lets the kernel notice a peer that lost its power."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Registration:
    """A board's place at a tracker. Use as a context manager; errors are ``OSError``."""

    def __init__(self, tracker: tuple[str, int], key: str, port: int) -> None:
        self._key, self._port = key, port
        self._unmatched = 0
        self.match_key = ""
        self.sock = socket.create_connection(tracker, timeout=PATIENCE)
        try:
            keep_alive(self.sock)
            self.sock.sendall(struct.pack("<i", TRACKER_MAGIC))
            if struct.unpack("<i", receive(self.sock, 4))[0] != TRACKER_MAGIC:
                raise OSError("it is no TVM tracker")
            self._tell([UPDATE_INFO, {"key": f"server:{key}", "addr": [None, port]}])
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _ask(self, message: Any) -> Any:
        try:
            send_json(self.sock, message)
            return receive_json(self.sock)
        except ValueError as error:
            raise OSError(f"the tracker answers nonsense: {error}") from None

    def _tell(self, message: Any) -> None:
        if self._ask(message) != CODE_SUCCESS:
            raise OSError("the tracker refuses this board")

    def put(self) -> None:
        """Offers the board for one client, under a new match key."""
        self.match_key = f"{self._key}:{secrets.randbelow(10**16) / 10**16}"
        self._unmatched = 0
        self._tell([PUT, self._key, [self._port, self.match_key], None])

    def poll(self) -> None:
        """Asks whether the offer stands, and renews one that was taken by nobody who came."""
        self._unmatched = 0 if self.match_key in self._ask([PENDING_KEYS]) else self._unmatched + 1
        if self._unmatched >= UNMATCHED:
            self.put()


def greet(client: socket.socket, key: str, match_key: str) -> float | None:
    """Reads who a client is and answers it.

    Returns:
        the seconds that its session may take; 0: no limit.

    Raises:
        OSError, ValueError: it is not the client that the tracker has sent, or says it wrongly.
    """
    client.settimeout(PATIENCE)
    if struct.unpack("<i", receive(client, 4))[0] != RPC_MAGIC:
        raise ValueError("it speaks another protocol")
    (size,) = struct.unpack("<i", receive(client, 4))
    if not 0 < size <= MOST_KEY:
        raise ValueError(f"a key of {size} bytes")
    name, *options = receive(client, size).decode().split() or [""]
    if name != f"client:{match_key}":
        client.sendall(struct.pack("<i", CODE_MISMATCH))
        raise ValueError("it has no match key, or an old one")
    limits = [float(each[9:]) for each in options if each.startswith("-timeout=")]
    answer = f"server:{key}".encode()
    client.sendall(struct.pack("<ii", RPC_MAGIC, len(answer)) + answer)
    client.settimeout(None)
    return limits[-1] if limits else 0.0


def _accept(
    sock: socket.socket, registration: Registration, key: str, allowed: Sequence[str], serve: Serve
) -> None:
    client, address = sock.accept()
    with client:
        if not is_allowed(str(address[0]), allowed):
            print(f"{address[0]} was refused: it is not in --allow", file=sys.stderr)
            return
        try:
            keep_alive(client)
            limit = greet(client, key, registration.match_key)
        except (OSError, ValueError, struct.error) as error:
            print(f"{address[0]} was turned away: {error}", file=sys.stderr)
            return
        serve(client, limit or None)
    registration.put()


def listen_for_ever(
    sock: socket.socket,
    tracker: tuple[str, int],
    key: str,
    allowed: Sequence[str],
    serve: Serve,
) -> None:
    """Registers and serves, and registers again whenever the tracker was away.

    Args:
        sock: listens already.
        tracker: its address.
        key: to register under.
        allowed: networks to accept clients from, besides the loopback; empty: from everywhere.
        serve: serves one session, given the client's socket and the seconds it may take.
    """
    port = sock.getsockname()[1]
    pause, told = 0.25, False
    while True:
        with contextlib.suppress(OSError), Registration(tracker, key, port) as registration:
            registration.put()
            pause, told = 0.25, False
            while True:
                ready, _, _ = select.select([sock, registration.sock], [], [], POLL_SECONDS)
                if registration.sock in ready:
                    break  # it says nothing unasked: it is gone
                if sock in ready:
                    _accept(sock, registration, key, allowed, serve)
                else:
                    registration.poll()
        if not told:
            print(f"no tracker at {tracker[0]}:{tracker[1]}: waiting for it", file=sys.stderr)
            told = True
        time.sleep(pause)
        pause = min(2.0, 2 * pause)
