"""tvmkd-tool: signatures of minisign, and links that change in one step."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.boards import emulate
from tvmkd.deploy.bundles import signing, tool

ARCHITECTURES = ["x86_64", pytest.param("aarch64", marks=pytest.mark.board)]


@pytest.fixture(params=ARCHITECTURES)
def command(request: pytest.FixtureRequest) -> list[str]:
    """What runs the tool; for another architecture without any of its libraries."""
    try:
        program = str(tool.program(request.param))
    except MissingError as error:
        pytest.skip(str(error))
    if request.param == os.uname().machine:
        return [program]
    if request.param != "aarch64" or emulate.why_not() is not None:
        pytest.skip(emulate.why_not() or "it does not run here")
    return [emulate.QEMU, program]


def _run(command: list[str], *given: str | Path) -> tuple[int, str]:
    done = subprocess.run([*command, *map(str, given)], capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr).strip().removeprefix("tvmkd-tool: ")


def test_signatures(command: list[str], keys: Path, tmp_path: Path) -> None:
    data, signature = tmp_path / "SUMS", tmp_path / "SUMS.minisig"
    data.write_bytes(b"0" * 70_001)
    key = signing.secret_key(keys / "ours.key", lambda _: "")
    good = signing.sign(key, data.read_bytes(), "sample 1.0")

    def verified(content: bytes = good, public: str = "ours.pub") -> tuple[int, str]:
        signature.write_bytes(content)
        return _run(command, "verify", keys / public, data, signature)

    assert verified() == (0, "sample 1.0")
    assert verified(good.replace(b"\n", b"\r\n")) == (0, "sample 1.0")
    assert verified(public="theirs.pub") == (1, f"{data}: is signed with another key")
    forged = f"{signature}: has a comment that is not signed"
    assert verified(good.replace(b"1.0", b"2.0")) == (1, forged)
    lines = good.split(b"\n")
    for content in (b"", b"x", good[:100], b"\n".join([lines[0], lines[3], lines[2], lines[1]])):
        assert verified(content) == (1, f"{signature}: is no signature of minisign")
    legacy = key.sign(data.read_bytes(), prehash=False, trusted_comment="x")
    assert verified(bytes(legacy)) == (1, f"{signature}: is no prehashed signature")
    # A byte of the signature, then one of the data.
    at = good.index(b"\n") + 30
    changed = good[:at] + (b"A" if good[at : at + 1] != b"A" else b"B") + good[at + 1 :]
    assert verified(changed)[0] == 1
    data.write_bytes(b"1" + b"0" * 70_000)
    assert verified() == (1, f"{data}: does not have the signature that goes with it")
    assert _run(command, "verify", data, data, signature)[0] == 4
    assert _run(command, "verify", tmp_path / "no", data, signature)[0] == 4


def test_switching(command: list[str], tmp_path: Path) -> None:
    link = tmp_path / "current"
    for target in ("versions/1", "versions/2"):
        (tmp_path / target).mkdir(parents=True)
        assert _run(command, "switch", target, link) == (0, "")
        assert os.readlink(link) == target
    # What an interrupted one left is no obstacle.
    (tmp_path / ".current.new").symlink_to("nowhere")
    assert _run(command, "switch", "versions/1", link) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["current", "versions"]
    assert _run(command, "switch", "x", tmp_path / "none/current")[0] == 4
    (tmp_path / "folder").mkdir()
    assert _run(command, "switch", "x", tmp_path / "folder") == (
        4,
        f"{tmp_path / 'folder'}: cannot be replaced",
    )
    assert not (tmp_path / ".folder.new").is_symlink()
    assert _run(command, "sync", tmp_path) == (0, "")
    assert _run(command, "sync", tmp_path / "no")[0] == 4
    assert _run(command)[0] == 2
    assert _run(command, "switch", "x")[0] == 2


def test_a_switch_is_one_rename_that_is_synced(command: list[str], tmp_path: Path) -> None:
    """A reader never finds no link, and the folder is on the disk when the program ends."""
    if len(command) > 1:
        pytest.skip("strace sees QEMU's calls")
    try:
        done = subprocess.run(
            [
                "strace",
                "-e",
                "trace=/rename.*,symlink,unlink,fsync",
                *command,
                "switch",
                "versions/1",
                str(tmp_path / "current"),
            ],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed: sudo apt-get install strace")
    if "ptrace" in done.stderr:
        pytest.skip("no process may be traced here")
    calls = [line.split("(")[0] for line in done.stderr.splitlines() if "(" in line]
    assert calls == ["unlink", "symlink", "rename", "fsync"]
