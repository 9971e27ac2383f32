"""Links a graph for an NVIDIA GPU with the runtime that calls the GPU's driver: ``.so``, ``.a``."""

from __future__ import annotations

from pathlib import Path

from tvmkd.base import elf
from tvmkd.stacks.standalone import cuda_source
from tvmkd.stacks.standalone.graph import Graph
from tvmkd.stacks.standalone.library import Package
from tvmkd.stacks.standalone.source import About
from tvmkd.targets import Toolchain


class CudaPackage(Package):
    """What is built for one model whose kernels are PTX.

    Args:
        graph: of `tvmkd.stacks.standalone.cuda_source.Launch` and copies.
        about, toolchain, folder: see `Package`; the toolchain is the host code's.
        ptx: of all kernels.
        capability: the compute capability that it is for, 53 for 5.3.
    """

    runtime = ("cuda_driver", "cuda_model", "cuda_instance", "cuda_run", "cuda_nvtx", "exits")
    libraries = ("-ldl", "-lm", "-lpthread")

    def __init__(
        self,
        graph: Graph,
        about: About,
        toolchain: Toolchain,
        folder: Path,
        *,
        ptx: str,
        capability: int,
    ) -> None:
        self._capability = capability
        super().__init__(graph, about, toolchain, (), folder)
        path = folder / f"{self._name}_ptx.o"
        machine = toolchain.triple.partition("-")[0]
        elf.write_data(path, machine, cuda_source.ptx(about.name), [ptx.encode() + b"\0"])
        self._objects.append(path)

    def _source(self) -> str:
        return cuda_source.write(self._graph, self._about, self._capability)
