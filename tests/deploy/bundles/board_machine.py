"""A board for tests: a root folder on this machine, and the installer run as a board would."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

# As above, but it starts what the unit says.
REAL_SYSTEMCTL = """#!/bin/sh
unit=$TVMKD_UNITS/tvmkd-sample.service
case $1 in
  restart | disable)
    [ ! -e "$FAKE_SYSTEMD/pid" ] || kill "$(cat "$FAKE_SYSTEMD/pid")" 2>/dev/null
    rm -f "$FAKE_SYSTEMD/pid"
    [ "$1" = restart ] || exit 0
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    TVMKD_SERVE=$(sed -n 's/^TVMKD_SERVE=//p' "$FAKE_HOME/server.env")
    setsid $(eval "echo $command") >/dev/null 2>&1 </dev/null 9>&- &
    echo $! > "$FAKE_SYSTEMD/pid"
    ;;
  is-active) kill -0 "$(cat "$FAKE_SYSTEMD/pid")" 2>/dev/null ;;
  show) echo "MainPID=$(cat "$FAKE_SYSTEMD/pid" 2>/dev/null || echo 0)" ;;
esac
"""

Done = subprocess.CompletedProcess[str]

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$FAKE_SYSTEMD/calls"
case $1 in
  is-active)
    [ ! -e "$FAKE_SYSTEMD/broken" ] && exit
    ! readlink "$FAKE_CURRENT" | grep -q "$(cat "$FAKE_SYSTEMD/broken")"
    ;;
  show) echo MainPID="$(cat "$FAKE_SYSTEMD/pid" 2>/dev/null || echo 0)" ;;
esac
"""


class Board:
    """The folder of one board.

    Args:
        folder: an empty folder.
        shell: the command of the shell; the first word may be ``busybox``.
        tools: a folder that is all of PATH; None: this machine's own tools.
    """

    def __init__(
        self, folder: Path, shell: tuple[str, ...] = ("sh",), tools: Path | None = None
    ) -> None:
        self.root = folder / "root"
        self.folder, self.shell = folder, shell
        # Syncing a file system takes as long as others have written to it.
        starter = folder / "start-program"
        starter.write_text('#!/bin/sh\n[ "$2" = sync ] || exec "$@"\n')
        starter.chmod(0o755)
        self.environment = {
            "PATH": str(tools or os.environ["PATH"]),
            "TVMKD_SYSTEMD_RUN": str(folder / "no-systemd"),
            "TVMKD_UNITS": str(folder / "units"),
            "TVMKD_SETTLE": "0",
            "TVMKD_EMULATOR": str(starter),
        }

    def with_systemd(self, name: str = "sample", *, real: bool = False) -> Path:
        """Gives the board a systemd that only records its commands; returns its folder.

        Args:
            name: the model's.
            real: it starts the server, for as long as it takes to be ready.
        """
        state = self.folder / "systemd"
        for path in (state, self.folder / "units", self.folder / "bin"):
            path.mkdir(exist_ok=True)
        program = self.folder / "bin" / "systemctl"
        program.write_text(REAL_SYSTEMCTL if real else SYSTEMCTL)
        program.chmod(0o755)
        self.environment |= {
            "PATH": f"{self.folder / 'bin'}:{self.environment['PATH']}",
            "TVMKD_SYSTEMD_RUN": str(state),
            "FAKE_SYSTEMD": str(state),
            "FAKE_CURRENT": str(self.root / name / "current"),
            "FAKE_HOME": str(self.root / name),
            "TVMKD_SETTLE": "10" if real else "0",
        }
        return state

    def sh(self, script: Path, *given: str | Path, **env: str) -> Done:
        """Runs an installer with ``--root``; its lines are in ``stdout`` and ``stderr``."""
        command = [*self.shell, str(script), *map(str, given), "--root", str(self.root)]
        return subprocess.run(
            command,
            env={**self.environment, **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            start_new_session=True,
        )

    def install(
        self, bundle: Path, *given: str | Path, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Installs a bundle: by the installer on the board if there is one, else by its own."""
        own = self.root / "bin" / "install.sh"
        if own.exists():
            return self.sh(own, bundle, *given, **env)
        return self.sh(self.unpacked(bundle) / "install.sh", *given, **env)

    def own(self, *given: str, **env: str) -> Done:
        """Runs the installer that is on the board."""
        return self.sh(self.root / "bin" / "install.sh", *given, **env)

    def unpacked(self, bundle: Path) -> Path:
        """The bundle's folder, unpacked as a user would."""
        place = self.folder / "unpacked" / bundle.name
        if not place.exists():
            place.mkdir(parents=True)
            with tarfile.open(bundle) as archive:
                archive.extractall(place, filter="tar")
        (folder,) = place.iterdir()
        return folder

    def status(self) -> Mapping[str, str]:
        """What ``status`` says, by key."""
        done = self.own("status")
        assert done.returncode == 0, done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def leftovers(self) -> list[str]:
        """Files that an interrupted installation left."""
        kinds = (".incoming", ".removed", ".replaced.new", ".current.new", ".new")
        return [
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.name.endswith(kinds) or path.name.endswith(".new")
        ]


def problem(done: Done) -> str:
    """The one line of an error, without the program's name."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tvmkd-install: error: ")
    return lines[0].removeprefix("tvmkd-install: error: ")
