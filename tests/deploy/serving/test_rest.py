"""Inference over ASGI: headers, bodies, and what is counted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fake_models import Answer, ask, fault_of, repository, served

from tvmkd.deploy.serving.access import Access
from tvmkd.deploy.serving.faults import RequestFault

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
INFER = "/v2/models/toy/infer"
X, Y = (np.arange(4, dtype=np.float32) + first for first in (0, 10))
JSON_BODY = json.dumps({"inputs": [
    {"name": name, "datatype": "FP32", "shape": [1, 4], "data": values.tolist()}
    for name, values in (("x", X), ("y", Y))
]}).encode()  # fmt: skip
BINARY_HEAD = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [
    {"name": name, "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
    for name in ("x", "y")
]}).encode()  # fmt: skip
BINARY_BODY = BINARY_HEAD + X.tobytes() + Y.tobytes()
LENGTH = b"inference-header-content-length"


def server(*models: Any, token: str | None = None, timeout_us: int = 0, most: int = 4096) -> Any:
    from tvmkd.deploy.serving.metrics import Metrics
    from tvmkd.deploy.serving.rest import Rest

    async def others(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    access = Access(token, True, True)
    rest = Rest(
        repository(*models), access, Metrics(), others, max_body=most, timeout_us=timeout_us
    )
    rest.refresh()
    return rest


def error(answer: Answer) -> str:
    content = json.loads(answer.body)
    assert list(content) == ["error"]
    assert answer.headers[b"content-length"] == b"%d" % len(answer.body)
    assert answer.headers[b"content-type"] == b"application/json"
    return str(content["error"])


def test_json() -> None:
    model = served()
    answer = ask(server(model), "POST", INFER, JSON_BODY)
    assert answer.status == 200
    assert answer.headers == {
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(answer.body),
    }
    assert [each["data"] for each in json.loads(answer.body)["outputs"]] == [X.tolist(), Y.tolist()]
    assert (model.statistics.requests, dict(model.statistics.errors)) == (1, {})


def test_binary_data_in_pieces() -> None:
    pieces = [BINARY_BODY[:10], BINARY_BODY[10:200], b"", BINARY_BODY[200:]]
    headers = [(LENGTH, b"%d" % len(BINARY_HEAD))]
    answer = ask(server(served()), "POST", INFER, *pieces, headers=headers)
    assert answer.status == 200
    assert answer.headers[b"content-type"] == b"application/octet-stream"
    head = int(answer.headers[LENGTH])
    assert answer.body[head:] == X.tobytes() + Y.tobytes()
    assert len(json.loads(answer.body[:head])["outputs"]) == 2


def test_the_path_says_which_version() -> None:
    old, new = served(version="1"), served(version="2")
    rest = server(old, new)
    for path, count in (
        (INFER, (0, 1)),
        ("/v2/models/toy/versions/1/infer", (1, 1)),
        ("/v2/models/toy/versions/2/infer", (1, 2)),
    ):
        assert ask(rest, "POST", path, JSON_BODY).status == 200
        assert (old.statistics.requests, new.statistics.requests) == count
    assert ask(rest, "POST", "/v2/models/toy/versions/3/infer", JSON_BODY).status == 299
    assert ask(rest, "GET", INFER).body == INFER.encode()
    rest._repository.models["toy"].loaded.clear()
    rest.refresh()
    assert ask(rest, "POST", INFER, JSON_BODY).status == 299


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"{", [], 400, "is not JSON"),
        (JSON_BODY + b"x", [], 400, "is not JSON"),
        (BINARY_BODY[:-1], [(LENGTH, b"%d" % len(BINARY_HEAD))], 400, "31 bytes follow"),
        (JSON_BODY, [(LENGTH, b"%d" % (len(JSON_BODY) + 1))], 400, "the JSON part should have"),
        (JSON_BODY, [(LENGTH, b"-1")], 400, "expected one number"),
        (JSON_BODY, [(LENGTH, b"9" * 19)], 400, "expected one number"),
        (JSON_BODY, [(LENGTH, b"1")] * 2, 400, "expected one number"),
        (JSON_BODY, [(b"content-encoding", b"gzip")], 415, "compressed"),
        (b"", [(b"content-length", b"4097")], 413, "more than 4096 bytes"),
        (b" " * 4097, [], 413, "more than 4096 bytes"),
        (JSON_BODY, [(b"origin", b"http://evil.example")], 403, "other web sites"),
    ],
)
def test_a_wrong_request(
    body: bytes, headers: list[tuple[bytes, bytes]], status: int, text: str
) -> None:
    model = served()
    answer = ask(server(model), "POST", INFER, body, headers=headers)
    assert answer.status == status
    assert text in error(answer)
    assert sum(model.statistics.errors.values()) == 1
    assert model.pool.seen == []


def test_a_body_of_just_the_most_bytes() -> None:
    body = JSON_BODY + b" " * (4096 - len(JSON_BODY))
    headers = [(b"content-length", b"4096"), (b"content-encoding", b"Identity")]
    assert ask(server(served()), "POST", INFER, body, headers=headers).status == 200


def test_a_body_that_is_too_long_is_not_read_to_its_end() -> None:
    pieces = [bytes(4096), b"x", b"never read"]

    async def receive() -> Any:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": True}

    from tvmkd.deploy.serving.rest import read_body

    reading = read_body(receive, 4096)
    assert fault_of(reading.send, None).status == 413
    assert pieces == [b"never read"]


def test_a_client_that_goes_away() -> None:
    model = served()
    ask(server(model), "POST", INFER, JSON_BODY[:10], ends=False)
    assert dict(model.statistics.errors) == {"slow_client": 1}


def test_the_token_is_asked_for_before_the_body_is_read() -> None:
    model = served()
    rest = server(model, token="t" * 16)
    answer = ask(rest, "POST", INFER, b"{")
    assert answer.status == 401
    assert answer.headers[b"www-authenticate"] == b"Bearer"
    headers = [(b"authorization", b"Bearer " + b"t" * 16)]
    assert ask(rest, "POST", INFER, JSON_BODY, headers=headers).status == 200


def test_a_refusal_of_the_pool_says_when_to_come_again() -> None:
    model = served()
    model.pool.fault = RequestFault("queue_full", "the queue is full", 3)
    answer = ask(server(model), "POST", INFER, JSON_BODY)
    assert (answer.status, error(answer)) == (503, "the queue is full")
    assert answer.headers[b"retry-after"] == b"3"
    assert dict(model.statistics.errors) == {"queue_full": 1}


def test_a_fault_of_the_server_is_one_line_and_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = served()
    model.pool.fault = ZeroDivisionError("secret")
    answer = ask(server(model), "POST", INFER, JSON_BODY)
    assert answer.status == 500
    assert "secret" not in error(answer)
    assert "secret" in caplog.text
    assert dict(model.statistics.errors) == {"failed": 1}


@pytest.mark.parametrize(
    ("command_us", "request_us", "expected_us"), [(0, None, 0), (300, None, 300), (300, 200, 200)]
)
def test_the_deadline(command_us: int, request_us: int | None, expected_us: int) -> None:
    model = served()
    content = json.loads(JSON_BODY)
    if request_us is not None:
        content["parameters"] = {"timeout": request_us}
    ask(server(model, timeout_us=command_us), "POST", INFER, json.dumps(content).encode())
    (request,) = model.pool.seen
    expected = request.arrived_ns + 1000 * expected_us if expected_us else 0
    assert request.deadline_ns == expected
    assert request.gone is not None
    assert request.gone() is False
