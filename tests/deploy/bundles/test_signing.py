from __future__ import annotations

import stat
from pathlib import Path

import minisign
import pytest

from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.bundles import signing


def test_keys(tmp_path: Path) -> None:
    public = signing.generate(tmp_path / "a.key", "secret words")
    assert public == tmp_path / "a.pub"
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="exists"):
        signing.generate(tmp_path / "a.key", None)
    asked = []

    def ask(text: str) -> str:
        asked.append(text)
        return "secret words"

    key = signing.secret_key(tmp_path / "a.key", ask)
    assert asked == [f"password of {tmp_path / 'a.key'}: "]
    signature = signing.sign(key, b"data", "a comment")
    assert signature == signing.sign(key, b"data", "a comment")
    found = signing.public_key(public)
    assert signing.verify(found, b"data", signature, "x") == "a comment"
    # The number is the one that minisign shows.
    assert signing.key_id(found) in public.read_text()
    with pytest.raises(InputError, match="x: the signature is not right"):
        signing.verify(found, b"Data", signature, "x")
    with pytest.raises(InputError, match="wrong password"):
        signing.secret_key(tmp_path / "a.key", lambda _: "other")


def test_what_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        signing.secret_key(tmp_path / "none", lambda _: "")
    (tmp_path / "x").write_text("nonsense")
    with pytest.raises(InputError, match="tvmkd deploy keygen"):
        signing.secret_key(tmp_path / "x", lambda _: "")
    with pytest.raises(InputError, match="no public key"):
        signing.public_key(tmp_path / "x")
    with pytest.raises(UsageError, match=r"such as release\.key"):
        signing.generate(tmp_path / "nosuffix.pub", None)


def test_a_signature_that_is_not_prehashed(tmp_path: Path) -> None:
    signing.generate(tmp_path / "a.key", None)
    key = minisign.SecretKey.from_file(tmp_path / "a.key")
    legacy = bytes(key.sign(b"data", prehash=False))
    with pytest.raises(InputError, match="not prehashed"):
        signing.verify(key.get_public_key(), b"data", legacy, "x")
