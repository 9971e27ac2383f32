"""install.sh as a board runs it."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import asking
import pytest
from board_machine import Board, problem

Bundles = Mapping[str, Path]
BUSYBOX = shutil.which("busybox")


def _repacked(
    bundle: Path, out: Path, changed: Mapping[str, bytes], *, sums: bool, signed: bool = True
) -> Path:
    """The bundle with files replaced, with or without its checksums made again."""
    with tarfile.open(bundle) as old:
        files = {member.name: old.extractfile(member) for member in old if member.isreg()}
        content = {name.split("/", 1)[1]: stream.read() for name, stream in files.items() if stream}
    top = next(iter(files)).split("/")[0]
    content |= changed
    if not signed:
        del content["SHA256SUMS.minisig"]
    if sums:
        named = sorted(set(content) - {"SHA256SUMS", "SHA256SUMS.minisig"})
        lines = [f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in named]
        content["SHA256SUMS"] = "".join(lines).encode()
    with tarfile.open(out, "w:gz") as new:
        for name, data in content.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mode = len(data), 0o755
            new.addfile(member, io.BytesIO(data))
    return out


@pytest.fixture(params=["sh", "busybox"])
def any_board(request: pytest.FixtureRequest, tmp_path: Path) -> Board:
    """A board with this machine's tools, and one that has nothing but busybox."""
    if request.param == "sh":
        return Board(tmp_path)
    if BUSYBOX is None:
        pytest.skip("no busybox: apt-get install busybox-static")
    tools = tmp_path / "tools"
    tools.mkdir()
    subprocess.run([BUSYBOX, "--install", "-s", str(tools)], check=True)
    return Board(tmp_path, (BUSYBOX, "sh"), tools)


def test_install_update_roll_back_uninstall(any_board: Board, bundles: Bundles) -> None:
    board = any_board
    done = board.install(bundles["1.1"])
    assert done.returncode == 0, done.stderr
    assert "self-test: sample: 2 outputs as recorded" in done.stdout
    assert "the bundle's own key and verifier are trusted" in done.stdout
    again = board.install(bundles["1.1"])
    assert "is there already and undamaged" in again.stdout

    # An archive, checked by the installer and the key that the first one left.
    done = board.install(bundles["1.2"])
    assert done.returncode == 0, done.stderr
    assert "trusted" not in done.stdout
    status = board.status()
    assert (status["version"], status["before"], status["kept"]) == ("1.2", "1.1", "1.1 1.2")
    assert os.readlink(board.root / "sample/current") == "versions/1.2"
    answer = subprocess.run(
        [
            board.root / "sample/current/bin/tvmkd-run",
            board.root / "sample/current/lib/libsample.so",
            "--describe",
        ],
        capture_output=True,
        text=True,
    )
    assert "counts" in answer.stdout

    done = board.own("rollback")
    assert done.returncode == 0
    assert "went back from sample 1.2 to 1.1" in done.stdout
    assert board.status()["version"] == "1.1"
    done = board.own("rollback")
    assert done.returncode == 4
    assert "no version from before 1.1" in problem(done)
    assert board.own("self-test", "sample").returncode == 0

    assert board.own("uninstall").returncode == 0
    assert not (board.root / "sample").exists()
    assert board.own("status").returncode == 4
    assert board.leftovers() == []


def test_a_pinned_board_refuses_others(board: Board, bundles: Bundles, tmp_path: Path) -> None:
    assert board.install(bundles["1.1"]).returncode == 0
    for name, says in (("unsigned", "is not signed"), ("theirs", "signed with another key")):
        done = board.install(bundles[name])
        assert done.returncode == 4
        assert says in problem(done)
        # Its own installer is no way around that.
        done = board.sh(board.unpacked(bundles[name]) / "install.sh")
        assert done.returncode == 4
        assert says in problem(done)
    forged = _repacked(bundles["1.2"], tmp_path / "f.tar.gz", {"model.json": b"{}"}, sums=True)
    done = board.install(forged)
    assert done.returncode == 4
    assert "signature is not right" in problem(done)
    assert board.status()["version"] == "1.1"
    assert board.leftovers() == []


def test_a_bundle_cannot_bring_its_own_verifier(
    board: Board, bundles: Bundles, tmp_path: Path
) -> None:
    assert board.install(bundles["1.1"]).returncode == 0
    changed = {"bin/tvmkd-tool": b"#!/bin/sh\nexit 0\n", "model.json": b"{}"}
    done = board.install(_repacked(bundles["1.2"], tmp_path / "f.tar.gz", changed, sums=True))
    assert done.returncode == 4
    assert "does not have the signature that goes with it" in problem(done)
    assert board.status()["version"] == "1.1"


def test_the_first_installation_with_a_key(board: Board, bundles: Bundles, keys: Path) -> None:
    done = board.install(bundles["1.1"], "--pubkey", keys / "theirs.pub")
    assert done.returncode == 4
    assert "another key" in problem(done)
    done = board.install(bundles["unsigned"], "--pubkey", keys / "ours.pub")
    assert done.returncode == 4
    assert "wants a signed one" in problem(done)
    # As on a board: programs are started without anything before them, and the disk is synced.
    done = board.install(bundles["1.1"], "--pubkey", keys / "ours.pub", TVMKD_EMULATOR="")
    assert done.returncode == 0, done.stderr
    assert (board.root / "trust/publisher.pub").read_bytes() == (keys / "ours.pub").read_bytes()
    # Whoever is root on the board decides about the key.
    done = board.own("trust", str(keys / "theirs.key"))
    assert done.returncode == 4
    assert "is no public key" in problem(done)
    assert board.own("trust", str(keys / "theirs.pub")).returncode == 0
    assert board.install(bundles["theirs"]).returncode == 0
    assert board.status()["version"] == "1.9"


def test_an_unsigned_bundle_pins_nothing(board: Board, bundles: Bundles) -> None:
    done = board.install(bundles["unsigned"])
    assert done.returncode == 0
    assert "the bundle is not signed" in done.stdout
    assert not (board.root / "trust/publisher.pub").exists()
    assert board.install(bundles["1.1"]).returncode == 0


@pytest.mark.parametrize(
    "name",
    ["lib/libsample.so", "install.sh", "BUNDLE", "self-test/outputs/y.npy", "bin/tvmkd-tool"],
)
def test_one_changed_byte_is_refused(board: Board, bundles: Bundles, name: str) -> None:
    folder = board.unpacked(bundles["unsigned"])
    installer = shutil.copy(folder / "install.sh", board.folder / "install.sh")
    path = folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = board.sh(Path(installer), folder)
    assert done.returncode == 4
    assert f"{name} does not have its checksum" in problem(done)
    assert not (board.root / "sample").exists()
    assert board.leftovers() == []


def test_a_damaged_archive_is_refused(board: Board, bundles: Bundles, tmp_path: Path) -> None:
    assert board.install(bundles["1.1"]).returncode == 0
    data = bytearray(bundles["1.2"].read_bytes())
    data[-8] ^= 0xFF  # of gzip's sum: bits in the middle may mean the same content
    for content in (data, data[: len(data) // 3], b"no archive"):
        (tmp_path / "x.tar.gz").write_bytes(content)
        done = board.install(tmp_path / "x.tar.gz")
        assert done.returncode == 4, done.stdout
        problem(done)
    assert board.leftovers() == []
    assert board.status()["version"] == "1.1"


def test_added_and_missing_files_are_refused(board: Board, bundles: Bundles) -> None:
    folder = board.unpacked(bundles["unsigned"])
    (folder / "lib/extra.so").write_bytes(b"x")
    done = board.sh(folder / "install.sh")
    assert done.returncode == 4
    assert "not those that its checksums list" in problem(done)
    (folder / "lib/extra.so").unlink()
    (folder / "lib/link.so").symlink_to("/etc/passwd")
    done = board.sh(folder / "install.sh")
    assert done.returncode == 4
    assert "a link or a device" in problem(done)
    (folder / "lib/link.so").unlink()
    (folder / "model.json").unlink()
    done = board.sh(folder / "install.sh")
    assert done.returncode == 4
    assert "model.json does not have its checksum" in problem(done)


def test_archives_that_lead_out_are_refused(board: Board, bundles: Bundles, tmp_path: Path) -> None:
    assert board.install(bundles["1.1"]).returncode == 0
    for name, link in (("../evil", ""), ("/tmp/evil", ""), ("s/x", "/etc"), ("s/../../x", "")):
        with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
        done = board.install(tmp_path / "evil.tar.gz")
        assert done.returncode == 4, done.stdout
        assert "a link" in problem(done) if link else "lead out" in problem(done)
    assert board.leftovers() == []


def test_another_architecture_and_an_older_system(board: Board, bundles: Bundles) -> None:
    done = board.install(bundles["1.1"], TVMKD_MACHINE="riscv64")
    assert done.returncode == 4
    assert "this machine is riscv64" in problem(done)
    old = board.folder / "old"
    old.mkdir()
    (old / "getconf").write_text("#!/bin/sh\necho glibc 2.17\n")
    (old / "getconf").chmod(0o755)
    path = f"{old}:{os.environ['PATH']}"
    done = board.install(bundles["1.1"], PATH=path, TVMKD_EMULATOR="")
    assert done.returncode == 4
    assert "needs glibc 2.28 and this machine has 2.17" in problem(done)
    assert board.leftovers() == []


def test_a_library_that_gives_something_else(
    board: Board, bundles: Bundles, tmp_path: Path
) -> None:
    assert board.install(bundles["unsigned"]).returncode == 0
    library = (board.unpacked(bundles["1.3"]) / "lib/libsample.so").read_bytes()
    fields = (board.unpacked(bundles["unsigned"]) / "BUNDLE").read_bytes().replace(b"1.8", b"2.0")
    wrong = {"lib/libsample.so": library, "BUNDLE": fields}
    done = board.install(_repacked(bundles["unsigned"], tmp_path / "w.tar.gz", wrong, sums=True))
    assert done.returncode == 1
    assert "self-test of sample 2.0 failed" in problem(done)
    assert "differs" in problem(done)
    assert board.status()["version"] == "1.8"
    assert board.leftovers() == []


def test_the_same_version_with_other_contents(
    board: Board, bundles: Bundles, tmp_path: Path
) -> None:
    assert board.install(bundles["unsigned"]).returncode == 0
    other = _repacked(bundles["unsigned"], tmp_path / "o.tar.gz", {"model.json": b"{}"}, sums=True)
    done = board.install(other)
    assert done.returncode == 4
    assert "give this bundle another version" in problem(done)


def test_a_damaged_version_is_repaired(board: Board, bundles: Bundles) -> None:
    assert board.install(bundles["1.1"]).returncode == 0
    (board.root / "sample/current/lib/libsample.so").write_bytes(b"damaged")
    assert board.own("self-test").returncode == 4
    done = board.install(bundles["1.1"])
    assert done.returncode == 0, done.stderr
    assert board.own("self-test").returncode == 0
    assert board.status()["version"] == "1.1"
    assert os.readlink(board.root / "sample/current") == "versions/1.1+2"


def test_a_damaged_earlier_version_is_not_gone_back_to(board: Board, bundles: Bundles) -> None:
    for version in ("1.1", "1.2"):
        assert board.install(bundles[version]).returncode == 0
    (board.root / "sample/versions/1.1/lib/libsample.so").write_bytes(b"damaged")
    done = board.own("rollback")
    assert done.returncode == 4
    assert "1.1 is damaged: stayed with 1.2" in done.stderr
    assert board.status()["version"] == "1.2"


def test_a_cpu_that_the_library_refuses(board: Board, bundles: Bundles) -> None:
    done = board.install(bundles["1.1"], SAMPLE_REFUSES="1")
    assert done.returncode == 1
    assert "this CPU lacks instructions" in problem(done)
    for version in ("1.1", "1.2"):
        assert board.install(bundles[version]).returncode == 0
    done = board.own("rollback", SAMPLE_REFUSES="1")
    assert done.returncode == 1
    assert "the self-test of sample 1.1 failed" in problem(done)
    assert board.status()["version"] == "1.2"


def test_old_versions_are_removed(board: Board, bundles: Bundles) -> None:
    for version in ("1.1", "1.2"):
        assert board.install(bundles[version]).returncode == 0
    done = board.install(bundles["1.3"], "--keep", "2")
    assert "removed sample 1.1" in done.stdout
    assert board.status()["kept"] == "1.2 1.3"
    assert board.own("rollback").returncode == 0
    assert board.own("rollback").returncode == 4


def test_a_service_that_does_not_start_is_taken_back(board: Board, bundles: Bundles) -> None:
    state = board.with_systemd()
    done = board.install(bundles["1.1"])
    assert "tvmkd-sample.service is ready" in done.stdout, done.stderr
    unit = (board.folder / "units/tvmkd-sample.service").read_text()
    now = f"{board.root}/sample/current"
    server = f"{now}/bin/tvmkd-server {now}/lib/libsample.so --name sample $TVMKD_SERVE"
    assert f"ExecStart={server}\n" in unit
    assert "--host 127.0.0.1" in unit
    # Otherwise systemd ends the instances, and with them what was accepted.
    assert "\nKillMode=mixed\n" in unit
    stop_s = int(unit.partition("\nTimeoutStopSec=")[2].split()[0])
    assert stop_s > 30, "tvmkd-server takes so long for what was accepted"
    assert "@" not in unit
    calls = (state / "calls").read_text().splitlines()
    wanted = ["daemon-reload", "enable tvmkd-sample.service", "restart tvmkd-sample.service"]
    assert calls[:3] == wanted
    (state / "broken").write_text("1.2")
    done = board.install(bundles["1.2"])
    assert done.returncode == 1
    assert "went back to 1.1" in problem(done)
    assert board.status()["version"] == "1.1"
    assert (state / "calls").read_text().splitlines()[-3].startswith("restart")
    assert board.own("uninstall").returncode == 0
    assert not (board.folder / "units/tvmkd-sample.service").exists()
    assert "disable --now tvmkd-sample.service" in (state / "calls").read_text()


def test_the_service_serves_the_new_version(board: Board, bundles: Bundles, tmp_path: Path) -> None:
    """The server that systemd starts is asked before and after; one that never answers is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    state = board.with_systemd(real=True)
    (board.root / "sample").mkdir(parents=True)
    (board.root / "sample/server.env").write_text(f"TVMKD_SERVE=--http-port {url.split(':')[2]}\n")
    try:
        for version, added in (("1.1", 1), ("1.2", 2)):
            done = board.install(bundles[version])
            assert done.returncode == 0, done.stderr
            assert "tvmkd-sample.service is ready" in done.stdout
            assert asking.infer(url, "sample", [1, 2, 3, 4]) == [x + added for x in (2, 4, 6, 8)]
            assert board.status()["running"] == version
        (board.root / "trust/publisher.pub").unlink()
        for number, program in enumerate(
            (b"exit 1", b"[ $1 = --health ] && exit 1; exec sleep 60")
        ):
            fields = (board.unpacked(bundles["1.3"]) / "BUNDLE").read_bytes()
            changed = {
                "bin/tvmkd-server": b"#!/bin/sh\n" + program + b"\n",
                "BUNDLE": fields.replace(b"version=1.3", b"version=2.%d" % number),
            }
            out = tmp_path / f"{number}.tar.gz"
            bad = _repacked(bundles["1.3"], out, changed, sums=True, signed=False)
            done = board.install(bad, TVMKD_SETTLE="2")
            assert done.returncode == 1
            assert "went back to 1.2" in problem(done)
            assert asking.infer(url, "sample", [1, 2, 3, 4]) == [4, 6, 8, 10]
        assert board.own("rollback").returncode == 0
        assert asking.infer(url, "sample", [1, 2, 3, 4]) == [3, 5, 7, 9]
        assert board.own("uninstall").returncode == 0
        with pytest.raises(OSError, match=r"refused|reset"):
            asking.infer(url, "sample", [1, 2, 3, 4])
    finally:
        if (state / "pid").exists():
            os.kill(int((state / "pid").read_text()), signal.SIGTERM)


@pytest.mark.parametrize("program", ["tvmkd-server", "serve.py"])
def test_the_servers_of_a_bundle_answer(board: Board, bundles: Bundles, program: str) -> None:
    assert board.install(bundles["1.2"]).returncode == 0
    now = board.root / "sample/current"
    start = [sys.executable] if program.endswith(".py") else []
    command = [*start, str(now / "bin" / program), str(now / "lib/libsample.so")]
    with asking.served([*command, "--name", "sample"]) as url:
        assert asking.infer(url, "sample", [1, 2, 3, 4]) == [4, 6, 8, 10]


def test_status_tells_what_runs(board: Board, bundles: Bundles) -> None:
    state = board.with_systemd()
    assert board.install(bundles["1.1"]).returncode == 0
    program = board.root / "sample/versions/1.1/bin/sleep"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        (state / "pid").write_text(str(process.pid))
        assert board.status()["running"] == "1.1"
        process.kill()


def test_two_installations_at_once(board: Board, bundles: Bundles) -> None:
    assert board.install(bundles["1.1"]).returncode == 0
    with (board.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = board.install(bundles["1.2"])
        assert done.returncode == 4
        assert "another installation is running" in problem(done)
    assert board.install(bundles["1.3"]).returncode == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--keep", "1"), "--keep 1"),
        (("--keep", "many"), "--keep many"),
        (("--nope",), "no such option"),
        (("--pubkey",), "wants a value"),
        (("--root", "a b"), "plain letters"),
    ],
)
def test_wrong_usage(board: Board, bundles: Bundles, given: tuple[str, ...], says: str) -> None:
    script = board.unpacked(bundles["1.1"]) / "install.sh"
    done = subprocess.run(
        ["sh", script, *given], capture_output=True, text=True, env=board.environment
    )
    assert done.returncode == 2
    assert says in problem(done)


def test_a_full_disk(tmp_path: Path, bundles: Bundles) -> None:
    """Not enough space by df, and a disk that fills although df says otherwise."""
    board = Board(tmp_path)
    board.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(board.root)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here: it takes root")
    try:
        assert board.install(bundles["1.1"]).returncode == 4
        done = board.install(bundles["1.1"])
        assert "are needed and" in problem(done)
        lying = tmp_path / "lying"
        lying.mkdir()
        (lying / "df").write_text("#!/bin/sh\necho\necho x 1 1 99999999 1% /\n")
        (lying / "df").chmod(0o755)
        path = f"{lying}:{os.environ['PATH']}"
        fits = 0
        for version in ("1.1", "1.2", "1.3"):
            done = board.install(bundles[version], PATH=path)
            if done.returncode == 0:
                fits += 1
                continue
            assert done.returncode == 4
            assert "is the disk full?" in done.stderr
        assert 0 < fits < 3
        # What was installed before works, and nothing half-written takes its space.
        assert board.own("self-test").returncode == 0
        assert board.leftovers() == []
    finally:
        subprocess.run(["umount", str(board.root)], check=True)


def test_bundles_are_compressed_without_names_and_times(bundles: Bundles) -> None:
    data = bundles["1.1"].read_bytes()
    assert data[3] == 0
    assert data[4:8] == bytes(4)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")


def test_the_command_that_starts_it_is_the_units(any_board: Board, bundles: Bundles) -> None:
    """Without systemd it has to call the model as the unit does, whatever the library's name is."""
    done = any_board.install(bundles["1.1"])
    assert done.returncode == 0, done.stderr
    now = f"{any_board.root}/sample/current"
    line = next(line for line in done.stdout.splitlines() if "no service" in line)
    command = line.partition("start it with: ")[2]
    assert command == f"{now}/bin/tvmkd-server {now}/lib/libsample.so --name sample"
