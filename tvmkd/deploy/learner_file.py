"""Puts the modules of `tvmkd.deploy.board_learner` together into one file, ``tvmkd_learner.py``.

``serve.py --learn`` imports it from its own folder; it needs numpy.
"""

from __future__ import annotations

from pathlib import Path

from tvmkd.base.version import __version__
from tvmkd.deploy import serve_file

NAME = "tvmkd_learner.py"
SOURCES = Path(__file__).parent / "board_learner"
ORDER = ("draws", "examples", "head_file", "step", "verdict", "learner")
"""A module comes after those that it imports."""
_HEAD = f'''"""Learns a classifier's last layer on a board: Python 3.6 or later, and numpy.

    learner = Learner("head.bin", "state.bin")
    logits = learner.predict(features)          # [rows, features], the library's second output
    learner.add(features[0], label)
    learner.begin()
    while learner.step() in ("training", "checking"):
        pass
    print(learner.status())

`serve.py --learn head.bin` imports it. Made by tvmkd {__version__}.
"""
'''


def text() -> str:
    """The content of ``tvmkd_learner.py``."""
    return serve_file.joined(_HEAD, SOURCES, ORDER)
