from __future__ import annotations

import http.server
import time
from pathlib import Path

import pytest
from fleets import metrics, sends, serving

from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.monitoring import scrape
from tvmkd.deploy.monitoring.scrape import Server, Unreachable

Handler = http.server.BaseHTTPRequestHandler


def test_samples_by_name_and_labels() -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(handler: Handler) -> None:
        asked.append((handler.path, handler.headers.get("Authorization")))
        sends(handler, metrics())

    with serving(answer) as url:
        found = Server.at(url, "secret").scrape()
        Server.at(f"{url}/behind/").scrape()
    assert asked == [("/metrics", "Bearer secret"), ("/behind/metrics", None)]
    assert found.one("tvmkd_board_total_power_watts") == 2.5
    assert found.one("tvmkd_instances") is None  # it has labels
    assert list(found.of("tvmkd_instances")) == [({"model": "student", "version": "2"}, 2.0)]
    assert list(found.of("none")) == []


def test_a_server_that_is_not_there() -> None:
    with serving(lambda handler: None) as url:
        pass
    with pytest.raises(Unreachable, match="Connection refused"):
        Server.at(url).scrape()


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (404, "answers 404 to /metrics"),
        (401, "give --token-file"),
        (302, "answers 302"),
        (500, "500"),
    ],
)
def test_refusals_and_redirects_are_no_answers(status: int, line: str) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Location", "http://127.0.0.1:1/metrics")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(answer) as url, pytest.raises(Unreachable, match=line):
        Server.at(url, "secret").scrape()


def test_an_answer_that_never_ends_has_a_deadline_and_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"# nothing\n")
            time.sleep(0.05)

    with serving(slow) as url, pytest.raises(Unreachable, match=r"not end its answer in 0\.3 s"):
        Server.at(url).scrape(0.3)
    monkeypatch.setattr(scrape, "MOST_BYTES", 1000)
    long = serving(lambda handler: sends(handler, "#" * 2000))
    with long as url, pytest.raises(Unreachable, match="sends more than"):
        Server.at(url).scrape()


def test_silence_has_a_deadline() -> None:
    def silent(handler: Handler) -> None:
        time.sleep(1.0)

    with serving(silent) as url, pytest.raises(Unreachable, match=r"not answer in 0\.2 s"):
        Server.at(url).scrape(0.2)


@pytest.mark.parametrize("text", ["<html>", "a{b=} c", 'a{b="c"} d'])
def test_what_are_no_metrics(text: str) -> None:
    other = serving(lambda handler: sends(handler, text))
    with other as url, pytest.raises(Unreachable, match="sends no metrics"):
        Server.at(url).scrape()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("nano:8000", "http://nano:8000"),
        ("http://nano:8000/", "http://nano:8000"),
        ("https://nano/tvmkd", "https://nano/tvmkd"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_urls(url: str, found: str) -> None:
    assert Server.at(url).url == found


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a", "http://", "http://a:b", "http://a:99999", "http://me:secret@a", "http://a?b"],
)
def test_no_urls(url: str) -> None:
    with pytest.raises(UsageError, match="give http://HOST:PORT"):
        Server.at(url)


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as certificates"):
        Server.at("https://a", cafile=tmp_path / "none.pem")
