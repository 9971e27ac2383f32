"""A fake board behind ssh: this machine with another Python and fakes of the board's packages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import fake_nano
import numpy as np
import pytest

PACKAGES = Path(__file__).parent / "board_packages"
SSH = """#!/bin/bash
if [ -n "$SSH_SAYS" ]; then echo "$SSH_SAYS" >&2; exit 255; fi
printf '%s\\n' "${@:1:$#-1}" > "$SSH_ARGV"
for command; do :; done  # the last argument
cd / && exec env -u PYTHONPATH PATH="$BOARD_BIN:$PATH" PYTHONPATH="$BOARD_PACKAGES" \\
  PYTHONDONTWRITEBYTECODE=1 bash -c "$command"
"""
OLD = sorted(Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob("versions/3.6.*"))

PYTHONS = [
    pytest.param(Path(sys.executable), id="this-python"),
    pytest.param(
        OLD[-1] / "bin" / "python" if OLD else None,
        id="python-3.6",
        marks=pytest.mark.skipif(
            not OLD, reason="no Python 3.6 as JetPack 4.6 has: pyenv install 3.6.15"
        ),
    ),
]


def plant(folder: Path, python: Path, patch: pytest.MonkeyPatch, api: str = "8") -> Path:
    """Puts a fake ``ssh`` on PATH; returns the file to which it writes its arguments."""
    for name, target in (("here/ssh", None), ("board/python3", python)):
        path = folder / name
        path.parent.mkdir(parents=True)
        if target is not None:
            # Not a symlink: the python of an environment finds its environment by its path.
            path.write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        else:
            path.write_text(SSH)
        path.chmod(0o755)
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    (folder / "weights.json").write_text(json.dumps(weights.tolist()))
    patch.setenv("PATH", f"{folder / 'here'}:{os.environ['PATH']}")
    patch.setenv("SSH_ARGV", str(folder / "argv"))
    patch.setenv("BOARD_BIN", str(folder / "board"))
    patch.setenv("BOARD_PACKAGES", str(PACKAGES))
    patch.setenv("STANDIN_WEIGHTS", str(folder / "weights.json"))
    patch.setenv("STANDIN_API", api)
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setenv("TVMKD_BOARD_ROOT", str(fake_nano.plant(folder / "root")))
    return folder / "argv"
