"""Clients that speak badly, and trackers that come and go, against the Python server."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import board_client
import pytest

from tvmkd.base.errors import MissingError
from tvmkd.boards import listening
from tvmkd.boards.connect import receive, receive_json
from tvmkd.boards.fleet import running_fleet

MAGIC = struct.pack("<i", listening.RPC_MAGIC)


def key(text: bytes) -> bytes:
    return MAGIC + struct.pack("<i", len(text)) + text


BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    MAGIC + struct.pack("<i", 0),
    MAGIC + struct.pack("<i", 1 << 30),
    key(b"\xff\xfe\xfd"),
    key(b"   "),
    key(b"client:guess -timeout=abc"),
    MAGIC,  # and nothing more
]


@pytest.mark.rpc
def test_no_client_ends_the_server(tmp_path: Path) -> None:
    try:
        kernels = board_client.library(tmp_path, "x86_64-linux-gnu.2.28")
    except MissingError as error:
        pytest.skip(str(error))
    with running_fleet(1, key="one", threads=1) as fleet:
        for said in BAD:
            with socket.create_connection(("127.0.0.1", fleet.servers[0].port)) as client:
                client.sendall(said)
        assert board_client.ask(fleet, kernels, "twice:4")[-1] == "8"
        assert fleet.servers[0].alive()


def test_a_wrong_limit_is_the_clients_mistake() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(key(b"client:k:0.1 -timeout=abc"))
        with pytest.raises(ValueError, match="abc"):
            listening.greet(ours, "k", "k:0.1")
        theirs.sendall(key(b"client:k:0.2 -timeout=7.5"))
        assert listening.greet(ours, "k", "k:0.2") == 7.5
        assert receive(theirs, 4) == MAGIC


def test_an_offer_that_somebody_took_and_did_not_use_is_renewed() -> None:
    """A tracker of our own, which forgets every match key at once."""
    offers: list[str] = []

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(receive(connection, 4))
            while len(offers) < 2:
                code, *rest = receive_json(connection)
                if code == listening.PUT:
                    offers.append(rest[1][1])
                reply = b"[]" if code == listening.PENDING_KEYS else b"0"
                connection.sendall(struct.pack("<i", len(reply)) + reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with listening.Registration(listener.getsockname(), "nano", 9090) as registration:
            registration.put()
            for _ in range(listening.UNMATCHED):
                registration.poll()
            assert registration.match_key == offers[1]
        thread.join()
    assert offers[0] != offers[1]
    assert all(offer.startswith("nano:0.") for offer in offers)
