"""Whether NVRTC and ptxas are installed, which compile for GPUs that are not there."""

from __future__ import annotations

from tvmkd.base.errors import MissingError
from tvmkd.runtime import nvrtc


def missing(arch: str = "sm_53") -> str:
    """What is missing to compile for a GPU, and how to get it; empty: nothing."""
    try:
        nvrtc.require(arch)
    except MissingError as error:
        return str(error)
    return ""
