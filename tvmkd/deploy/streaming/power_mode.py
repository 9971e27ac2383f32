"""Sets a board's power mode by the commands of its target, and sets it back.

How each command is undone is known for those of Jetsons and of cpupower; others are refused where
something would stay changed.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base import console
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.base.text import listing, suggest
from tvmkd.boards.sysfs import Files, found
from tvmkd.boards.telemetry import CPUS, files_here

COMMAND_SECONDS = 60.0
Command = Sequence[str]
Runner = Callable[[Command], None]


def commands(power: Mapping[str, Any], mode: str) -> list[list[str]]:
    """The commands of a mode of a target's ``[power]`` table.

    Raises:
        UsageError: there is no such mode.
    """
    modes = {name: value for name, value in power.items() if isinstance(value, list)}
    if mode not in modes:
        raise UsageError(
            f'--power {mode}: the target has no power mode "{mode}"{suggest(mode, modes)} '
            f"(it has {listing(modes)})"
        )
    return [shlex.split(str(command)) for command in modes[mode]]


@contextlib.contextmanager
def applied(
    wanted: Sequence[Command],
    files: Files | None = None,
    run: Runner | None = None,
    folder: str | None = None,
) -> Iterator[None]:
    """Runs the commands, and at the end those that undo them, in reverse.

    Args:
        wanted: from `commands`.
        files: the board, to read its present mode from.
        run: runs one command there; None: on this machine.
        folder: where the board keeps its clocks meanwhile; None: a temporary folder here.

    Raises:
        MissingError: a command is not installed, is not permitted or fails; what was changed
            before it is undone.
        UsageError: it is not known how to undo a command.
    """
    run = run or _run
    with (
        tempfile.TemporaryDirectory(prefix="tvmkd-power-") as place,
        contextlib.ExitStack() as undo,
    ):
        clocks = Path(folder or place) / "jetson_clocks.conf"
        plan = [(command, *_undone(command, files or files_here(), clocks)) for command in wanted]
        for command, before, after in plan:
            for each in before:
                run(each)
            # A command that fails may have changed a part.
            undo.callback(_put_back, after, run)
            run(command)
        yield


def _undone(
    command: Command, files: Files, clocks: Path
) -> tuple[list[list[str]], list[list[str]]]:
    """What to run before a command, and what undoes it."""
    name, arguments = Path(command[0]).name, list(command[1:])
    if name == "nvpmodel" and "-m" in arguments:
        mode = found(files, "/var/lib/nvpmodel/status", r"pmode:0*(\d+)")
        if mode is not None:
            return [], [[command[0], "-m", mode]]
    elif name == "jetson_clocks" and not arguments:
        return [[command[0], "--store", str(clocks)]], [[command[0], "--restore", str(clocks)]]
    elif name == "cpupower" and arguments[:2] == ["frequency-set", "-g"]:
        governor = files.text(f"{CPUS}/cpu0/cpufreq/scaling_governor")
        if governor is not None:
            return [], [[command[0], "frequency-set", "-g", governor]]
    if shutil.which(command[0]) is None:
        raise _missing(command)
    raise UsageError(
        f"--power: it is not known how to undo {shlex.join(command)!r} here; run it yourself before"
    )


def _put_back(plan: Sequence[Command], run: Runner) -> None:
    for command in plan:
        try:
            run(command)
        except MissingError as error:  # the rest has to be put back all the same
            console.warn(f"the power mode was not set back: {error}")


def _run(command: Command) -> None:
    if shutil.which(command[0]) is None:
        raise _missing(command)
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            # Ctrl-C is for the stream, and must not end what puts the mode back.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"--power: {shlex.join(command)} did not end") from None
    if done.returncode:
        said = re.sub(r"\s+", " ", (done.stderr or done.stdout).strip())[:200]
        raise MissingError(
            f"--power: {shlex.join(command)} failed ({said or f'exit code {done.returncode}'}); "
            "run as root"
        )


def _missing(command: Command) -> MissingError:
    return MissingError(
        f"--power: {command[0]} is not installed here: the target's power modes are those of "
        "another machine; leave --power out"
    )
