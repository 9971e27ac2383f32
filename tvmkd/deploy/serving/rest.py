"""The REST server as an ASGI application.

Requests for inference have a path of their own, without Starlette's routing, request and response
objects; all others are routed by Starlette (`routes`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from tvmkd.deploy.serving import codec
from tvmkd.deploy.serving.access import Access
from tvmkd.deploy.serving.call import Request
from tvmkd.deploy.serving.connection import GONE, RESPONSE
from tvmkd.deploy.serving.faults import RequestFault, invalid
from tvmkd.deploy.serving.metrics import Metrics
from tvmkd.deploy.serving.repository import Repository, Served

if TYPE_CHECKING:
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Any, Receive, Send], Awaitable[None]]
    Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")


class Rest:
    """The application.

    Args:
        repository: the models.
        access: who may ask.
        metrics: counts requests that reach no model.
        others: serves everything but inference.
        max_body: bytes of a request.
        timeout_us: for requests that say none; 0: none.
    """

    def __init__(
        self,
        repository: Repository,
        access: Access,
        metrics: Metrics,
        others: Application,
        *,
        max_body: int,
        timeout_us: int,
    ) -> None:
        self._repository, self._access, self._metrics = repository, access, metrics
        self._others = others
        self._max_body, self._timeout_us = max_body, timeout_us
        self._paths: dict[str, Served] = {}

    def refresh(self) -> None:
        """Reads anew which models are loaded."""
        paths: dict[str, Served] = {}
        for name, model in self._repository.models.items():
            for version, served in model.loaded.items():
                paths[f"/v2/models/{name}/versions/{version}/infer"] = served
            if model.default is not None:
                paths[f"/v2/models/{name}/infer"] = model.default
        self._paths = paths

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        served = self._paths.get(scope["path"])
        if served is None or scope["method"] != "POST":
            await self._others(scope, receive, send)
            return
        arrived = time.monotonic_ns()
        statistics = served.statistics
        statistics.requests += 1
        try:
            headers: Headers = scope["headers"]
            self._access.check(headers)
            head = json_length(headers, self._max_body)
            body = await read_body(receive, self._max_body)
            if head is None:
                head = len(body)
            elif head > len(body):
                raise invalid(f"the JSON part should have {head} bytes; the body has {len(body)}")
            plan = codec.plan(served, body, head)
            timeout = plan.timeout_us or self._timeout_us
            request = Request(
                plan.inputs(body, head),
                plan.shapes,
                arrived,
                arrived + 1000 * timeout if timeout else 0,
                asyncio.get_running_loop().create_future(),
                scope["extensions"][GONE],
            )
            served.pool.submit(request)
            json_bytes, parts = codec.response(served, plan, await request.future)
        except RequestFault as fault:
            statistics.errors[fault.kind] += 1
            await refuse(send, fault)
            return
        except Exception:  # a fault of our own is one line for the client, too
            logging.getLogger("uvicorn.error").exception("a request failed")
            statistics.errors["failed"] += 1
            await refuse(send, RequestFault("failed", "a fault of the server; see its log"))
            return
        size = b"%d" % sum(map(len, parts))
        if json_bytes:
            length = (codec.BINARY_HEADER, b"%d" % json_bytes)
            extra = [BINARY, (b"content-length", size), length]
        else:
            extra = [JSON, (b"content-length", size)]
        await scope["extensions"][RESPONSE](200, extra, parts)


def json_length(headers: Headers, max_body: int) -> int | None:
    """The length of the JSON part that a request's headers say; None: it is all JSON.

    Raises:
        RequestFault: a header is wrong, or the body is too long.
    """
    found = None
    for name, value in headers:
        if name == b"content-length":
            if int(value) > max_body:
                raise too_large(max_body)
        elif name == codec.BINARY_HEADER:
            if not value.isdigit() or len(value) > 18 or found is not None:
                raise invalid("Inference-Header-Content-Length: expected one number of bytes")
            found = int(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise RequestFault("encoding", "compressed requests are not supported")
    return found


async def read_body(receive: Receive, most: int) -> bytes:
    """The body of a request; `tvmkd.deploy.serving.connection` limits how long it may take.

    Raises:
        RequestFault: it is longer than ``most`` bytes, or the client has gone.
    """
    message = await receive()
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise RequestFault("slow_client", "the client has gone")
        parts.append(message["body"])
        size += len(parts[-1])
        if size > most:
            raise too_large(most)
        if not message["more_body"]:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()


def too_large(most: int) -> RequestFault:
    """A body that is too long."""
    return RequestFault("too_large", f"the body has more than {most} bytes (--max-body)")


async def refuse(send: Send, fault: RequestFault) -> None:
    """Answers with an error."""
    body = json.dumps({"error": fault.message}).encode()
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    if fault.retry_after is not None:
        headers.append((b"retry-after", b"%d" % fault.retry_after))
    if fault.kind == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
