"""HTTP/1.1 with limits of size and time: one connection after the other's requests."""

import asyncio
import json
import re
import time
from typing import Any, Dict, List, Optional, Tuple

from .protocol import (
    IDLE_S,
    JSON_TYPE,
    MAX_HEAD,
    MOST_UNREAD,
    REASONS,
    STATUS,
    Fault,
)

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
ONCE = ("content-length", "host", "transfer-encoding", "authorization",
        "inference-header-content-length")  # fmt: skip
Headers = Dict[str, str]
Answer = Tuple[int, List[Tuple[str, str]], bytes]


def parse_head(text: bytes) -> Tuple[str, str, bool, Headers]:
    """Method, target, whether the connection goes on, headers by small name."""
    lines = text.decode("latin1").split("\r\n")
    match = re.match(r"([!-~]{1,32}) (/[!-~]*) HTTP/1\.([01])$", lines[0])
    if match is None or not TOKEN.fullmatch(match.group(1)):
        raise Fault("invalid", "this is not an HTTP request")
    headers: Headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise Fault("invalid", "this is not an HTTP request: a damaged header")
        name = name.lower()
        if name in headers and name in ONCE:
            raise Fault("invalid", name + ": sent twice")
        headers[name] = value.strip(" \t")
    if match.group(3) == "1" and "host" not in headers:
        raise Fault("invalid", "the header Host is missing")
    words = headers.get("connection", "").lower()
    goes_on = "close" not in words and (match.group(3) == "1" or "keep-alive" in words)
    return match.group(1), match.group(2), goes_on, headers


def body_length(headers: Headers) -> Optional[int]:
    """The length of a body; None: it comes in chunks."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Fault("invalid", "Transfer-Encoding: only chunked is supported, without a length")
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 18:
        raise Fault("invalid", "Content-Length: expected one number of bytes")
    return int(length)


class Connection:
    """One client.

    Args:
        reader, writer: asyncio's streams.
        server: has ``begin`` (method, target, headers: refuses, or returns the limit of the body),
            ``answer`` (the same and the body), ``options``, ``stopping``, ``refused``.
    """

    def __init__(self, reader: Any, writer: Any, server: Any) -> None:
        self.reader, self.writer, self.server = reader, writer, server
        self.began = time.monotonic()
        self.state = "new"  # then "head", "body", "busy", "writing", "idle", "closing"
        self.counted_to: Any = None

    def enter(self, state: str) -> None:
        """Begins a state's time."""
        self.state, self.began = state, time.monotonic()

    async def serve(self) -> None:
        """Answers requests until the client has gone or is sent away."""
        try:
            while await self.one():
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writer.close()

    async def one(self) -> bool:
        """One request; False: the connection ends."""
        first = await self.reader.read(1)
        if not first:
            return False
        self.enter("head")
        self.counted_to = None
        try:
            if not first.isalpha():  # the start of TLS, for example, has no line to wait for
                raise Fault("invalid", "this is not an HTTP request")
            text = await self.read_head(first)
            method, target, goes_on, headers = parse_head(text)
            length = body_length(headers)
        except Fault as fault:
            await self.refuse(fault, False)
            return False
        self.state = "body"
        goes_on = goes_on and not self.server.stopping
        try:
            limit = self.server.begin(self, method, target, headers)
            if length is not None and length > limit:
                raise Fault("too_large", "the body has more than %d bytes (--max-body)" % limit)
        except Fault as fault:
            expects = headers.get("expect", "").lower() == "100-continue"
            goes_on = goes_on and length is not None and length <= MOST_UNREAD and not expects
            await self.refuse(fault, goes_on)
            if goes_on:
                await self.drop(length or 0)
            return goes_on
        if headers.get("expect", "").lower() == "100-continue" and length != 0:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if length is None:
                body = await self.read_chunks(limit)
            else:
                body = await self.reader.readexactly(length) if length else b""
        except Fault as fault:
            await self.refuse(fault, False)
            return False
        self.state = "busy"
        goes_on = goes_on and not self.server.stopping
        try:
            answer = await self.server.answer(self, method, target, headers, body)
        except Fault as fault:
            await self.refuse(fault, goes_on)
        else:
            await self.respond(answer, goes_on, method == "HEAD")
        self.enter("idle")
        return goes_on

    async def read_head(self, first: bytes) -> bytes:
        """The head of a request without its empty line."""
        found = first
        while not found.endswith(b"\r\n\r\n"):
            try:
                line = await self.reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                raise Fault("headers_too_large", "the headers have more than %d bytes" % MAX_HEAD)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise Fault("invalid", "this is not an HTTP request")
                raise
            found += line
            if len(found) > MAX_HEAD:
                raise Fault("headers_too_large", "the headers have more than %d bytes" % MAX_HEAD)
            if not found.endswith(b"\r\n") or found == b"\r\n":
                raise Fault("invalid", "this is not an HTTP request")
        return found[:-4]

    async def read_chunks(self, limit: int) -> bytes:
        """A body that comes in chunks."""
        body = bytearray()
        damaged = Fault("invalid", "the body's chunks are damaged")
        skipped = 0
        while True:
            try:
                line = await self.reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                raise damaged
            size = line.split(b";")[0].strip()
            skipped += len(line) - len(size)
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size) or skipped > MAX_HEAD + len(body):
                raise damaged
            count = int(size, 16)
            if len(body) + count > limit:
                raise Fault("too_large", "the body has more than %d bytes (--max-body)" % limit)
            if count == 0:
                break
            body += await self.reader.readexactly(count)
            if await self.reader.readexactly(2) != b"\r\n":
                raise damaged
        for _ in range(100):  # trailers
            if (await self.reader.readline()) in (b"\r\n", b""):
                return bytes(body)
        raise damaged

    async def drop(self, length: int) -> None:
        """Reads what is left of a body that was refused."""
        while length > 0:
            data = await self.reader.read(min(length, 65536))
            if not data:
                return
            length -= len(data)

    async def refuse(self, fault: Fault, goes_on: bool) -> None:
        """Answers with an error, and counts it."""
        counter = self.server.refused if self.counted_to is None else self.counted_to.errors
        counter[fault.kind] += 1
        headers = [JSON_TYPE]
        if fault.retry_after:
            headers.append(("retry-after", str(fault.retry_after)))
        if fault.kind == "unauthorized":
            headers.append(("www-authenticate", "Bearer"))
        body = json.dumps({"error": fault.message}).encode()
        most = 16 * MAX_HEAD if self.state == "head" else MOST_UNREAD
        await self.respond((STATUS[fault.kind], headers, body), goes_on)
        if not goes_on:
            await self.linger(most)

    async def respond(self, answer: Answer, goes_on: bool, without_body: bool = False) -> None:
        """Writes a response."""
        status, headers, body = answer
        lines = ["HTTP/1.1 %d %s" % (status, REASONS[status]), "content-length: %d" % len(body)]
        lines += ["%s: %s" % pair for pair in headers]
        if not goes_on:
            lines.append("connection: close")
        self.enter("writing")
        head = "\r\n".join(lines).encode("latin1") + b"\r\n\r\n"
        self.writer.write(head if without_body else head + body)
        await self.writer.drain()

    async def linger(self, left: int) -> None:
        """Drops what still comes, up to so many bytes, so that the client sees the answer."""
        self.enter("closing")
        if self.writer.can_write_eof():
            self.writer.write_eof()
        while left > 0:
            data = await self.reader.read(65536)
            if not data:
                return
            left -= len(data)

    def sweep(self, now: float) -> None:
        """Ends the connection if its client is too slow."""
        age, limit = now - self.began, self.server.options.read_timeout
        if self.state == "busy" or age < (IDLE_S if self.state == "idle" else limit):
            return
        if self.state in ("head", "body"):
            body = json.dumps({"error": "the request did not arrive in time"}).encode()
            head = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self.writer.write((head % len(body)).encode() + body)
            self.server.refused["slow_client"] += 1
            self.enter("closing")
            self.writer.close()
        else:
            self.writer.transport.abort()
