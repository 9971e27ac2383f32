"""Models without instances, for tests of what is in front of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.manifest import Manifest, TensorSpec
from tvmkd.deploy.serving.call import Request, Result
from tvmkd.deploy.serving.channel import HEAD
from tvmkd.deploy.serving.faults import RequestFault
from tvmkd.deploy.serving.limits import Limits
from tvmkd.deploy.serving.repository import Repository, Served
from tvmkd.deploy.serving.sources import Source
from tvmkd.deploy.serving.statistics import Statistics
from tvmkd.deploy.serving.tensors import Layout, Tensor, tensors
from tvmkd.deploy.serving.worker import Program

MOST = 4096


def spec(name: str, shape: Sequence[int | str] = (1, 4), dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, shape=list(shape), dtype=dtype)


def tensor(name: str, shape: Sequence[int | str] = (1, 4), dtype: str = "float32") -> Tensor:
    return tensors([spec(name, shape, dtype)], "test")[0]


def manifest(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Manifest:
    return Manifest(
        name="toy",
        created="2026-01-02T03:04:05Z",
        tvmkd_version="1",
        target={"name": "host"},
        stack="relax",
        stack_version="0.27.0",
        onnx_sha256="0" * 64,
        inputs=list(inputs),
        outputs=list(outputs),
        files={},
    )


def layout(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Layout:
    return Layout.of(tensors(inputs, "test"), tensors(outputs, "test"), HEAD, MOST)


class FakePool:
    """Answers at once: output number N is input number N."""

    def __init__(self, program: Program, statistics: Statistics) -> None:
        self.program, self.statistics = program, statistics
        self.waiting: deque[Request] = deque()
        self.workers: list[Any] = []
        self.ready, self.ready_workers, self.failure = True, 1, ""
        self.fault: Exception | None = None
        self.seen: list[Request] = []

    def submit(self, request: Request) -> None:
        self.seen.append(request)
        if self.fault is not None:
            raise self.fault
        count = len(self.program.layout.outputs)
        data = [bytes(each) for each in request.inputs[:count]]
        request.future.set_result(Result(data, request.shapes[:count]))


def served(
    inputs: Sequence[TensorSpec] = (spec("x"), spec("y")),
    outputs: Sequence[TensorSpec] = (spec("a"), spec("b")),
    version: str = "1",
) -> Any:
    """A loaded version of the model ``toy`` behind a `FakePool`."""
    program = Program(Path("toy"), manifest(inputs, outputs), layout(inputs, outputs), MOST)
    pool: Any = FakePool(program, Statistics())
    places = program.layout
    return Served("toy", version, program.manifest, pool, places.inputs, places.outputs)


def repository(*versions: Any) -> Repository:
    """A repository where these versions of ``toy`` are loaded, of a folder that is not there."""
    made = Repository({"toy": Source("toy", Path("no-such-folder"))}, Limits(), MOST)
    made.models["toy"].loaded = {each.version: each for each in versions}
    return made


class Answer:
    """What an ASGI application answered."""

    def __init__(self) -> None:
        self.status, self.body = 0, b""
        self.headers: dict[bytes, bytes] = {}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.body += message["body"]

    async def respond(self, status: int, headers: Any, parts: Sequence[bytes]) -> None:
        self.status, self.headers, self.body = status, dict(headers), b"".join(parts)


def ask(
    application: Any,
    method: str,
    path: str,
    *pieces: bytes,
    headers: Sequence[tuple[bytes, bytes]] = (),
    ends: bool = True,
) -> Answer:
    """One request to an ASGI application, its body in pieces.

    Without ``ends`` the client closes the connection after the last piece.
    """
    from tvmkd.deploy.serving.connection import GONE, RESPONSE

    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": not ends or number < len(pieces)}
        for number, piece in enumerate(pieces or (b"",), 1)
    ]
    messages[-1]["more_body"] = not ends
    messages.append({"type": "http.disconnect"})
    answer = Answer()

    async def receive() -> Any:
        return messages.pop(0)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "root_path": "", "query_string": b"", "scheme": "http", "server": ("127.0.0.1", 80),
        "headers": list(headers), "http_version": "1.1",
        "extensions": {RESPONSE: answer.respond, GONE: lambda: False},
    }  # fmt: skip
    asyncio.run(application(scope, receive, answer.send))
    return answer


def fault_of(call: Any, *arguments: Any) -> RequestFault:
    """The fault that a call raises, which has to be one line."""
    with pytest.raises(RequestFault) as error:
        call(*arguments)
    assert "\n" not in error.value.message
    return error.value
