"""A worker's process without torch: what it does is in ``STAND_IN_WORKER``, by its number."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tvmkd.base import wire
from tvmkd.base.errors import InputError
from tvmkd.base.wire import Event


def work(params: dict[str, Any], event: Event) -> None:
    """Does one of a few things."""
    does = json.loads(os.environ["STAND_IN_WORKER"])[params["worker"]]
    folder = Path(params["plan"]["folder"])
    told = {"worker": params["worker"], "text": does, "threads": os.environ["OMP_NUM_THREADS"]}
    if does == "works on":
        try:
            event("doing", told)
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / "handed back").touch()
            raise
    event("doing", told)
    if does == "fails":
        raise InputError("all networks failed")
    if does == "dies" or (does == "dies once" and not (folder / "died").exists()):
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    event("trial", {"worker": params["worker"]})


if __name__ == "__main__":
    wire.serve({"work": work})
