"""A standalone library on a board: `tvmkd-run` beside it, asked over ssh, or under QEMU here."""

from __future__ import annotations

import base64
import contextlib
import io
import shlex
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import ssh, wire
from tvmkd.base.errors import InputError, MissingError, WorkerDied
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles.remote import Remote
from tvmkd.targets import Target

HELLO_SECONDS = 60.0
RUN_SECONDS = 120.0
NAME = "model.so"


class RemoteLibrary:
    """The library in a process on the board. Use as a context manager.

    Args:
        library: the ``lib*.so`` of an artifact.
        target: what it was built for.
        destination: ``USER@HOST``; None: QEMU on this machine.
        threads: of the library; None: its default.

    Attributes:
        facts: what ``tvmkd-run`` says of the model, its process and the board (``board``).

    Raises:
        MissingError: ssh cannot connect, there is no QEMU, or no compiler for the program.
        InputError: the library does not load on the board.
    """

    def __init__(
        self,
        library: Path,
        target: Target,
        destination: str | None,
        threads: int | None = None,
    ) -> None:
        program = native_programs.run_program(target)
        options = ["--serve-stdin", *(() if threads is None else ("--threads", str(threads)))]
        self._folder: str | None = None
        self._remote: Remote | None = None
        if destination is None:
            command = _emulated(program, library, options)
        else:
            self._remote = Remote(destination)
            self._folder = _copied(self._remote, program, library)
            words = [f"./{native_programs.RUN}", f"./{NAME}", *options]
            script = f"cd {shlex.quote(self._folder)} && exec {shlex.join(words)}"
            command = ssh.command(destination, script)
        try:
            self._child = wire.Child(command)
            self.facts: dict[str, Any] = self._child.call("hello", timeout=HELLO_SECONDS)
        except WorkerDied:
            said = self._child.log().strip().splitlines() or ["it ended"]
            self.close()
            where = f"{library} on {destination or 'the emulated board'}"
            raise InputError(f"{where}: {said[-1].strip()}") from None
        except BaseException:
            self.close()
            raise
        self.facts["board"]["emulated"] = destination is None

    def __enter__(self) -> RemoteLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, and removes what was copied to the board."""
        if hasattr(self, "_child"):
            self._child.close()
        folder, self._folder = self._folder, None
        if self._remote is not None and folder is not None:
            with contextlib.suppress(MissingError):
                self._remote.run(f"rm -rf -- {shlex.quote(folder)}")

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs once; returns the outputs in the library's order.

        Raises:
            InputError: an input has another size than the library's.
        """
        specs = self.facts["inputs"]
        given: Mapping[str, str] = {
            spec["name"]: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
            for spec, array in zip(specs, arrays, strict=True)
        }
        outputs = self._child.call("run", {"inputs": given}, timeout=RUN_SECONDS)
        return [
            np.frombuffer(base64.b64decode(output["data"]), np.dtype(spec["dtype"]))
            .reshape(spec["shape"])
            .copy()
            for output, spec in zip(outputs, self.facts["outputs"], strict=True)
        ]

    def time(self, count: int, limit_s: float) -> dict[str, Any]:
        """Times runs on the inputs of the last `run`, by the board's clock.

        Returns:
            ``ns`` of each run, ``resident_bytes``, ``peak_bytes``, ``celsius``, ``throttled``.
        """
        params = {"count": count, "limit_s": limit_s}
        found: dict[str, Any] = self._child.call("time", params, timeout=limit_s * 3 + RUN_SECONDS)
        return found


def _emulated(program: Path, library: Path, options: Sequence[str]) -> list[str]:
    reason = emulate.why_not()
    if reason is not None:
        raise MissingError(reason)
    words = [emulate.QEMU, "-cpu", "max", "-L", str(emulate.SYSTEM)]
    return [*words, str(program), str(library), *options]


def _copied(remote: Remote, program: Path, library: Path) -> str:
    """A new folder on the board with the program and the library."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, name, mode in ((program, native_programs.RUN, 0o755), (library, NAME, 0o644)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, mode
            with path.open("rb") as file:
                archive.addfile(entry, file)
    # In the user's own cache: /tmp may be mounted noexec.
    script = (
        'p=${XDG_CACHE_HOME:-$HOME/.cache}/tvmkd; mkdir -p "$p" && d=$(mktemp -d "$p/run-XXXXXX") '
        '&& cd "$d" && { tar -xf - || { rm -rf "$d"; exit 1; }; } && pwd'
    )
    return remote.run(script, data.getvalue()).strip()
