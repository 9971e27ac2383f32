"""Which of NVIDIA's compilers are for a GPU: NVRTC and ptxas, out of wheels, without a toolkit.

CUDA 13 has dropped Maxwell, Pascal and Volta; CUDA 12.9 still compiles for them, and for GPUs up to
Blackwell. https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
"""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.wheels import installed

FIRST_OF_13 = 75
"""The oldest compute capability that CUDA 13 compiles for, times ten: Turing."""
_HOW = {
    12: "pip install 'tvmkd[cuda]'",
    13: "pip install 'tvmkd[cuda13]'",
}
_NVRTC = {
    12: ("nvidia.cuda_nvrtc", "lib/libnvrtc.so.12"),
    13: ("nvidia.cu13", "lib/libnvrtc.so.13"),
}
_PTXAS = {
    12: ("nvidia.cuda_nvcc", "bin/ptxas"),
    13: ("nvidia.cu13", "bin/ptxas"),
}
_INCLUDES = {
    12: (("nvidia.cuda_runtime", "include"), ("nvidia.cuda_nvcc", "include")),
    13: (("nvidia.cu13", "include"),),
}


@dataclass(frozen=True)
class Toolkit:
    """The compilers of one major release of CUDA.

    Attributes:
        major: 12 or 13.
        nvrtc: the library.
        ptxas: the program.
        includes: the folders of ``cuda_fp16.h`` and ``crt/mma.h``, as far as they are installed:
            only kernels in half precision and on tensor cores need them.
    """

    major: int
    nvrtc: Path
    ptxas: Path
    includes: tuple[Path, ...]


def capability(arch: str) -> int:
    """The compute capability of ``sm_NN``, times ten: 87 for ``sm_87``.

    Raises:
        InputError: it is no such name.
    """
    found = re.fullmatch(r"sm_(\d{2,3})[af]?", arch)
    if found is None:
        raise InputError(f'arch "{arch}": wants a compute capability such as sm_87')
    return int(found[1])


@functools.cache
def toolkit(arch: str) -> Toolkit:
    """The compilers for a GPU: of CUDA 13 where it is installed and knows the GPU, else 12.

    Args:
        arch: for example ``sm_53``.

    Raises:
        InputError: ``arch`` is no compute capability.
        MissingError: neither is installed; says what to install.
    """
    majors = (13, 12) if capability(arch) >= FIRST_OF_13 else (12,)
    lacks = ""
    for major in majors:
        try:
            return Toolkit(
                major, installed(*_NVRTC[major]), installed(*_PTXAS[major]), _includes(major)
            )
        except MissingError as error:
            lacks = str(error).partition(" ")[0]
    raise MissingError(
        f"no NVRTC and ptxas of CUDA {majors[-1]} to compile kernels for {arch} with "
        f"({lacks}): {_HOW[majors[-1]]}"
    )


def _includes(major: int) -> tuple[Path, ...]:
    found = []
    for place in _INCLUDES[major]:
        with contextlib.suppress(MissingError):
            found.append(installed(*place))
    return tuple(found)
