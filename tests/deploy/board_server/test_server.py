"""Which path is what; `test_serve_file` asks a running server."""

from __future__ import annotations

import pytest

from tvmkd.deploy.board_server.protocol import Fault
from tvmkd.deploy.board_server.server import route_of


@pytest.mark.parametrize(
    ("method", "target", "route", "names"),
    [
        ("POST", "/v2/models/a/infer", "infer", {"name": "a", "version": ""}),
        ("POST", "/v2/models/a%2Db/versions/1/infer?x", "infer", {"name": "a-b", "version": "1"}),
        ("HEAD", "/v2", "server", {}),
        ("GET", "/v2/models/a/ready", "model_ready", {"name": "a", "version": ""}),
        ("POST", "/v2/repository/models/a/unload", "unload", {"name": "a"}),
    ],
)
def test_routes(method: str, target: str, route: str, names: dict[str, str]) -> None:
    assert route_of(method, target) == (route, names)


@pytest.mark.parametrize(
    ("method", "target", "kind"),
    [
        ("GET", "/v2/models/a/infer", "method"),
        ("HEAD", "/v2/repository/index", "method"),
        ("GET", "/v2/", "not_found"),
        ("GET", "/v2/models/a/b/c", "not_found"),
        ("GET", "/v2%2fhealth%2flive/x", "not_found"),
    ],
)
def test_what_is_not_there(method: str, target: str, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        route_of(method, target)
    assert caught.value.kind == kind
