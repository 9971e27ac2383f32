"""Imports a Relay TVM (0.14 to 0.19), and sets before what it needs."""

from __future__ import annotations

import logging
import os
from typing import Any

from tvmkd.base.errors import MissingError
from tvmkd.runtime import relay_shims
from tvmkd.runtime.tvm_process import defer, importing


def import_compiler() -> Any:
    """Imports TVM with Relay and AutoScheduler, and installs the shims; returns ``tvm``.

    Raises:
        MissingError: this interpreter's TVM has no Relay.
    """
    # xgboost's training aborts ("free(): invalid pointer") if TVM's library is loaded before it.
    import xgboost  # noqa: F401

    # One thread: numpy must not start its thread pool before this process forks.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Otherwise TVM downloads AutoTVM's logs for ARM.
    os.environ["TOPHUB_LOCATION"] = "NONE"
    # Upstream's calibration of quantised models imports it, which nothing here calls.
    defer("scipy.stats")
    with importing():
        import tvm

        try:
            import tvm.auto_scheduler
            import tvm.relay
        except ImportError as error:
            raise MissingError(
                f"TVM {tvm.__version__} has no Relay ({error}): it was removed in 0.20; "
                "tvmkd stack install relay gets one that has it"
            ) from None
    for name in ("auto_scheduler", "te_compiler", "autotvm", "strategy", "tvm"):
        logging.getLogger(name).setLevel(logging.ERROR)
    tvm.autotvm.GLOBAL_SCOPE.silent = True
    relay_shims.install()
    return tvm
