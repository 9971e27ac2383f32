from __future__ import annotations

import http.client
import json

import pytest

from tvmkd.base.errors import InputError
from tvmkd.deploy.monitoring.serve_page import PageServer


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.headers["Content-Type"], answer.read().decode()
    connection.close()
    return found


def test_the_page_and_the_data_on_this_machine_only() -> None:
    with PageServer(0) as server:
        server.show("<p>ü</p>", {"a": 1})
        assert get(server.port, "/", f"localhost:{server.port}") == (
            200,
            "text/html; charset=utf-8",
            "<p>ü</p>",
        )
        assert json.loads(get(server.port, "/view.json")[2]) == {"a": 1}
        assert get(server.port, "/other")[0] == 404
        server.show("new", {})
        assert get(server.port, "/")[2] == "new"
        with pytest.raises(InputError, match="cannot listen there"):
            PageServer(server.port)
    with pytest.raises(ConnectionRefusedError):
        get(server.port, "/")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_another_name_for_this_machine_gets_nothing(host: str) -> None:
    with PageServer(0) as server:
        assert get(server.port, "/view.json", host)[0] == 421
