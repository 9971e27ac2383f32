"""Reads a server's ``/metrics``: within a deadline, a limit, and without following redirects."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tvmkd.base.errors import InputError, MissingError, UsageError

SECONDS = 3.0
MOST_BYTES = 4 << 20
Labels = tuple[tuple[str, str], ...]


class Unreachable(Exception):
    """A server gave no metrics; the message says why, in a few words."""


@dataclass(frozen=True)
class Scrape:
    """The samples of a server at a time.

    Attributes:
        at: seconds of ``time.monotonic``.
        values: by name and sorted labels.
    """

    at: float
    values: Mapping[tuple[str, Labels], float]

    def of(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """The labels and values of a metric."""
        for (found, labels), value in self.values.items():
            if found == name:
                yield dict(labels), value

    def one(self, name: str) -> float | None:
        """The value of a metric without labels; None if there is none."""
        return self.values.get((name, ()))


@dataclass(frozen=True)
class Server:
    """An inference server.

    Attributes:
        url: ``http://HOST:PORT`` or ``https://...``; a path is kept before ``/metrics``.
        token: sent as a bearer token; None: none.
        context: of TLS.
    """

    url: str
    token: str | None = None
    context: ssl.SSLContext | None = None

    @classmethod
    def at(cls, url: str, token: str | None = None, cafile: Path | None = None) -> Server:
        """A server by its URL.

        Args:
            cafile: certificates to trust instead of the system's.

        Raises:
            UsageError: it is no URL of HTTP, or has a name and password in it.
            InputError: ``cafile`` cannot be read.
        """
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port  # a ValueError where it is no number
            usable = parts.scheme in ("http", "https") and parts.hostname and port != 0
        except ValueError:
            usable = False
        if not usable or parts.username or parts.query or parts.fragment:
            raise UsageError(f"--server {url}: give http://HOST:PORT or https://HOST:PORT")
        context = None
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=cafile)
            except (OSError, ssl.SSLError) as error:
                raise InputError(
                    f"{cafile}: cannot be read as certificates: {error.strerror}"
                ) from None
        return cls(parts.geturl().rstrip("/"), token, context)

    def scrape(self, seconds: float = SECONDS) -> Scrape:
        """Asks for the metrics.

        Raises:
            Unreachable: it does not answer in ``seconds``, refuses, or sends something else.
            MissingError: prometheus_client is not installed.
        """
        return Scrape(time.monotonic(), parse(self._fetch(seconds)))

    def _fetch(self, seconds: float) -> str:
        parts = urlsplit(self.url)
        host, port = str(parts.hostname), parts.port
        connection: http.client.HTTPConnection
        if self.context is None:
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
        else:
            connection = http.client.HTTPSConnection(
                host, port, timeout=seconds, context=self.context
            )
        headers = {"Accept": "text/plain"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + seconds
        try:
            connection.request("GET", f"{parts.path}/metrics", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Unreachable(_refusal(answer.status))
            body = b""
            while chunk := answer.read1(1 << 16):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise Unreachable(f"sends more than {MOST_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise Unreachable(f"does not end its answer in {seconds:g} s")
        except TimeoutError:
            raise Unreachable(f"does not answer in {seconds:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(str(reason)) from None
        finally:
            connection.close()
        return body.decode("utf-8", "replace")


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"refuses ({status}): give --token-file"
    return f"answers {status} to /metrics: no inference server?"


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """The samples of Prometheus' text format.

    Raises:
        Unreachable: it is another format.
        MissingError: prometheus_client is not installed.
    """
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError:
        raise MissingError(
            "prometheus_client is not installed: pip install 'tvmkd[serve]'"
        ) from None
    found = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
    except (ValueError, KeyError, IndexError) as error:
        raise Unreachable(f"sends no metrics ({str(error)[:80]})") from None
    return found
