"""A fuzzer of the REST protocol: requests that are nearly right, for any server.

It changes valid requests in their JSON, their bytes, their headers and their framing. Whatever
comes, a server answers with 200 (some changes are harmless), with a client error, or closes the
connection of what is no HTTP; it neither fails nor hangs.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from conformance import BINARY_HEADER, Answer, Server, read_answer, request

# fmt: off
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**64, 10**400, -(2**63), 1e308, "", "x", "1",
    "\0", "\ud800", "é" * 300, [], [[]], [[[]]], {}, {"": []}, [None], [[1, 2], [3]], "NaN",
    "x" * 5000,
]
KEYS = ["name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id", "", "more"]
HEADERS = [
    f"{BINARY_HEADER}: 5",
    f"{BINARY_HEADER}: -1",
    f"{BINARY_HEADER}: 99999999999999999999",
    "Content-Length: 5",
    "Content-Length: x",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Encoding: gzip",
    "Content-Encoding: deflate",
    "Connection: close",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Range: bytes=0-1",
    "X: " + "y" * 9000,
    "Authorization: Bearer x",
    "Host:",
    ": no name",
    "no colon",
    "x\0y: z",
    "Origin: null",
]
METHODS = [
    "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "post", "P\x00ST", "CONNECT",
]
PATHS = [
    "/", "//", "/v2/", "/v2/models//infer", "/v2/models/{m}/versions//infer",
    "/v2/models/{m}/infer/", "/v2/models/{m}/infer?x=1", "/v2/models/%2e%2e/infer",
    "/v2/models/{m}%00/infer", "*", "x", "/v2/models/" + "a" * 5000 + "/infer",
    "/v2/models/\xff/infer", "http://x/v2", "/v2/models/{m}", "/v2/repository/index",
    "/v2/repository/models/x/load", "/metrics", "/v2/health/live/more",
]
# fmt: on


def places(value: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    found = [] if found is None else found
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            places(value[key], found)
    return found


class Fuzzer:
    """Makes requests and sends them.

    Args:
        server: the server.
        seed: of the random changes.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._line: socket.socket | None = None
        self.last = b""
        """The last request, for messages."""
        inputs = server.inputs(seed)
        ways: list[Any] = [True, False]
        self._valid = [request(server, inputs, binary_in=way) for way in ways]

    def run(self, count: int) -> Counter[int | str]:
        """Sends ``count`` requests; returns how often each status, or ``closed``, came."""
        found: Counter[int | str] = Counter()
        for _ in range(count):
            found[self.one()] += 1
        self._close()
        return found

    def one(self) -> int | str:
        """Sends one request and returns the status of its answer, or ``closed``."""
        kinds: list[Callable[[], tuple[bytes, bool]]] = [
            self._json, self._json, self._json, self._body, self._head, self._bytes, self._framing,
        ]  # fmt: skip
        raw, framed = self._chance.choice(kinds)()
        self.last = raw
        try:
            if self._line is None:
                self._line = socket.create_connection(self._server.address, timeout=30)
            self._line.sendall(raw)
            if not framed:  # perhaps it waits for more, so say that there is none
                self._line.shutdown(socket.SHUT_WR)
            answer = read_answer(self._line)
        except (ConnectionError, BrokenPipeError, EOFError):
            self._close()
            return "closed"
        if not framed or answer.headers.get("connection") == "close":
            self._close()
        if answer.status >= 400 and answer.body:
            answer.error()
        return answer.status

    def _close(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.close()
            self._line = None

    def _packed(self, head: bytes, rest: bytes, binary: bool, *more: str) -> bytes:
        lines = [f"POST {self._server.infer} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self._server.headers.items()]
        if binary:
            lines.append(f"{BINARY_HEADER}: {len(head)}")
        lines += [f"Content-Length: {len(head) + len(rest)}", *more]
        return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + head + rest

    def _parts(self) -> tuple[bytes, bytes, bool]:
        body, headers = self._chance.choice(self._valid)
        length = int(headers.get(BINARY_HEADER, len(body)))
        return body[:length], body[length:], bool(headers)

    def _json(self) -> tuple[bytes, bool]:
        """One to three changes of the JSON part."""
        head, rest, binary = self._parts()
        content = json.loads(head)
        for _ in range(self._chance.choice([1, 1, 2, 3])):
            holder, key = self._chance.choice(places(content) or [({}, "x")])
            way = self._chance.randrange(5)
            try:
                if way == 0:
                    del holder[key]
                elif way == 1 and isinstance(holder, list):
                    holder.insert(key, copy.deepcopy(holder[key]))
                elif way == 2 and isinstance(holder, dict):
                    holder[self._chance.choice(KEYS)] = self._chance.choice(STRANGE)
                elif way == 3 and isinstance(holder, dict):
                    holder[self._chance.choice(KEYS)] = holder.pop(key)
                else:
                    holder[key] = copy.deepcopy(self._chance.choice(STRANGE))
            except (KeyError, IndexError):
                continue
        return self._packed(json.dumps(content).encode(), rest, binary), True

    def _body(self) -> tuple[bytes, bool]:
        """Changed bytes in the JSON or the binary part."""
        head, rest, binary = self._parts()
        data = bytearray(head + rest)
        for _ in range(self._chance.choice([1, 2, 8])):
            at = self._chance.randrange(len(data))
            way = self._chance.randrange(3)
            if way == 0:
                data[at] = self._chance.randrange(256)
            elif way == 1:
                del data[at : at + self._chance.randrange(1, 9)]
            else:
                data[at:at] = self._chance.randbytes(self._chance.randrange(1, 9))
            if not data:
                data += b"{"
        cut = min(len(head), len(data))
        return self._packed(bytes(data[:cut]), bytes(data[cut:]), binary), True

    def _head(self) -> tuple[bytes, bool]:
        """Another method, path or header."""
        head, rest, binary = self._parts()
        raw = self._packed(head, rest, binary, *self._some(HEADERS))
        if self._chance.random() < 0.5:
            path = self._chance.choice(PATHS).replace("{m}", self._server.model)
            raw = raw.replace(self._server.infer.encode(), path.encode("latin1"), 1)
        if self._chance.random() < 0.3:
            raw = raw.replace(b"POST", self._chance.choice(METHODS).encode("latin1"), 1)
        return raw, False

    def _some(self, many: list[str]) -> list[str]:
        return self._chance.sample(many, self._chance.randrange(3))

    def _bytes(self) -> tuple[bytes, bool]:
        """Changed bytes anywhere."""
        raw = bytearray(self._packed(*self._parts()))
        for _ in range(self._chance.choice([1, 3, 20])):
            raw[self._chance.randrange(len(raw))] = self._chance.randrange(256)
        return bytes(raw), False

    def _framing(self) -> tuple[bytes, bool]:
        """Chunks that are wrong, and requests that are cut short."""
        head, rest, binary = self._parts()
        raw = self._packed(head, rest, binary)
        if self._chance.random() < 0.5:
            return raw[: self._chance.randrange(len(raw))], False
        lines, _, body = raw.partition(b"\r\n\r\n")
        lines = lines.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
        at = self._chance.randrange(len(body))
        size = self._chance.choice(
            [b"%x" % at, b"%X" % at, b"0", b"-1", b"fffffffffffffffff", b"g", b""]
        )
        end = self._chance.choice([b"\r\n0\r\n\r\n", b"\n0\n\n", b"\r\n0\r\nx: y\r\n\r\n", b""])
        return lines + b"\r\n\r\n" + size + b"\r\n" + body[:at] + end, False


def check(server: Server, count: int, seed: int = 0) -> Counter[int | str]:
    """Sends ``count`` requests; none may fail in the server or hang.

    Returns:
        how often each status came.
    """
    fuzzer = Fuzzer(server, seed)
    try:
        found = fuzzer.run(count)
    except (TimeoutError, AssertionError) as error:
        raise AssertionError(f"{error!r} after {fuzzer.last[:2000]!r}") from error
    wrong = {
        status: number
        for status, number in found.items()
        if isinstance(status, int) and status != 200 and not 400 <= status < 500 and status != 505
    }
    assert wrong == {}, f"{wrong}, the last request {fuzzer.last[:2000]!r}"
    return found


__all__ = ["Answer", "Fuzzer", "check"]
