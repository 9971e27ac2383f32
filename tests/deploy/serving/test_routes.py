"""Everything but inference: who may ask, what is not there, and loading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_models import Answer, ask, repository, served

from tvmkd.base.version import __version__
from tvmkd.deploy.serving.access import Access
from tvmkd.deploy.serving.faults import RequestFault

pytest.importorskip("starlette", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
TOKEN = "t" * 16
HEADERS = [(b"authorization", b"Bearer " + TOKEN.encode())]
LOAD, UNLOAD = (f"/v2/repository/models/toy/{what}" for what in ("load", "unload"))
INDEX = "/v2/repository/index"


class Loads:
    """Stands in for a repository's loading and unloading."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def load(self, name: str, parameters: Any) -> None:
        self.calls.append((name, parameters))
        if name != "toy":
            raise RequestFault("not_found", f"there is no model {name!r}")

    async def unload(self, name: str) -> None:
        self.calls.append(name)


class Site:
    """The application, its parts and one loaded model."""

    def __init__(self, token: str | None = None, control: bool = True) -> None:
        from tvmkd.deploy.serving.metrics import Metrics
        from tvmkd.deploy.serving.routes import Routes

        self.model = served()
        self.loads = Loads()
        models: Any = repository(self.model)
        models.load, models.unload = self.loads.load, self.loads.unload
        self.routes = Routes(models, Access(token, True, control), Metrics())
        self.application = self.routes.application([])

    def ask(self, method: str, path: str, body: bytes = b"", **more: Any) -> Answer:
        return ask(self.application, method, path, body, **more)

    def error(self, status: int, method: str, path: str, body: bytes = b"", **more: Any) -> str:
        answer = self.ask(method, path, body, **more)
        assert answer.status == status, answer.body
        content = json.loads(answer.body)
        assert list(content) == ["error"]
        return str(content["error"])


def test_the_server_and_its_model() -> None:
    site = Site()
    about = json.loads(site.ask("GET", "/v2").body)
    assert (about["name"], about["version"]) == ("tvmkd", __version__)
    assert "binary_tensor_data" in about["extensions"]
    for path in ("/v2/models/toy", "/v2/models/toy/versions/1"):
        found = json.loads(site.ask("GET", path).body)
        assert found["versions"] == ["1"]
        assert found["platform"] == "tvmkd_relax"
        assert found["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [1, 4]}
        assert [each["name"] for each in found["outputs"]] == ["a", "b"]


def test_health() -> None:
    site = Site()
    ready, model = "/v2/health/ready", "/v2/models/toy/ready"
    assert [site.ask("GET", path).status for path in (ready, model)] == [200, 200]
    site.model.pool.ready = False
    assert [site.ask("GET", path).status for path in (ready, model)] == [400, 400]
    site.model.pool.ready, site.routes.stopping = True, True
    assert [site.ask("GET", path).status for path in (ready, model)] == [400, 200]
    assert site.ask("GET", "/v2/health/live").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "text"),
    [
        ("GET", "/v2/models/nobody", 404, "not_found", "there is no model 'nobody' (models: toy)"),
        ("GET", "/v2/models/toy/versions/7", 404, "not_found", "version '7' is not loaded"),
        ("GET", "/v2/models/toy/versions/7/ready", 404, "not_found", "version '7' is not loaded"),
        ("POST", "/v2/models/nobody/infer", 404, "not_found", "there is no model"),
        ("POST", "/v2/models/toy/infer", 400, "invalid", "ask again"),
        ("GET", "/v1/models", 404, "not_found", "there is no /v1/models"),
        ("GET", "/v2/", 404, "not_found", "there is no /v2/"),
        ("POST", "/v2", 405, "method", "not with POST"),
        ("GET", LOAD, 405, "method", "not with GET"),
    ],
)
def test_what_is_not_there(method: str, path: str, status: int, kind: str, text: str) -> None:
    site = Site()
    assert text in site.error(status, method, path)
    assert dict(site.routes.metrics.refused) == {kind: 1}


def test_a_token_is_wanted_everywhere_but_for_health() -> None:
    site = Site(TOKEN)
    for route in site.application.routes:
        path = route.path.format(name="toy", version="1")
        for method in route.methods - {"HEAD"}:
            answer = site.ask(method, path)
            is_open = path.startswith("/v2/health/")
            assert answer.status == (200 if is_open else 401), path
            assert is_open or answer.headers[b"www-authenticate"] == b"Bearer"
    assert site.loads.calls == []
    assert site.ask("GET", "/v2", headers=HEADERS).status == 200


def test_pages_of_other_sites_are_refused() -> None:
    headers = [(b"host", b"127.0.0.1:8000"), (b"origin", b"http://evil.example")]
    site = Site()
    assert "other web sites" in site.error(403, "POST", UNLOAD, headers=headers)
    assert site.loads.calls == []


def test_loading_and_unloading() -> None:
    site = Site()
    body = b'{"parameters": {"config": "{}"}}'
    assert site.ask("POST", LOAD, body).body == b"{}"
    assert site.ask("POST", LOAD).status == 200
    assert site.ask("POST", UNLOAD, b'{"parameters": {"unload_dependents": false}}').status == 200
    assert site.loads.calls == [("toy", {"config": "{}"}), ("toy", {}), "toy"]
    assert "no model 'x'" in site.error(404, "POST", "/v2/repository/models/x/load")


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
def test_loading_that_is_off(path: str) -> None:
    site = Site(control=False)
    assert "--model-control" in site.error(403, "POST", path)
    assert site.loads.calls == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (LOAD, b"{", 400),
        (LOAD, b"[]", 400),
        (LOAD, b'{"parameters": [1]}', 400),
        (LOAD, b" " * (2**20 + 1), 413),
        (UNLOAD, b"no JSON", 400),
        (INDEX, b'{"ready": 1}', 400),
        (INDEX, b"\xff", 400),
    ],
)
def test_a_wrong_body(path: str, body: bytes, status: int) -> None:
    site = Site()
    site.error(status, "POST", path, body)
    assert site.loads.calls == []


def test_the_index() -> None:
    site = Site()
    row = {"name": "toy", "version": "1", "state": "READY", "reason": ""}
    assert json.loads(site.ask("POST", INDEX).body) == [row]
    site.model.pool.ready, site.model.pool.failure = False, "no library"
    assert json.loads(site.ask("POST", INDEX).body) == [
        {**row, "state": "UNAVAILABLE", "reason": "no library"}
    ]
    assert json.loads(site.ask("POST", INDEX, b'{"ready": true}').body) == []


def test_a_fault_that_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()

    def busy(*_: object) -> None:
        raise RequestFault("unavailable", "later", 2)

    monkeypatch.setattr(site.routes.repository, "index", busy)
    answer = site.ask("POST", INDEX)
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"2")


def test_metrics() -> None:
    pytest.importorskip("prometheus_client")
    answer = Site().ask("GET", "/metrics")
    assert answer.headers[b"content-type"].startswith(b"text/plain; version=")
    assert b'tvmkd_model_ready{model="toy",version="1"} 1.0' in answer.body
