"""glibc's ``malloc``, for a program that takes and frees the same large blocks again and again."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30  # bytes
_OLD_LIMIT = 32 << 20  # older releases refuse a larger block
_BY_USER = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


@functools.cache
def keep_freed_memory() -> None:
    """Keeps freed blocks for the next ones, up to `KEPT`, and does not give them back at once.

    A training step frees the tensors that the next one takes. If each is mapped anew, the kernel
    clears all its pages again, which was a sixth of a step on CPUs.

    This is for the whole process. Nothing is done if the environment sets ``malloc`` up, or if it
    is not glibc's.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _BY_USER):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        if not mallopt(M_MMAP_THRESHOLD, KEPT):
            mallopt(M_MMAP_THRESHOLD, _OLD_LIMIT)
