"""Talks to a TVM tracker without TVM, and with a deadline for each step.

Upstream's ``tracker.request`` waits for ever if no board has the key. Here each step has a
deadline, and each failure is one line.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

from tvmkd.base.errors import MissingError

TRACKER_MAGIC = 0x2F271
MOST_BYTES = 1 << 24  # of one answer of a tracker
CODE_SUCCESS = 0
CODE_REQUEST = 4
CODE_SUMMARY = 6


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; ``OSError`` if the connection closes before."""
    parts = b""
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise OSError("connection closed")
        parts += part
    return parts


def send_json(sock: socket.socket, message: Any) -> None:
    """A message of the tracker's protocol: its length, then JSON."""
    data = json.dumps(message).encode()
    sock.sendall(struct.pack("<i", len(data)) + data)


def receive_json(sock: socket.socket) -> Any:
    """The answer to `send_json`; ``ValueError`` if it is not JSON."""
    (size,) = struct.unpack("<i", receive(sock, 4))
    if not 0 <= size <= MOST_BYTES:
        raise OSError(f"an answer of {size} bytes")
    return json.loads(receive(sock, size))


@contextlib.contextmanager
def _tracker(host: str, port: int, timeout: float) -> Iterator[socket.socket]:
    where = f"{host}:{port}"
    try:
        sock = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        raise MissingError(
            f"no tracker at {where} ({error.strerror or error}); "
            f"start one with: tvmkd tracker --host {host} --port {port}"
        ) from None
    with sock:
        try:
            sock.sendall(struct.pack("<i", TRACKER_MAGIC))
            (magic,) = struct.unpack("<i", receive(sock, 4))
        except OSError as error:
            raise MissingError(f"what listens at {where} is no TVM tracker ({error})") from None
        if magic != TRACKER_MAGIC:
            raise MissingError(f"what listens at {where} is no TVM tracker (magic {magic:#x})")
        yield sock


def summary(host: str, port: int, timeout: float = 5.0) -> dict[str, Any]:
    """The tracker's own summary: ``{"queue_info": {...}, "server_info": [...]}``.

    Raises:
        MissingError: nothing listens there, it is no tracker, or it does not answer in
            ``timeout`` seconds.
    """
    with _tracker(host, port, timeout) as sock:
        try:
            send_json(sock, [CODE_SUMMARY])
            code, answer = receive_json(sock)
        except (OSError, ValueError) as error:
            raise MissingError(f"the tracker at {host}:{port} does not answer ({error})") from None
    if code != CODE_SUCCESS:
        raise MissingError(f"the tracker at {host}:{port} refuses a summary (code {code})")
    result: dict[str, Any] = answer
    return result


def boards(host: str, port: int, timeout: float = 5.0) -> list[dict[str, Any]]:
    """The boards that a tracker knows: ``[{"key", "host", "port", "free"}]``.

    ``free`` is how many boards under the same key wait for work.

    Raises:
        MissingError: see :func:`summary`.
    """
    found = summary(host, port, timeout)
    queues = found.get("queue_info", {})
    result = []
    for server in found.get("server_info", []):
        key = server["key"].split(":", 1)[1]
        address = server.get("addr") or [None, None]
        free = int(queues.get(key, {}).get("free", 0))
        result.append({"key": key, "host": address[0], "port": address[1], "free": free})
    return sorted(result, key=lambda board: (board["key"], str(board["port"])))


def check(host: str, port: int, key: str, timeout: float = 5.0) -> list[dict[str, Any]]:
    """The boards under ``key``, at least one.

    A board that has just started needs a moment to register, so the tracker is asked repeatedly
    for ``timeout`` seconds.

    Raises:
        MissingError: no tracker, or no board under this key; the message names the keys that exist.
    """
    deadline = time.monotonic() + timeout
    while True:
        known = boards(host, port, timeout)
        mine = [board for board in known if board["key"] == key]
        if mine:
            return mine
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    keys = sorted({board["key"] for board in known})
    there = f"keys there: {', '.join(keys)}" if keys else "no board is registered at all"
    raise MissingError(
        f"no board under key {key!r} at the tracker {host}:{port} ({there}); start one on the "
        f"board with: tvmkd board serve --rpc-tracker {host}:{port} --rpc-key {key}"
    )


SILENT = (
    "it accepted the session and does not answer: its server is frozen, or a firewall or tunnel "
    "drops what it sends; restart its server, or look at the network between"
)
"""Of a board that the tracker named as free. One that another client uses is never named."""


def refused(error: Exception) -> str:
    """Says why TVM's client could not open a session."""
    if "pending_request_bytes_" in str(error):
        return (
            "it speaks the RPC of another generation of TVM: a server runs the kernels of one "
            "stack only, see tvmkd board serve --stack"
        )
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def request(host: str, port: int, key: str, timeout: float) -> tuple[str, int, str]:
    """Asks the tracker for a free board: ``(host, port, match key)``.

    Raises:
        MissingError: no tracker, or no board became free in ``timeout`` seconds.
    """
    with _tracker(host, port, timeout) as sock:
        try:
            send_json(sock, [CODE_REQUEST, key, "", 1])
            code, answer = receive_json(sock)
        except TimeoutError:
            raise MissingError(
                f"no board under key {key!r} at {host}:{port} became free in {timeout:.0f} s"
            ) from None
        except (OSError, ValueError) as error:
            raise MissingError(f"the tracker at {host}:{port} is gone ({error})") from None
    if code != CODE_SUCCESS:
        raise MissingError(f"the tracker at {host}:{port} refuses a request (code {code})")
    board_host, board_port, match = answer
    return str(board_host), int(board_port), str(match)
