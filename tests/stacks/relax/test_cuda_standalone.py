"""The builder of libraries for GPUs; `test_cuda_library.py` runs what it makes on a stand-in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cuda_compilers
import pytest
from in_tvm import INSIDE, inside

from tvmkd.runtime import nvrtc

if INSIDE:
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd import targets
    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import cuda, cuda_standalone
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.tasks import tasks_of

MISSING = cuda_compilers.missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def builder(make: Any) -> Any:
    nano = targets.load("jetson-nano-gpu")
    goal = tvm_target(nano.to_dict())
    settings = nvrtc.settings(nano.to_dict())
    assert settings is not None
    nvrtc.install(settings)
    mod = cuda.fuse(module([(1, 64)], make), goal)
    spec = {"name": "x", "shape": [1, 64], "dtype": "float32"}
    info = SimpleNamespace(path=Path("net.onnx"), name="net", sha256="ab", metadata={})
    model: Any = SimpleNamespace(fused=mod, info=info, outside=None, inputs=[spec], outputs=[spec])
    return cuda_standalone.CudaStandaloneBuilder(model, tasks_of(mod, goal, None), goal, nano)


@inside("relax")
def test_a_library_with_the_code_of_the_gpu_in_it(tmp_path: Path) -> None:
    made = builder(lambda x: relax.op.add(relax.op.matmul(x, const(64, 64)), const(1, 64)))
    path = made.library({}, tmp_path / "model.so", defaults=True)
    data = path.read_bytes()
    assert b".target sm_53" in data
    assert b"libcuda.so.1" in data
    assert path.with_suffix(".a").read_bytes().startswith(b"!<arch>")


@inside("relax")
def test_a_refusal_names_the_file() -> None:
    made = builder(lambda x: relax.op.nn.relu(x))
    error = made._refusal("why")
    assert isinstance(error, InputError)
    assert str(error).startswith("net.onnx: cannot be a standalone library: why; build it without")
