"""uvicorn's HTTP connection with the limits that it lacks.

The head of a request has a size and a time, the whole request has a time, a response must be read
in time, and connections have a number. Errors are JSON, as everywhere in the protocol. The times
are checked by one sweep over all connections: a timer for each request costs more.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from tvmkd.deploy.serving.faults import STATUS
from tvmkd.deploy.serving.metrics import Metrics

BUFFERED = 2**20
"""Bytes of a body that wait for the application at most."""
RESPONSE = "tvmkd.response"
"""The extension of ASGI: ``await scope["extensions"][RESPONSE](status, headers, parts)``."""
GONE = "tvmkd.gone"
"""The extension of ASGI that tells whether the client has closed the connection."""
GOODBYE_SECONDS = 1.0
MOST_UNREAD = 64 * 2**20
"""Bytes of a refused request that are read and dropped, so that its client sees the answer."""


Headers = Sequence[tuple[bytes, bytes]]


class _TooLongError(Exception):
    pass


@dataclass
class ConnectionLimits:
    """Of all connections.

    Attributes:
        head: bytes of a request's head.
        read_s: seconds for a request to arrive, and for a response to be read.
        connections: at the same time.
        metrics: counts what is refused here.
    """

    head: int
    read_s: float
    connections: int
    metrics: Metrics


class Connection(HttpToolsProtocol):
    """One connection; `limited` makes a class with limits."""

    limits: ConnectionLimits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses a connection too many."""
        self._began: float | None = time.monotonic()
        self._head = 0
        self._in_head = True
        self._unread = self._fields = 0
        self._unsent: float | None = None
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse("unavailable", "too many connections; close some")

    def data_received(self, data: bytes) -> None:
        """Limits the head of a request."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        try:
            super().data_received(data)
        except httptools.HttpParserError:  # of the rest, after a refusal
            self.transport.abort()
            return
        closing = self.transport.is_closing()  # the parser may have refused it already
        if self._in_head and self._head > self.limits.head and not closing:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._began = time.monotonic()
        self._in_head = True
        self._unread = self._fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._fields += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._fields += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The end of a head."""
        if self._fields > self.limits.head:
            raise _TooLongError  # the parser stops, and `send_400_response` is called
        self._in_head, self._head = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keeps a body until it is whole; drops that of a request that was answered already.

        uvicorn wakes the application for every piece, and stops reading at 64 KiB.
        """
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > MOST_UNREAD:
                self.transport.abort()
            return
        cycle = self.cycle
        cycle.body += body
        if len(cycle.body) > BUFFERED:
            self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._began = None
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Offers the application an answer in one piece, as an extension of ASGI."""
        extensions: Any = {
            RESPONSE: functools.partial(self._respond, cycle),
            GONE: lambda: cycle.disconnected or self.transport.is_closing(),
        }
        cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)

    async def _respond(
        self, cycle: RequestResponseCycle, status: int, headers: Headers, parts: Sequence[bytes]
    ) -> None:
        """Writes a whole response at once.

        The two messages of ASGI would be two packets: the client wakes up for the first, and finds
        no body.
        """
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_started = cycle.response_complete = True
        content = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            content += (name, b": ", value, b"\r\n")
        content.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        content += parts
        self.transport.write(b"".join(content))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or too long."""
        del msg
        if self._fields > self.limits.head:
            self._refuse_head()
        else:
            self._refuse("invalid", "this is not an HTTP request")

    def _refuse_head(self) -> None:
        limit = self.limits.head
        self._refuse("headers_too_large", f"the headers have more than {limit} bytes")

    def _refuse(self, kind: str, message: str) -> None:
        self.limits.metrics.refused[kind] += 1
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body = json.dumps({"error": message}).encode()
            self.transport.write(
                STATUS_LINE[STATUS[kind]]
                + b"content-type: application/json\r\nconnection: close\r\n"
                + b"content-length: %d\r\n\r\n" % len(body)
                + body
            )
        self.transport.close()

    def sweep(self, now: float) -> None:
        """Ends the connection if its client is too slow."""
        limit = now - self.limits.read_s
        if self.transport.is_closing():
            # What is left to write may be read; the goodbye of TLS is not waited for.
            self._unsent = self._unsent or now
            left = self.transport.get_write_buffer_size()
            if self._unsent < (limit if left else now - GOODBYE_SECONDS):
                self.transport.abort()
        elif self._began is not None and self._began < limit:
            if self._in_head and not self._head and not self._fields:
                self.transport.close()  # a connection on which nothing was ever asked
            else:
                self._refuse("slow_client", "the request did not arrive in time")
        elif self.transport.get_write_buffer_size():
            self._unsent = self._unsent or now
            if self._unsent < limit:
                self.transport.abort()
        else:
            self._unsent = None


def limited(limits: ConnectionLimits) -> type[Connection]:
    """A class of connections with these limits, for ``uvicorn.Config(http=...)``."""
    return type("LimitedConnection", (Connection,), {"limits": limits})


def sweep(state: ServerState) -> None:
    """Ends the connections of slow clients; call it about once a second."""
    now = time.monotonic()
    for connection in list(state.connections):
        found: Any = connection
        found.sweep(now)
