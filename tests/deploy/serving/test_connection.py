"""One HTTP connection, byte by byte, with a transport that is not there and a clock that jumps."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")

READ_S = 10.0
GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.unsent = b"", 0
        self.closed = self.aborted = self.paused = False

    def write(self, data: Any) -> None:
        assert not self.closed, "written after the end"
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path and the body, in one piece."""
    from tvmkd.deploy.serving.connection import RESPONSE

    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    text = scope["path"].encode() + b" " + body
    length = (b"content-length", b"%d" % len(text))
    await scope["extensions"][RESPONSE](200, [length], [text[:3], text[3:]])


class Lines:
    """Connections to one server."""

    def __init__(self, application: Any = echo, **limits: Any) -> None:
        import uvicorn
        from uvicorn.server import ServerState

        from tvmkd.deploy.serving.connection import ConnectionLimits, limited
        from tvmkd.deploy.serving.metrics import Metrics

        self.metrics = Metrics()
        found = {"head": 1000, "read_s": READ_S, "connections": 2, **limits}
        self.kind = limited(ConnectionLimits(**found, metrics=self.metrics))
        self.config = uvicorn.Config(
            application, http=self.kind, ws="none", lifespan="off", log_config=None,
            server_header=False, date_header=False,
        )  # fmt: skip
        self.state = ServerState()

    def open(self) -> tuple[Any, FakeTransport]:
        line: Any = self.kind(self.config, self.state, {})  # type: ignore[call-arg]
        transport = FakeTransport()
        line.connection_made(transport)
        return line, transport


def steps(call: Callable[[Lines], Awaitable[None]], **more: Any) -> Lines:
    """Runs steps in an event loop."""

    async def main() -> Lines:
        lines = Lines(**more)
        await call(lines)
        for connection in list(lines.state.connections):
            connection.connection_lost(None)  # type: ignore[union-attr]
        await turns()
        return lines

    return asyncio.run(main())


async def turns() -> None:
    """Lets the application run."""
    for _ in range(10):
        await asyncio.sleep(0)


def error(data: bytes) -> tuple[int, str]:
    """Status and line of a refusal, which has to be the whole of ``data``."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert headers == {
        "content-type": "application/json",
        "connection": "close",
        "content-length": str(len(body)),
    }
    return int(first.split()[1]), json.loads(body)["error"]


def test_an_answer_in_one_piece_and_the_next_on_the_same_connection() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        for path in (b"/one", b"/two"):
            line.data_received(GET.replace(b"/a", path))
            await turns()
            expected = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + path + b" "
            assert transport.written == expected
            transport.written = b""
        assert not transport.closed

    steps(call)


def test_a_request_that_arrives_byte_by_byte() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        text = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"
        for number in range(len(text)):
            assert transport.written == b""
            line.data_received(text[number : number + 1])
            await asyncio.sleep(0)
        await turns()
        assert transport.written.endswith(b"connection: close\r\n\r\n/a abc")
        assert transport.closed

    steps(call)


def test_two_requests_in_one_packet_are_answered_in_turn() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(GET + GET.replace(b"/a", b"/b"))
        await turns()
        assert [each[-3:] for each in transport.written.split(b"HTTP/1.1 ")[1:]] == [b"/a ", b"/b "]

    steps(call)


def test_a_connection_too_many() -> None:
    async def call(lines: Lines) -> None:
        first, second, third = (lines.open() for _ in range(3))
        assert error(third[1].written) == (503, "too many connections; close some")
        assert third[1].closed
        third[0].data_received(GET)
        await turns()
        assert third[1].written.count(b"HTTP/1.1") == 1
        for line, transport in (first, second):
            line.data_received(GET)
            await turns()
            assert transport.written.startswith(b"HTTP/1.1 200")

    assert dict(steps(call).metrics.refused) == {"unavailable": 1}


@pytest.mark.parametrize("text", [b"\x16\x03\x01 hello\r\n\r\n", b"GET /\r\nx\r\n", b"{}\n"])
def test_what_is_no_http(text: bytes) -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(text)
        assert error(transport.written) == (400, "this is not an HTTP request")
        assert transport.closed
        line.data_received(GET)  # what follows is not read
        await turns()
        assert transport.written.count(b"HTTP/1.1") == 1

    assert dict(steps(call).metrics.refused) == {"invalid": 1}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (b"GET /a HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 900 + b"\r\n\r\n", True),
        (b"GET /a HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 1000 + b"\r\n\r\n", False),
        (b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", False),
        (b"GET /a HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n", False),
        (b"GET /a HTTP/1.1\r\nnever-ends: " + b"x" * 1000, False),
        (b"GET /" + b"a" * 1001, False),
    ],
)
@pytest.mark.parametrize("piece", [4096, 100])
def test_a_head_that_is_too_long(text: bytes, fits: bool, piece: int) -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        for first in range(0, len(text), piece):
            line.data_received(text[first : first + piece])
        await turns()
        if fits:
            assert transport.written.startswith(b"HTTP/1.1 200")
        else:
            assert error(transport.written) == (431, "the headers have more than 1000 bytes")
            assert transport.closed

    assert dict(steps(call).metrics.refused) == ({} if fits else {"headers_too_large": 1})


def test_the_heads_of_all_requests_together_may_be_long() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        for _ in range(100):
            line.data_received(GET[:-10])
            line.data_received(GET[-10:])
            await turns()
        assert transport.written.count(b"HTTP/1.1 200") == 100

    assert dict(steps(call).metrics.refused) == {}


def test_a_long_body_is_no_long_head_and_waits_for_the_application() -> None:
    from tvmkd.deploy.serving.connection import BUFFERED

    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        size = BUFFERED + 70_000
        line.data_received(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        await turns()
        for _ in range(BUFFERED // 65536):
            line.data_received(bytes(65536))
            assert not transport.paused
        line.data_received(bytes(65536))
        assert transport.paused, "no more is buffered than is allowed"
        await turns()
        assert not transport.paused, "the application has taken it"
        line.data_received(bytes(70_000 - 65536))
        await turns()
        assert len(transport.written.partition(b"\r\n\r\n")[2]) == len(b"/a ") + size

    steps(call)


async def refuse_at_once(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"no"})


def test_the_body_of_a_refused_request_is_dropped_up_to_a_limit() -> None:
    from tvmkd.deploy.serving import connection

    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        size = connection.MOST_UNREAD + 1
        line.data_received(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        await turns()
        assert transport.written.endswith(b"no")
        piece = bytes(2**22)
        for _ in range(connection.MOST_UNREAD // len(piece)):
            line.data_received(piece)
        assert not transport.aborted, "its client is to read the answer"
        line.data_received(b"x")
        assert transport.aborted

    steps(call, application=refuse_at_once)


def test_a_slow_client_is_told_so() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(GET[:5])
        now = time.monotonic()
        line.sweep(now + READ_S - 1)
        assert transport.written == b""
        line.sweep(now + READ_S + 1)
        assert error(transport.written) == (408, "the request did not arrive in time")
        assert transport.closed

    assert dict(steps(call).metrics.refused) == {"slow_client": 1}


def test_a_slow_body_is_a_slow_request() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab")
        await turns()
        line.sweep(time.monotonic() + READ_S + 1)
        assert error(transport.written)[0] == 408

    steps(call)


def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.sweep(time.monotonic() + READ_S + 1)
        assert (transport.closed, transport.written) == (True, b"")

    assert dict(steps(call).metrics.refused) == {}


def test_between_requests_a_connection_may_rest() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(GET)
        await turns()
        line.sweep(time.monotonic() + 10 * READ_S)
        assert not transport.closed

    steps(call)


def test_an_answer_that_nobody_reads() -> None:
    from tvmkd.deploy.serving import connection

    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(GET)
        await turns()
        transport.unsent = 100
        now = time.monotonic()
        connection.sweep(lines.state)  # every connection of the server
        line.sweep(now + READ_S - 1)
        assert not transport.aborted
        transport.unsent = 0  # it was read after all
        line.sweep(now + READ_S)
        transport.unsent = 100
        line.sweep(now + READ_S + 1)
        line.sweep(now + 2 * READ_S)
        assert not transport.aborted
        line.sweep(now + 2 * READ_S + 2)
        assert transport.aborted

    steps(call)


def test_a_goodbye_is_not_waited_for() -> None:
    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        transport.close()
        now = time.monotonic()
        line.sweep(now)
        line.sweep(now + 0.5)
        assert not transport.aborted
        line.sweep(now + 1.5)
        assert transport.aborted

    steps(call)


def test_the_application_learns_that_the_client_has_gone() -> None:
    told: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        from tvmkd.deploy.serving.connection import GONE, RESPONSE

        gone = scope["extensions"][GONE]
        told.append(gone())
        await receive()
        while not gone():
            await asyncio.sleep(0)
        told.append(gone())
        await scope["extensions"][RESPONSE](200, [], [b"nobody reads this"])

    async def call(lines: Lines) -> None:
        line, transport = lines.open()
        line.data_received(GET)
        await turns()
        line.connection_lost(None)
        await turns()
        assert transport.written == b""

    steps(call, application=application)
    assert told == [False, True]
