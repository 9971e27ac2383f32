"""Finds the package that provides CUDA here; none is imported before `find` is called."""

from __future__ import annotations

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda_bindings, cuda_pycuda
from tvmkd.tensorrt.cuda_runtime import CudaRuntime


def find(spin: bool = True) -> CudaRuntime:
    """The first GPU, through cuda-bindings or, without it, pycuda.

    cuda-bindings comes first: it makes CUDA graphs, and it installs anywhere.

    Args:
        spin: wait for the GPU by spinning.

    Raises:
        MissingError: no package, no driver or no GPU; says which, and how to get it.
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
    # Where a package is here, what it lacks is what there is to get.
    raise MissingError(f"nothing here runs on an NVIDIA GPU: {'; or '.join(refused or absent)}")
