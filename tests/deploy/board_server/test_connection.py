"""The head of a request; `test_serve_file` has the rest."""

from __future__ import annotations

import pytest

from tvmkd.deploy.board_server.connection import body_length, parse_head
from tvmkd.deploy.board_server.protocol import Fault


def test_a_head() -> None:
    text = b"POST /v2/x?y HTTP/1.1\r\nHost: a\r\nX-Y:  b c \r\nContent-Length: 12"
    method, target, goes_on, headers = parse_head(text)
    assert (method, target, goes_on) == ("POST", "/v2/x?y", True)
    assert headers == {"host": "a", "x-y": "b c", "content-length": "12"}
    assert body_length(headers) == 12
    assert body_length({"transfer-encoding": "chunked"}) is None
    assert not parse_head(b"GET / HTTP/1.0")[2]
    assert parse_head(b"GET / HTTP/1.0\r\nConnection: keep-alive")[2]
    assert not parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close")[2]


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/2.0\r\nHost: a",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET http://x/ HTTP/1.1\r\nHost: a",
        b"G\xc3T / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\nHost: a\x00b",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1",
    ],
)
def test_what_is_no_head(text: bytes) -> None:
    with pytest.raises(Fault) as caught:
        parse_head(text)
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "-1"},
        {"content-length": "1e3"},
        {"content-length": "9" * 19},
        {"transfer-encoding": "gzip, chunked"},
        {"transfer-encoding": "chunked", "content-length": "5"},
    ],
)
def test_lengths_that_could_be_read_in_two_ways(headers: dict[str, str]) -> None:
    with pytest.raises(Fault):
        body_length(headers)
