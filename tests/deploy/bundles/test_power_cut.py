"""A power cut at every step of an installation: one version works afterwards, and so does the next.

Every command that changes something is a step. At step N the whole process group is killed, before
the command or, for one that copies or removes many files, in the middle of it. Files that were not
synced by then lose their content, as a file system may after a power cut.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from board_machine import Board

CHANGING = ("cp", "mv", "rm", "mkdir", "chmod", "tar", "systemctl")

# "board" runs a program of the bundle: the one after it. Only those count that change something.
STEP = r"""#!/bin/sh
me=${0##*/} real='REAL'
case "$me $1 $2" in
  "board "*/tvmkd-run*) exec "$@" ;;
  "board "*" verify") exec "$@" ;;
esac
read -r n < "$STEPS/count"
n=$((n + 1))
echo "$n $me $*" >> "$STEPS/log"
echo "$n" > "$STEPS/count"
if [ "$n" = "$KILL_AT" ]; then
  if [ -n "$HALF" ]; then
    case "$me $*" in
      "cp -R"*) "$real" "$@"; half=$STEPS_ROOT/.incoming/bundle ;;
      "rm -rf"*) for half in "$@"; do :; done ;;
      *) half= ;;
    esac
    if [ -n "$half" ] && [ -d "$half" ]; then
      find "$half" -type f | sort | sed -n 'n;p' | while read -r file; do "$RM" -f "$file"; done
    fi
  fi
  kill -9 0
fi
if [ "$me $2" = "board sync" ]; then
  date +%s%N > "$STEPS/synced"
elif [ "$me" = board ]; then
  exec "$@"
else
  exec "$real" "$@"
fi
"""


class Steps:
    """Commands that count themselves, in a folder for the head of PATH."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.board, self.folder = board, folder
        self.killed: list[str] = []
        folder.mkdir()
        for name in CHANGING:
            real = shutil.which(name, path=board.environment["PATH"])
            assert real is not None
            self._write(name, real)
        self._write("board", "")
        removes = shutil.which("rm")
        assert removes is not None
        self._environment = {
            "PATH": f"{folder}:{board.environment['PATH']}",
            "TVMKD_EMULATOR": str(folder / "board"),
            "STEPS": str(folder),
            "STEPS_ROOT": str(board.root),
            "RM": removes,
        }

    def _write(self, name: str, real: str) -> None:
        path = self.folder / name
        path.write_text(STEP.replace("REAL", real))
        path.chmod(0o755)

    def environment(self, kill_at: int, *, half: bool) -> dict[str, str]:
        """For a run that is killed at a step; 0: never."""
        (self.folder / "count").write_text("0\n")
        (self.folder / "log").write_text("")
        (self.folder / "synced").write_text("0\n")
        return {**self._environment, "KILL_AT": str(kill_at), "HALF": "1" if half else ""}

    def log(self) -> list[str]:
        """The steps of the last run."""
        return (self.folder / "log").read_text().splitlines()

    def lose_what_was_not_synced(self, since_ns: int) -> None:
        """Empties the files that were written after the last sync of the last run."""
        synced = max(int((self.folder / "synced").read_text()), since_ns)
        for path in self.board.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_mtime_ns > synced:
                os.truncate(path, 0)


def _fingerprint(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(str(path.relative_to(root)).encode())
        if path.is_symlink():
            digest.update(os.readlink(path).encode())
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _cuts(board: Board, steps: Steps, verb: tuple[str, ...], before: Path) -> Iterator[str]:
    """Runs the command again and again, killed at each step; yields the step.

    ``before`` is the board's state before the command. A step that leaves a state that was seen
    before is left out.
    """
    seen = set()
    for half in (False, True):
        at = 0
        while True:
            at += 1
            shutil.rmtree(board.root, ignore_errors=True)
            shutil.copytree(before, board.root, symlinks=True)
            now = max((path.lstat().st_mtime_ns for path in board.root.rglob("*")), default=0)
            environment = steps.environment(at, half=half)
            done = board.sh(Path(verb[0]), *verb[1:], **environment)
            if done.returncode >= 0:
                assert done.returncode == 0, done.stderr
                break
            steps.killed.append(steps.log()[-1])
            steps.lose_what_was_not_synced(now)
            state = _fingerprint(board.root)
            if state not in seen:
                seen.add(state)
                yield steps.killed[-1]


def _state_before(board: Board, bundles: Mapping[str, Path], versions: tuple[str, ...]) -> Path:
    board.with_systemd()
    for version in versions:
        assert board.install(bundles[version]).returncode == 0
    board.root.mkdir(exist_ok=True)
    before = board.folder / "before"
    shutil.copytree(board.root, before, symlinks=True)
    return before


def _check(board: Board, step: str, works: bool, allowed: tuple[str, ...]) -> None:
    current = board.root / "sample/current"
    if works or current.exists():
        # Its own programs and files, whatever became of the rest.
        done = board.sh(current / "install.sh", "self-test")
        assert done.returncode == 0, f"{step}: {done.stderr}"
        version = next(
            line for line in (current / "BUNDLE").read_text().splitlines() if "version=" in line
        )
        assert version.removeprefix("version=") in allowed, step


@pytest.mark.parametrize("earlier", [(), ("1.1", "1.2")], ids=["first", "update"])
def test_an_installation(
    board: Board, bundles: Mapping[str, Path], tmp_path: Path, earlier: tuple[str, ...]
) -> None:
    before = _state_before(board, bundles, earlier)
    steps = Steps(tmp_path / "steps", board)
    installer = str(board.unpacked(bundles["1.3"]) / "install.sh")
    for step in _cuts(board, steps, (installer, "--keep", "2"), before):
        _check(board, step, bool(earlier), (*earlier[-1:], "1.3"))
        done = board.sh(Path(installer), "--keep", "2")
        assert done.returncode == 0, f"{step}: {done.stderr}"
        status = board.status()
        assert status["version"] == "1.3", step
        assert status["before"] == (earlier[-1] if earlier else ""), step
        assert board.leftovers() == [], step
        _check(board, step, True, ("1.3",))
    # The steps are those that matter: copied, placed, synced, switched, restarted.
    for part in ("cp -R", "mv " + str(board.root), " sync ", " switch ", "systemctl restart"):
        assert any(part in step for step in steps.killed), (part, steps.killed)


def test_going_back(board: Board, bundles: Mapping[str, Path], tmp_path: Path) -> None:
    before = _state_before(board, bundles, ("1.1", "1.2"))
    steps = Steps(tmp_path / "steps", board)
    own = str(board.root / "bin/install.sh")
    for step in _cuts(board, steps, (own, "rollback"), before):
        _check(board, step, True, ("1.1", "1.2"))
        if board.status()["version"] == "1.2":
            assert board.own("rollback").returncode == 0, step
        assert board.status()["version"] == "1.1", step
        assert board.leftovers() == [], step
    assert any(" switch " in step for step in steps.killed)


@pytest.mark.parametrize("syncs", [True, False])
def test_an_installer_without_syncs_would_fail(
    board: Board, bundles: Mapping[str, Path], syncs: bool
) -> None:
    """The model of a power cut notices what it is there for."""
    before = _state_before(board, bundles, ("1.1",))
    start = max(path.lstat().st_mtime_ns for path in before.rglob("*"))
    folder = board.unpacked(bundles["1.2"])
    installer = board.folder / "installer.sh"
    lines = (folder / "install.sh").read_text().splitlines(keepends=True)
    kept = [line for line in lines if syncs or 'tvmkd-tool" sync' not in line]
    assert len(lines) - len(kept) == (0 if syncs else 3)
    installer.write_text("".join(kept))
    steps = Steps(board.folder / "steps", board)
    environment = steps.environment(0, half=False)
    done = board.sh(installer, folder, **environment)
    assert done.returncode == 0, done.stderr
    assert board.status()["version"] == "1.2"
    steps.lose_what_was_not_synced(start)
    done = board.sh(board.root / "sample/versions/1.1/install.sh", "self-test", "sample")
    assert (done.returncode == 0) == syncs
