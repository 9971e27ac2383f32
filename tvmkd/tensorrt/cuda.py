"""Finds an installed CUDA package; none is imported before `find` is called."""

from __future__ import annotations

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda_bindings, cuda_pycuda
from tvmkd.tensorrt.cuda_runtime import CudaRuntime


def find(spin: bool = True) -> CudaRuntime:
    """Opens the first GPU with cuda-bindings, or with pycuda if that is not installed.

    cuda-bindings is preferred because it supports CUDA graphs and installs on every machine.

    Args:
        spin: whether the host spins while it waits for the GPU.

    Raises:
        MissingError: there is no package, no driver or no GPU; says how to get it.
    """
    refused, absent = [], []
    for module in (cuda_bindings, cuda_pycuda):
        try:
            found: CudaRuntime = module.open_device(spin)
            return found
        except MissingError as error:
            refused.append(str(error))
        except ImportError as error:
            absent.append(f"{module.PACKAGE} cannot be imported ({error}): {module.HOW}")
    # If a package is installed, only its own problem matters.
    raise MissingError(f"nothing here runs on an NVIDIA GPU: {'; or '.join(refused or absent)}")
