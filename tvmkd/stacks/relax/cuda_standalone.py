"""Builds standalone libraries whose kernels run on an NVIDIA GPU, over the GPU's driver alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tvmkd.base.errors import InputError
from tvmkd.stacks.relax import launches, lookup, node_names, vector_math
from tvmkd.stacks.relax.standalone import StandaloneBuilder
from tvmkd.stacks.standalone.cuda_library import CudaPackage
from tvmkd.tuning.records import StoredRecord


class CudaStandaloneBuilder(StandaloneBuilder):
    """As `StandaloneBuilder`, for CUDA targets."""

    def library(self, chosen: Mapping[str, StoredRecord], path: Path, *, defaults: bool) -> Path:
        """Compiles with the records in ``chosen``; tasks without one get dlight's schedule."""
        gpu = self._for.cuda
        assert gpu is not None
        vector_math.install()
        lookup.install()
        whole = self._whole(chosen, defaults)
        names = {call.kernel for call in self._graph.calls}
        ptx, host = launches.compile_kernels(whole, names, self._target)
        nodes = node_names.read(self._fused)
        graph = launches.launched(self._graph, host, self._refusal, nodes)
        with tempfile.TemporaryDirectory(prefix="tvmkd-objects-") as folder:
            package = CudaPackage(
                graph,
                self._about(0),
                self._for.toolchain,
                Path(folder),
                ptx=ptx,
                capability=int(gpu.arch.removeprefix("sm_")),
            )
            package.static(path.with_suffix(".a"))
            return package.shared(path)

    def _refusal(self, why: str) -> InputError:
        return InputError(
            f"{os.fspath(self._info.path)}: cannot be a standalone library: {why}; "
            "build it without --runtime standalone"
        )
