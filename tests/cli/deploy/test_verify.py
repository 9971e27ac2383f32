from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import handmade
import pytest

from tvmkd.deploy.bundles import signing


@pytest.fixture
def signed(keys: Path, tmp_path: Path) -> Path:
    key = signing.secret_key(keys / "ours.key", lambda _: "")
    return handmade.write(tmp_path / "sample-1.1.tar.gz", handmade.content(key))


def test_what_it_says(tvmkd: Any, signed: Path, keys: Path, tmp_path: Path) -> None:
    number = signing.key_id(signing.public_key(keys / "ours.pub"))
    done = tvmkd("deploy", "verify", signed, "--pubkey", keys / "ours.pub")
    lines = done.out.splitlines()
    assert (done.code, lines[-1]) == (0, f"signed with the key {number}")
    right = f"{signed}: sample 1.1 for jetson-nano, all checksums are right"
    assert lines[-2] == right
    sizes = {line.split()[0]: line.split()[1:] for line in lines[:-2]}
    assert sizes["lib/libsample.so"] == ["2.0", "KiB"]
    assert len(sizes) == len(handmade.OTHERS) + 2
    done = tvmkd("deploy", "verify", signed)
    own = f"signed with its own key {number}; give --pubkey to check whose it is"
    assert (done.code, done.out.splitlines()[-1]) == (0, own)
    unsigned = handmade.write(tmp_path / "b.tar.gz", handmade.content())
    done = tvmkd("deploy", "verify", unsigned)
    assert (done.code, done.out.splitlines()[-1]) == (0, "not signed")


@pytest.mark.parametrize("pinned", [True, False])
def test_as_json(tvmkd: Any, signed: Path, keys: Path, pinned: bool) -> None:
    done = tvmkd(
        *("deploy", "verify", signed, "--json"), *(["--pubkey", keys / "ours.pub"] * pinned)
    )
    found = json.loads(done.out)
    assert found["path"] == str(signed)
    assert {key: found[key] for key in handmade.FIELDS} == handmade.FIELDS
    assert found["key"] == signing.key_id(signing.public_key(keys / "ours.pub"))
    assert found["pinned"] is pinned
    assert found["files"]["lib/libsample.so"] == 2048


def test_refusals(tvmkd: Any, signed: Path, keys: Path, tmp_path: Path) -> None:
    done = tvmkd("deploy", "verify", signed, "--pubkey", keys / "theirs.pub", "--json")
    assert (done.code, done.out) == (4, "")
    ours, theirs = (
        signing.key_id(signing.public_key(keys / f"{n}.pub")) for n in ("ours", "theirs")
    )
    wrong = f"the signature is not right: it is by the key {ours}, not by {theirs}"
    assert done.line == f"{signed}: {wrong}"
    done = tvmkd("deploy", "verify", tmp_path)
    folder = f"{tmp_path}: is a folder; give the .tar.gz of tvmkd deploy bundle"
    assert (done.code, done.line) == (4, folder)
    done = tvmkd("deploy", "verify", signed / "x.tar.gz")
    assert (done.code, done.line) == (4, f"{signed}/x.tar.gz: cannot be read: Not a directory")
    done = tvmkd("deploy", "verify", signed, "--pubkey", tmp_path / "none.pub")
    assert done.code == 4
    assert done.line.startswith(f"{tmp_path / 'none.pub'}: cannot be read")
    unsigned = handmade.write(tmp_path / "b.tar.gz", handmade.content())
    done = tvmkd("deploy", "verify", unsigned, "--pubkey", keys / "ours.pub")
    assert (done.code, done.line) == (4, f"{unsigned}: is not signed; make it with --sign KEYFILE")
    assert tvmkd("deploy", "verify").code == 2
