"""Installs packages into this Python's environment, and shows one line of progress.

    .venv/bin/python scripts/install.py LOG ARGUMENTS...

The arguments are those of ``pip install``. They are given to uv, which takes half of pip's time and
a fifth of its CPU; with pip's indexes, constraints and certificates. If uv cannot be had, or fails,
pip installs. The output goes to the log.

On a terminal the line is redrawn with the elapsed time; elsewhere each phase is one line, and a
phase that takes long repeats its line every half a minute. If the installation fails, the end of
the log is printed. Needs the standard library only: nothing is installed yet.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

TAIL = 25  # lines of the log that are printed after a failure
REDRAW = 0.2  # seconds between two updates on a terminal
REPEAT = 30.0  # seconds after which a line is printed again elsewhere
_UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}  # pip's
_UNITS |= {"B": 1e-6, "KiB": 2**10 / 1e6, "MiB": 2**20 / 1e6, "GiB": 2**30 / 1e6}  # uv's
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install")
# uv reads no configuration of pip: what a variable of uv's is called, and what joins its values.
_SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
_COLLECTING = re.compile(r"Collecting ([A-Za-z0-9._-]+)")
_DOWNLOADING = re.compile(r"Downloading (\S+) \(([\d.]+) ?(bytes|[kMG]B|B|[KMG]iB)\)")
_PREPARED = re.compile(r"Prepared (\d+) packages?")
_INSTALLING = re.compile(r"Installing collected packages: (.*)")


class Progress:
    """What pip or uv is doing, from its lines.

    Attributes:
        phase: "resolving", "downloading", "building" or "installing N packages".
        packages: names of the packages that are needed.
        megabytes: size of the downloads that have been started.
    """

    def __init__(self) -> None:
        self.phase = "resolving"
        self.packages: set[str] = set()
        self.megabytes = 0.0

    def read(self, line: str) -> None:
        """Takes one line of the output into account; unknown lines change nothing."""
        line = line.strip()
        if found := _COLLECTING.match(line):
            self.packages.add(found[1].lower())
        elif found := _DOWNLOADING.match(line):
            self.phase = "downloading"
            if "-" not in found[1]:  # uv names the package, pip the file of one it has named
                self.packages.add(found[1].lower())
            self.megabytes += float(found[2]) * _UNITS[found[3]]
        elif line.startswith("Building wheel"):
            self.phase = "building"
        elif found := _INSTALLING.match(line):
            names = found[1].split(", ")
            self.phase = f"installing {len(names)} packages"
        elif found := _PREPARED.match(line):
            self.phase = f"installing {found[1]} packages"

    def text(self) -> str:
        """The line to show, without the time."""
        if self.phase != "downloading":
            return self.phase
        return f"downloading: {len(self.packages)} packages, {self.megabytes:,.0f} MB"


class Display:
    """One line that is redrawn on a terminal, and lines that follow each other elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live = stream, stream.isatty()
        self._start = time.monotonic()
        self._shown = ("", 0.0)
        self.interval = REDRAW if self._live else 1.0

    def elapsed(self) -> str:
        """Time since the start, ``M:SS``."""
        seconds = int(time.monotonic() - self._start)
        return f"{seconds // 60}:{seconds % 60:02}"

    def update(self, progress: Progress) -> None:
        """Shows the progress if it is due."""
        text = f"    {progress.text()}  {self.elapsed()}"
        if self._live:
            columns = shutil.get_terminal_size().columns
            self._write(f"\r\x1b[K{text[: columns - 1]}")
            return
        phase, at = self._shown
        now = time.monotonic()
        if progress.phase != phase or now - at >= REPEAT:
            self._shown = (progress.phase, now)
            self._write(text + "\n")

    def clear(self) -> None:
        """Removes the line from a terminal."""
        if self._live:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def settings(config: Iterable[str], have: Mapping[str, str]) -> dict[str, str]:
    """The variables that make uv use what pip is configured with.

    Args:
        config: lines of ``pip config list``; a later line has precedence.
        have: variables that are set: those of uv's own are left alone.
    """
    found: dict[str, str] = {}
    for line in config:
        key, equals, value = line.strip().partition("=")
        name = key.rpartition(".")[2].lstrip(":")
        if not equals or name not in _SETTINGS:
            continue
        variable, between = _SETTINGS[name]
        if variable in have:
            continue
        with contextlib.suppress(SyntaxError, ValueError):  # quoted, as pip prints it
            value = str(ast.literal_eval(value))
        found[variable] = between.join(value.split())
    if "UV_INDEX" in found and "UV_INDEX_STRATEGY" not in have:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip: the newest of all indexes
    return found


def run(
    command: list[str], log: TextIO, progress: Progress, display: Display, env: Mapping[str, str]
) -> int:
    """Runs a command with its output in the log; returns its exit code."""
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **env},
    ) as child:

        def read() -> None:
            assert child.stdout is not None
            for line in child.stdout:
                log.write(line)
                log.flush()
                progress.read(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        while reader.is_alive():
            display.update(progress)
            reader.join(display.interval)
        display.update(progress)
        return child.wait()


def commands(arguments: list[str], python: str = sys.executable) -> list[list[list[str]]]:
    """The ways to install, best first; each is one or more commands, all of which must succeed."""
    with_pip = [python, *_PIP]
    uv = [python, "-m", "uv", "pip", "install", "--python", python]
    return [[[*with_pip, "uv"], [*uv, *arguments]], [[*with_pip, *arguments]]]


def main(arguments: list[str], stream: TextIO = sys.stdout) -> int:
    """Installs; returns the exit code of the last command.

    Args:
        arguments: the log file, then the arguments of ``pip install``.
        stream: where the progress goes.
    """
    path, display = Path(arguments[0]), Display(stream)
    pip = [sys.executable, "-m", "pip", "config", "list"]
    config = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    env = settings(config.splitlines(), os.environ)
    code = 0
    with path.open("w", encoding="utf-8") as log:
        for way in commands(arguments[1:]):
            for command in way:
                code = run(command, log, Progress(), display, env)
                if code != 0:
                    break
            else:
                break
    display.clear()
    if code != 0:
        lines = path.read_text(encoding="utf-8").splitlines()[-TAIL:]
        stream.write("".join(f"    {line}\n" for line in lines))
        stream.write(f"==> pip failed with exit code {code}; all of its output is in {path}\n")
        return code
    stream.write(f"    done in {display.elapsed()}; the output is in {path}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
