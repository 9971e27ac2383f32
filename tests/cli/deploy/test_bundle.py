from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import handmade
import pytest


def test_the_way_from_a_key_to_a_verified_bundle(
    tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path
) -> None:
    key, out = tmp_path / "release.key", tmp_path / "sample-1.4.tar.gz"
    done = tvmkd("deploy", "keygen", key, "--no-password")
    assert (done.code, "the public key" in done.out) == (0, True)
    done = tvmkd("deploy", "bundle", artifacts[1], "-o", out, "--sign", key)
    assert done.code == 0, done.err
    assert "self-test here: sample: 2 outputs as recorded" in done.out
    assert done.out.splitlines()[-1] == f"Install it with: tvmkd deploy push USER@BOARD {out}"
    done = tvmkd("deploy", "verify", out, "--pubkey", key.with_suffix(".pub"), "--json")
    found = json.loads(done.out)
    assert (found["name"], found["version"], found["pinned"]) == ("sample", "1.4", True)
    done = tvmkd("deploy", "verify", out)
    assert "signed with its own key" in done.out
    with tarfile.open(out) as archive:
        streams = {member.name: archive.extractfile(member) for member in archive}
        files = {name.split("/", 1)[1]: found.read() for name, found in streams.items() if found}
    # A bit of what is stored: some of the archive's own mean nothing.
    files["lib/libsample.so"] = files["lib/libsample.so"][:-1] + b"?"
    handmade.write(out, files)
    done = tvmkd("deploy", "verify", out)
    assert done.code == 4
    assert done.line == f"{out}: lib/libsample.so does not have its checksum: it was changed"


def test_the_result_as_json(tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    out = tmp_path / "x.tar.gz"
    done = tvmkd(
        *("deploy", "bundle", artifacts[1], "-o", out, "--name", "a", "--version", "2", "--json")
    )
    made = json.loads(done.out)
    assert (made["name"], made["version"], made["key"], made["emulated"]) == ("a", "2", None, False)
    assert made["bytes"] == out.stat().st_size
    assert made["self_test"] == "sample: 2 outputs as recorded"


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (("-o", "x.tar.gz"), 2, "no version"),
        (("-o", "x-1.tar.gz", "--power", "max"), 2, "--power max"),
        (("-o", "x-1.tar.gz", "--sign", "none.key"), 4, "none.key: cannot be read"),
        (("-o", "x-1.tar.gz", "--license", "mine"), 2, "no SPDX expression"),
        (("-o", "x-1.tar.gz", "--onnx", "none.onnx"), 4, "none.onnx: there is no such ONNX file"),
        (("-o", "x-1.tar.gz", "--inputs", "none.npz"), 4, "none.npz: there is no such file"),
        (
            ("-o", "x-1.tar.gz", "--classes", "none.txt"),
            *(4, "none.txt: the class names cannot be read: No such file or directory"),
        ),
        (("-o", "net-1.1.0.zip"), 2, "net-1.1.0.zip: is written as .tar.gz; give it a name"),
    ],
)
def test_what_cannot_be_bundled(
    tvmkd: Any,
    artifacts: Mapping[int, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tvmkd("deploy", "bundle", artifacts[1], *given)
    assert done.code == code
    assert says in done.line
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_asked_for(
    tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["words", "words", "wrong", "words"])
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(answers))
    key, out = tmp_path / "a.key", tmp_path / "a-1.tar.gz"
    assert tvmkd("deploy", "keygen", key).code == 0
    done = tvmkd("deploy", "bundle", artifacts[1], "-o", out, "--sign", key)
    assert done.code == 4
    assert "wrong password" in done.line
    assert tvmkd("deploy", "bundle", artifacts[1], "-o", out, "--sign", key).code == 0
