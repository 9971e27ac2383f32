"""A stand-in for ssh that runs everything on this machine, and the board behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from board_machine import Board as Machine

from tvmkd.deploy.bundles import push
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
