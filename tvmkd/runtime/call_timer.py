"""Times every call of Relax's virtual machine with a compiled function.

The function (``native/call_timer.c``) is compiled on first use.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import native

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOURCE = Path(__file__).with_name("native") / "call_timer.c"


class CallTimer:
    """An instrument for ``VirtualMachine.set_instrument``, one at a time in a process.

    Args:
        tvm: the module.

    Attributes:
        instrument: the function to set.

    Raises:
        MissingError: there is no C compiler.
    """

    def __init__(self, tvm: Any) -> None:
        path = os.fspath(native.library(SOURCE, "cc", []))
        library = ctypes.CDLL(path)
        self._into = library.tvmkd_call_timer_into
        self._into.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self._used = library.tvmkd_call_timer_used
        self._used.restype = ctypes.c_int64
        self._module = tvm.runtime.load_module(path)  # the same library: it is loaded once
        self.instrument = self._module["tvmkd_call_timer"]
        self._ticks: NDArray[np.int64] | None = None

    def start(self, count: int) -> None:
        """Forgets what was noted, and makes room for ``count`` times: two for each call."""
        import numpy as np

        self._ticks = np.zeros(count, np.int64)
        self._into(self._ticks.ctypes.data, count)

    def ticks(self) -> NDArray[np.int64]:
        """The times since `start` in ns, the beginning and the end of each call.

        Raises:
            ValueError: there was not enough room.
        """
        used = self._used()
        if self._ticks is None or used > len(self._ticks):
            raise ValueError(f"{used} times were noted, which is more than there is room for")
        return self._ticks[:used]
