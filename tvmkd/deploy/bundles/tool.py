"""Builds tvmkd-tool, the static program that install.sh uses on a board, and caches it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tvmkd.base import resources
from tvmkd.base.errors import TvmkdError
from tvmkd.base.files import draft
from tvmkd.base.toolchain import zig

BOARD = Path(__file__).parent / "board"
NAME = "tvmkd-tool"


def program(architecture: str) -> Path:
    """The program for ``x86_64`` or ``aarch64``: it needs no library, not even C's.

    Built for any CPU of the architecture: it has to say that a CPU does not fit.

    Raises:
        MissingError: ziglang is not installed.
        TvmkdError: it cannot be compiled.
    """
    sources = sorted(BOARD.glob("*.zig"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    path = resources.cache("native") / f"{NAME}-{architecture}-{digest.hexdigest()[:16]}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft(path) as written:
        command = [*zig(), "build-exe", "-target", f"{architecture}-linux", "-mcpu=baseline"]
        command += ["-O", "ReleaseSmall", "-fstrip", "--name", NAME]
        command += [f"-femit-bin={written}", os.fspath(BOARD / "tool.zig")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            raise TvmkdError(f"{NAME} cannot be compiled: {(lines or ['no message'])[0].strip()}")
        written.chmod(0o755)
    return path
