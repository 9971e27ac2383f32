"""Who may ask: a bearer token, and no other web site's pages."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.deploy.serving.faults import RequestFault

LEAST_TOKEN = 16
WARNING = (
    "every machine that reaches this address can run the models: there is no token; "
    "give --token-file, and --certfile and --keyfile so that nobody reads it on the way"
)


def read_token(path: Path) -> str:
    """The token in a file: its first line.

    Raises:
        InputError: the file cannot be read, or holds no token of enough characters.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a token: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read as a token: it is no ASCII text") from None
    if len(lines) != 1 or len(lines[0]) < LEAST_TOKEN:
        raise InputError(
            f"{path}: expected one word of at least {LEAST_TOKEN} characters; make one with: "
            f"head -c 24 /dev/urandom | base64 > {path}"
        )
    if os.stat(path).st_mode & 0o004:
        console.warn(f"{path}: every user of this machine can read the token; chmod 600 it")
    return lines[0]


class Access:
    """Checks requests.

    Args:
        token: what clients must send as ``Authorization: Bearer TOKEN``; None: nothing.
        loopback: whether the server listens on this machine's own addresses only.
        control: whether clients may load and unload models.
    """

    def __init__(self, token: str | None, loopback: bool, control: bool) -> None:
        self._expected = None if token is None else f"bearer {token}".encode()
        self._local = loopback and token is None
        self.control = control

    def check(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Checks the headers of an HTTP request.

        Raises:
            RequestFault: the token is missing or wrong, or a page of another site asks.
        """
        given, origin, host = None, None, b""
        for name, value in headers:
            if name == b"authorization":
                given = value
            elif name == b"origin":
                origin = value
            elif name == b"host":
                host = value
        self.check_token(given)
        if origin is not None and origin.rpartition(b"//")[2].lower() != host.lower():
            raise RequestFault("forbidden", "pages of other web sites may not use this server")
        # A name of somebody else's that resolves to 127.0.0.1 (DNS rebinding).
        if self._local and origin is not None and _name(host) not in _LOCAL:
            raise RequestFault(
                "forbidden", f"this server is not called {host[:64].decode('latin1')}"
            )

    def check_token(self, given: bytes | None) -> None:
        """Checks the value of ``Authorization``.

        Raises:
            RequestFault: the token is missing or wrong.
        """
        if self._expected is None:
            return
        kind, _, token = (given or b"").partition(b" ")
        if not hmac.compare_digest(kind.lower() + b" " + token.strip(), self._expected):
            raise RequestFault(
                "unauthorized", "send the server's token: Authorization: Bearer TOKEN"
            )

    def check_control(self) -> None:
        """Raises `RequestFault` if clients may not load and unload models."""
        if not self.control:
            raise RequestFault(
                "forbidden", "loading and unloading is off; start tvmkd serve --model-control"
            )


_LOCAL = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


def _name(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return (name if colon and port.isdigit() else host).lower()
