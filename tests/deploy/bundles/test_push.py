"""Bundles sent to a board over ssh: a stand-in for ssh that runs everything on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import asking
import pytest
import toy
from board_machine import Board as Machine
from wires import Wire

from tvmkd import targets
from tvmkd.base.errors import GateFailure, InputError, MissingError
from tvmkd.boards import emulate
from tvmkd.deploy.bundles import push, signing
from tvmkd.deploy.bundles.remote import Remote


def test_push_update_and_roll_back(wire: Wire, bundles: Mapping[str, Path], keys: Path) -> None:
    done = wire.push(bundles["1.1"], pubkey=keys / "ours.pub")
    assert done.status["version"] == "1.1"
    assert any("self-test: sample: 2 outputs as recorded" in line for line in wire.shown)
    assert (wire.machine.root / "trust/publisher.pub").exists()
    assert wire.sent() == []
    done = wire.push(bundles["1.2"])
    assert (done.status["version"], done.status["before"]) == ("1.2", "1.1")
    # The board's own installer looked at the archive.
    commands = (wire.folder / "commands").read_text()
    assert f"{wire.machine.root}/bin/install.sh" in commands.splitlines()[-3]
    done = wire.board().rollback(None, wire.shown.append)
    assert done.status["version"] == "1.1"
    with pytest.raises(InputError, match=r"user@nano: sample: no version from before 1\.1"):
        wire.board().rollback("sample", wire.shown.append)


def test_a_broken_connection_resumes(wire: Wire, bundles: Mapping[str, Path]) -> None:
    wire.cut(50_000)
    assert wire.push(bundles["1.1"]).status["version"] == "1.1"
    # A push that was killed: its part is there when the next one starts.
    place = wire.home / ".cache/tvmkd/push"
    data = bundles["1.2"].read_bytes()
    digest = subprocess.run(["sha256sum", bundles["1.2"]], capture_output=True, text=True).stdout
    (place / f"{digest[:64]}.part").write_bytes(data[:70_000])
    done = wire.push(bundles["1.2"])
    assert (done.status["version"], done.resumed) == ("1.2", 70_000)
    # What arrived wrong is not continued.
    digest = subprocess.run(["sha256sum", bundles["1.3"]], capture_output=True, text=True).stdout
    (place / f"{digest[:64]}.part").write_bytes(bytes(60_000))
    done = wire.push(bundles["1.3"])
    assert (done.status["version"], done.resumed) == ("1.3", 0)
    assert wire.sent() == []


def test_refusals(wire: Wire, bundles: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wire.push(bundles["1.1"])
    with pytest.raises(InputError, match=r"user@nano: .*signed with another key"):
        wire.push(bundles["theirs"])
    with pytest.raises(InputError, match="user@nano: the bundle is not signed"):
        wire.push(bundles["unsigned"])
    monkeypatch.setenv("TVMKD_MACHINE", "armv7l")
    with pytest.raises(InputError, match="is for x86_64 and user@nano is armv7l"):
        wire.push(bundles["1.2"])
    monkeypatch.delenv("TVMKD_MACHINE")
    monkeypatch.setenv("SSH_SAYS", "user@nano: Permission denied (publickey).")
    with pytest.raises(MissingError, match=r"user@nano: .*Permission denied"):
        wire.push(bundles["1.2"])


def test_a_server_that_does_not_start(wire: Wire, bundles: Mapping[str, Path]) -> None:
    wire.push(bundles["1.1"])
    state = wire.machine.with_systemd()
    wire.export()
    (state / "broken").write_text("1.2")
    with pytest.raises(GateFailure, match=r"user@nano: the server of sample 1\.2 does not start"):
        wire.push(bundles["1.2"])
    assert wire.machine.status()["version"] == "1.1"


def test_a_version_that_still_runs_is_told(wire: Wire, bundles: Mapping[str, Path]) -> None:
    state = wire.machine.with_systemd()
    wire.export()
    wire.push(bundles["1.1"])
    program = wire.machine.root / "sample/versions/1.1/bin/sleep"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        (state / "pid").write_text(str(process.pid))
        with pytest.raises(GateFailure, match=r"1\.1 still runs there, not 1\.2"):
            wire.push(bundles["1.2"])
        process.kill()


class Canned(Remote):
    """A board whose probe has a fixed answer; it records every installation."""

    answer = ""

    def __init__(self) -> None:
        super().__init__("user@nano")
        self.scripts: list[str] = []

    def run(self, script: str, stdin: bytes = b"") -> str:
        del stdin
        if "status" in script:
            return "name=sample\nversion=1.0\nfolder=/opt/tvmkd/sample/versions/1.0\n"
        return self.answer

    def stream(self, script: str, show: Callable[[str], None]) -> tuple[int, str]:
        del show
        self.scripts.append(script)
        return 0, ""


def test_a_folder_that_only_root_may_write() -> None:
    remote = Canned()
    remote.answer = "place=/home/user\nmachine=aarch64\ninstaller=yes\n"
    with pytest.raises(
        MissingError, match="/opt/tvmkd cannot be written and sudo wants a password"
    ):
        push.Board(remote, push.Options())
    remote.answer += "sudo=yes\n"
    assert push.Board(remote, push.Options()).rollback("sample", print).status["version"] == "1.0"
    assert remote.scripts[0].startswith("sudo -n sh /opt/tvmkd/bin/install.sh rollback sample")
    with pytest.raises(MissingError, match="sudo wants a password"):
        push.Board(remote, push.Options(sudo=False))


@pytest.mark.board
def test_an_emulated_nano_from_push_to_rollback(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The aarch64 programs under QEMU: verified, tested, switched, served, asked, rolled back."""
    reason = emulate.why_not()
    if reason is not None:
        pytest.skip(reason)
    nano = targets.load("jetson-nano")
    key = signing.secret_key(keys / "ours.key", lambda _: "")
    options = toy.bundle.Options(key=key, power="max")
    outs = [tmp_path / f"sample-1.{version}.tar.gz" for version in (1, 2)]
    for version, out in enumerate(outs, 1):
        folder = toy.artifact_folder(tmp_path / str(version), nano, version)
        assert toy.make(folder, out, options).emulated
    machine = Machine(tmp_path)
    qemu = [emulate.QEMU, "-cpu", "cortex-a57", "-L", str(emulate.SYSTEM)]
    machine.environment |= {"TVMKD_MACHINE": "aarch64", "TVMKD_EMULATOR": " ".join(qemu)}
    wire = Wire(tmp_path, machine, monkeypatch)
    assert wire.push(outs[0], pubkey=keys / "ours.pub").status["version"] == "1.1"
    assert any("signature: sample 1.1" in line for line in wire.shown)
    assert any("2 outputs as recorded" in line for line in wire.shown)
    current = machine.root / "sample/current"
    server = [*qemu, str(current / "bin/tvmkd-server"), str(current / "lib/libsample.so")]
    assert wire.push(outs[1]).status["version"] == "1.2"
    with asking.served(server) as url:
        assert asking.infer(url, "sample", [1, 2, 3, 4]) == [4, 6, 8, 10]
    assert wire.board().rollback("sample", print).status["version"] == "1.1"
    with asking.served(server) as url:
        assert asking.infer(url, "sample", [1, 2, 3, 4]) == [3, 5, 7, 9]
