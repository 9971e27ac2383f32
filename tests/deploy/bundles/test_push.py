"""Bundles sent to a board over ssh: a stand-in for ssh that runs everything on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import asking
import pytest
import toy
from board_machine import Board as Machine

from tvmkd import targets
from tvmkd.base.errors import GateFailure, InputError, MissingError
from tvmkd.boards import emulate
from tvmkd.deploy.bundles import push, signing
from tvmkd.deploy.bundles.remote import Remote
from tvmkd.deploy.bundles.verify import verify

SSH = """#!/bin/bash
# The last argument is the command. $FAKE_SSH/cut holds after how many bytes of input it breaks off.
if [ -n "$SSH_SAYS" ]; then echo "$SSH_SAYS" >&2; exit 255; fi
for command; do :; done
echo "$command" >> "$FAKE_SSH/commands"
cd "$HOME" || exit
case "$command" in
  *"cat >>"*)
    wc -c < /dev/null
    if read -r bytes < "$FAKE_SSH/cut" 2>/dev/null; then
      rm "$FAKE_SSH/cut"
      head -c "$bytes" | bash -c "$command"
      exit 255
    fi
    bash -c "$command"
    exit
    ;;
esac
exec bash -c "$command"
"""


class Wire:
    """The stand-in and the board behind it."""

    def __init__(self, folder: Path, machine: Machine, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.machine = folder / "ssh", machine
        self.home = folder / "home"
        self.home.mkdir()
        self.folder.mkdir()
        program = self.folder / "ssh"
        program.write_text(SSH)
        program.chmod(0o755)
        self.patch = patch
        self.export()
        patch.setenv("FAKE_SSH", str(self.folder))
        patch.setenv("HOME", str(self.home))
        patch.delenv("XDG_CACHE_HOME", raising=False)
        self.shown: list[str] = []

    def export(self) -> None:
        """The machine's environment is that of every ssh session."""
        for key, value in self.machine.environment.items():
            self.patch.setenv(key, value)
        self.patch.setenv("PATH", f"{self.folder}:{self.machine.environment['PATH']}")

    def board(self, **options: object) -> push.Board:
        return push.Board(
            Remote("user@nano"),
            push.Options(root=str(self.machine.root), **options),  # type: ignore[arg-type]
        )

    def push(self, bundle: Path, **options: object) -> push.Installed:
        return self.board(**options).install(
            bundle, verify(bundle), lambda _: None, self.shown.append
        )

    def cut(self, size: int) -> None:
        (self.folder / "cut").write_text(f"{size}\n")

    def sent(self) -> list[Path]:
        return sorted((self.home / ".cache/tvmkd/push").iterdir())


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundles: Mapping[str, Path]) -> Wire:
    return Wire(tmp_path, Machine(tmp_path), monkeypatch)


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
    """A board whose probe has a fixed answer, and that notes what it is told to install."""

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


def test_the_command(wire: Wire, bundles: Mapping[str, Path], keys: Path) -> None:
    command = [sys.executable, "-m", "tvmkd", "deploy", "push", "user@nano"]
    command += ["--root", str(wire.machine.root)]
    done = subprocess.run(
        [*command, bundles["1.1"], "--pubkey", keys / "ours.pub"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"user@nano: sample 1.1 in {wire.machine.root}/sample/versions/1.1"
    assert lines[1] == "user@nano: no service runs"
    assert "tvmkd-install: self-test: sample: 2 outputs as recorded" in done.stderr
    done = subprocess.run(
        [*command, bundles["1.2"], "--pubkey", keys / "theirs.pub"], capture_output=True, text=True
    )
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("tvmkd: error: ")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2


def test_the_command_with_an_artifact(
    wire: Wire, artifacts: Mapping[int, Path], keys: Path
) -> None:
    command = [sys.executable, "-m", "tvmkd", "deploy", "push", "user@nano", "--json"]
    command += ["--root", str(wire.machine.root)]
    key = ["--sign", str(keys / "ours.key"), "--pubkey", str(keys / "ours.pub")]
    done = subprocess.run([*command, artifacts[1], *key], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["name"], found["version"]) == ("sample", "2026.11.29.06.00.00")
    given = [artifacts[2], *key, "--version", "2.0"]
    assert subprocess.run([*command, *given], capture_output=True).returncode == 0
    done = subprocess.run([*command, "--rollback"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == "2026.11.29.06.00.00"
    assert "went back from sample 2.0 to 2026.11.29.06.00.00" in done.stderr
