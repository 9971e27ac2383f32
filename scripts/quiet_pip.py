"""Runs pip, writes its output to a log file and shows one line of progress.

    python scripts/quiet_pip.py LOG COMMAND...

On a terminal the line is redrawn with the elapsed time; elsewhere each phase is one line, and a
phase that takes long repeats its line every half a minute. If pip fails, the end of the log is
printed, and the exit code is pip's. Needs the standard library only: nothing is installed yet.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

TAIL = 25  # lines of the log that are printed when pip fails
REDRAW = 0.2  # seconds between two updates on a terminal
REPEAT = 30.0  # seconds after which a line is printed again elsewhere
_UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
_COLLECTING = re.compile(r"Collecting ([A-Za-z0-9._-]+)")
_DOWNLOADING = re.compile(r"Downloading \S+ \(([\d.]+) (bytes|kB|MB|GB)\)")
_INSTALLING = re.compile(r"Installing collected packages: (.*)")


class Progress:
    """What pip is doing, from its lines.

    Attributes:
        phase: "resolving", "downloading", "building" or "installing N packages".
        packages: names of the packages that pip has looked at.
        megabytes: size of the downloads that pip has started.
    """

    def __init__(self) -> None:
        self.phase = "resolving"
        self.packages: set[str] = set()
        self.megabytes = 0.0

    def read(self, line: str) -> None:
        """Takes one line of pip's output into account; unknown lines change nothing."""
        line = line.strip()
        if found := _COLLECTING.match(line):
            self.packages.add(found[1].lower())
        elif found := _DOWNLOADING.match(line):
            self.phase = "downloading"
            self.megabytes += float(found[1]) * _UNITS[found[2]]
        elif line.startswith("Building wheel"):
            self.phase = "building"
        elif found := _INSTALLING.match(line):
            names = found[1].split(", ")
            self.phase = f"installing {len(names)} packages"

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


def main(arguments: list[str], stream: TextIO = sys.stdout) -> int:
    """Runs the command; returns its exit code.

    Args:
        arguments: the log file, then the command.
        stream: where the progress goes.
    """
    log, command = Path(arguments[0]), arguments[1:]
    progress, display = Progress(), Display(stream)
    with (
        log.open("w", encoding="utf-8") as written,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as pip,
    ):

        def read() -> None:
            assert pip.stdout is not None
            for line in pip.stdout:
                written.write(line)
                written.flush()
                progress.read(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        while reader.is_alive():
            display.update(progress)
            reader.join(display.interval)
        display.update(progress)
        code = pip.wait()
    display.clear()
    if code != 0:
        lines = log.read_text(encoding="utf-8").splitlines()[-TAIL:]
        stream.write("".join(f"    {line}\n" for line in lines))
        stream.write(f"==> pip failed with exit code {code}; all of its output is in {log}\n")
        return code
    stream.write(f"    done in {display.elapsed()}; pip's output is in {log}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
