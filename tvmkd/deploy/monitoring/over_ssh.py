"""Reads a board's state over ssh, with a shell and nothing else on the board."""

from __future__ import annotations

import subprocess
from typing import Any

from tvmkd.base import ssh
from tvmkd.boards import facts
from tvmkd.boards.sysfs import Listing

SECONDS = 10.0
MOST_BYTES = 4 << 20
BEGIN, END = "\1", "\2"
# The folder is empty but in tests; see tvmkd.boards.telemetry.ROOT. A file is read whole: sysfs
# gives a value at once, and /proc/device-tree/model has no end of line.
SCRIPT = (
    'R=${TVMKD_BOARD_ROOT:-}; for f in %s; do if [ -f "$f" ] && [ -r "$f" ]; then '
    'printf "\\001%%s\\002" "${f#$R}"; cat "$f" 2>/dev/null; fi; done; true'
)


class Unanswered(Exception):
    """A board gave no answer; the message says why, in a few words."""


def script() -> str:
    """The command for the board's shell."""
    return SCRIPT % " ".join(f'"$R"{pattern}' for pattern in facts.READS)


def ask(destination: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The facts that a board's files tell: `tvmkd.boards.facts.of_files`; arguments as `files`."""
    return facts.of_files(files(destination, seconds))


def files(destination: str, seconds: float = SECONDS) -> Listing:
    """The files of a board that tell its facts and its state.

    Args:
        destination: ``USER@HOST``; keys and ports come from the user's SSH configuration.

    Raises:
        UsageError: it can be no destination.
        MissingError: ssh is not installed.
        Unanswered: it cannot be reached, or does not answer in time.
    """
    command = ssh.command(destination, script(), "-o", f"ConnectTimeout={max(1, int(seconds))}")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise Unanswered(f"does not answer in {seconds:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unanswered(said[-1].strip() if said else f"ssh ended with {done.returncode}")
    return Listing(listed(done.stdout[:MOST_BYTES].decode("utf-8", "replace")))


def listed(text: str) -> dict[str, str]:
    """The files that the script has printed, by their paths."""
    parts = (part.partition(END) for part in text.split(BEGIN)[1:])
    return {path: content for path, _, content in parts}
