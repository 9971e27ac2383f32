from __future__ import annotations

import socket

import pytest

from tvmkd.boards.tracker import listen


def test_it_listens_where_it_was_told_and_on_loopback_by_default() -> None:
    with listen("127.0.0.1", 0) as sock:
        host, port = sock.getsockname()
        assert host == "127.0.0.1"
        with socket.create_connection((host, port), timeout=2):
            pass
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)
