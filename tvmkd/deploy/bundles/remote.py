"""Commands on a board over ssh: run, with a file sent to them, or line by line."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tvmkd.base import ssh
from tvmkd.base.errors import MissingError

QUICK_SECONDS = 120.0
CHUNK = 1 << 18


class Remote:
    """A board's shell. Each call is a connection of its own.

    Args:
        destination: ``USER@HOST``.
    """

    def __init__(self, destination: str) -> None:
        self.destination = ssh.check_destination(destination)

    def run(self, script: str, stdin: bytes = b"") -> str:
        """Runs a script and returns what it prints.

        Raises:
            MissingError: the board cannot be reached, or the script fails.
        """
        command = ssh.command(self.destination, script)
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, timeout=QUICK_SECONDS, env=_environment()
            )
        except subprocess.TimeoutExpired:
            raise MissingError(
                f"{self.destination}: no answer in {QUICK_SECONDS:.0f} s; is the board busy?"
            ) from None
        if done.returncode:
            raise MissingError(f"{self.destination}: {_last(done.stderr, done.returncode)}")
        return done.stdout.decode("utf-8", "replace")

    def send(self, script: str, path: Path, start: int) -> bool:
        """Runs a script with a file from byte ``start`` on as its input.

        Returns:
            False if the connection ended before the end.

        Raises:
            MissingError: the script failed: the board's disk is full, for example.
        """
        with (
            path.open("rb") as source,
            subprocess.Popen(
                ssh.command(self.destination, script),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stderr is not None
            source.seek(start)
            try:
                while chunk := source.read(CHUNK):
                    process.stdin.write(chunk)
                process.stdin.close()
            except BrokenPipeError:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            said = process.stderr.read()
        if process.returncode not in (0, ssh.FAILED):
            raise MissingError(f"{self.destination}: {_last(said, process.returncode)}")
        return process.returncode == 0

    def stream(self, script: str, show: Callable[[str], None]) -> tuple[int, str]:
        """Runs a script and gives each line that it prints to ``show`` as it comes.

        Returns:
            its exit code and its last line.

        Raises:
            MissingError: the connection ended.
        """
        last = ""
        with subprocess.Popen(
            ssh.command(self.destination, script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.rstrip()
                show(last)
        if process.returncode == ssh.FAILED:
            raise MissingError(
                f"{self.destination}: {last or 'the connection ended'}; what ran there before runs "
                "on: run the same command again"
            )
        return process.returncode, last


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def _last(said: bytes, code: int) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else f"ended with code {code}"
