"""How boards are reached by ssh: keys and ports come from the user's own configuration."""

from __future__ import annotations

import shlex
import shutil

from tvmkd.base.errors import MissingError, UsageError

FAILED = 255
"""The exit code of ssh itself, when it cannot connect or the connection ends."""


def check_destination(text: str) -> str:
    """Returns ``text`` if it can be a destination of ssh, ``USER@HOST``.

    Raises:
        UsageError: it cannot.
    """
    if not text or text.startswith("-") or any(letter.isspace() for letter in text):
        raise UsageError(f"{text}: give USER@HOST; ports and keys go into ~/.ssh/config")
    return text


def command(destination: str, script: str, *options: str) -> list[str]:
    """The command line that runs ``script`` on a board without asking anything.

    Args:
        destination: ``USER@HOST``.
        script: for the board's ``sh``, whatever the user's login shell is.
        options: more options of ssh.

    Raises:
        UsageError: no destination.
        MissingError: ssh is not installed.
    """
    check_destination(destination)
    if shutil.which("ssh") is None:
        raise MissingError("ssh is not installed: sudo apt-get install openssh-client")
    # A connection that gives no sign of life for 15 seconds has ended.
    alive = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    return ["ssh", "-T", *alive, *options, "--", destination, f"exec sh -c {shlex.quote(script)}"]
