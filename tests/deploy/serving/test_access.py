"""Tokens, and requests of other web sites' pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.deploy.serving.access import LEAST_TOKEN, Access, read_token
from tvmkd.deploy.serving.faults import RequestFault

TOKEN = "t" * LEAST_TOKEN


def test_a_token_is_the_files_one_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "token"
    path.write_text(f"  {TOKEN}\n")
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    assert capsys.readouterr().err == ""


def test_a_token_that_every_user_can_read_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o604)
    assert read_token(path) == TOKEN
    assert "can read the token" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("content", [b"", b"t" * (LEAST_TOKEN - 1), b"a b" * 16, b"\xc3" * 20])
def test_a_file_without_a_good_token(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        read_token(path)


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", f"BEARER {TOKEN}"])
def test_the_token_lets_in(given: str) -> None:
    Access(TOKEN, loopback=False, control=False).check([(b"authorization", given.encode())])


@pytest.mark.parametrize(
    "given",
    [None, b"", TOKEN.encode(), b"Basic " + TOKEN.encode(), b"Bearer", b"Bearer ",
     b"Bearer " + TOKEN[:-1].encode(), b"Bearer " + TOKEN.encode() + b"x", b"Bearer \xff\xfe"],
)  # fmt: skip
def test_a_wrong_token_does_not(given: bytes | None) -> None:
    access = Access(TOKEN, loopback=True, control=True)
    headers = [] if given is None else [(b"authorization", given)]
    with pytest.raises(RequestFault) as error:
        access.check(headers)
    assert error.value.status == 401
    assert TOKEN not in error.value.message


def test_without_a_token_nobody_sends_one() -> None:
    Access(None, loopback=True, control=False).check([(b"host", b"anything")])


@pytest.mark.parametrize(
    ("loopback", "token", "origin", "host", "allowed"),
    [
        # A page of this server's own.
        (True, None, b"http://127.0.0.1:8000", b"127.0.0.1:8000", True),
        (True, None, b"http://LocalHost:8000", b"localhost:8000", True),
        (True, None, b"http://[::1]:8000", b"[::1]:8000", True),
        (False, None, b"https://board.lan", b"board.lan", True),
        # Another site's, or another port's.
        (True, None, b"http://evil.example", b"127.0.0.1:8000", False),
        (True, None, b"http://127.0.0.1:9", b"127.0.0.1:8000", False),
        (True, None, b"null", b"127.0.0.1:8000", False),
        (True, None, b"http://127.0.0.1:8000", b"", False),
        (False, None, b"http://evil.example", b"board.lan", False),
        # A name of somebody else's that resolves to 127.0.0.1.
        (True, None, b"http://evil.example:8000", b"evil.example:8000", False),
        (True, None, b"http://localhost.evil.example", b"localhost.evil.example", False),
        # Who has the token came through the front door, as a proxy on this machine does.
        (True, TOKEN, b"http://board.example", b"board.example", True),
    ],
)
def test_pages_of_other_sites(
    loopback: bool, token: str | None, origin: bytes, host: bytes, allowed: bool
) -> None:
    access = Access(token, loopback, control=False)
    headers = [(b"host", host), (b"origin", origin)]
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    if allowed:
        access.check(headers)
    else:
        with pytest.raises(RequestFault) as error:
            access.check(headers)
        assert error.value.status == 403


def test_control() -> None:
    Access(None, loopback=True, control=True).check_control()
    with pytest.raises(RequestFault, match="--model-control") as error:
        Access(TOKEN, loopback=True, control=False).check_control()
    assert error.value.status == 403
