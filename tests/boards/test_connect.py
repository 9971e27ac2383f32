from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.boards import connect
from tvmkd.boards.fleet import Fleet, running_fleet


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with running_fleet(2, key="pair") as running:
        yield running


@pytest.mark.rpc
def test_boards_and_check_name_what_is_there(fleet: Fleet) -> None:
    found = connect.boards(fleet.host, fleet.port)
    assert [board["key"] for board in found] == ["pair", "pair"]
    assert {board["port"] for board in found} == {server.port for server in fleet.servers}
    assert len(connect.check(fleet.host, fleet.port, "pair")) == 2
    with pytest.raises(MissingError, match=r"no board under key 'nano'.*keys there: pair"):
        connect.check(fleet.host, fleet.port, "nano", timeout=0.3)


@pytest.mark.rpc
def test_a_request_has_a_deadline(fleet: Fleet) -> None:
    host, port, match = connect.request(fleet.host, fleet.port, "pair", timeout=5)
    assert host == "127.0.0.1"
    assert port in {server.port for server in fleet.servers}
    assert match.startswith("pair:")
    with pytest.raises(MissingError, match="became free in 1 s"):
        connect.request(fleet.host, fleet.port, "nobody", timeout=1)


def test_nothing_listening_is_named() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(MissingError, match=f"no tracker at 127.0.0.1:{port}"):
        connect.summary("127.0.0.1", port)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_listening_is_no_tracker(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(MissingError, match="is no TVM tracker"):
            connect.summary("127.0.0.1", listener.getsockname()[1], timeout=3)
        thread.join()


def test_a_tracker_that_never_answers_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(MissingError, match="timed out"),
    ):
        connect.summary("127.0.0.1", listener.getsockname()[1], timeout=0.5)
