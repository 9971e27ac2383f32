"""Early exit: a network in pieces; easy images run only the first pieces.

from tvmkd import early_exit
network = early_exit.load("runs/early-exit/exits")
logits, exit_index = network(image)
"""

from __future__ import annotations

from tvmkd.early_exit.runtime import EarlyExit
from tvmkd.early_exit.standalone import EarlyExitLibrary, load

__all__ = ["EarlyExit", "EarlyExitLibrary", "load"]
