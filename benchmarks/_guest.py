"""Runs in the emulated system: loads a model with one engine, runs it, and keeps the counts.

    python3 _guest.py FOLDER

FOLDER holds ``job.json``: the engine, the path of its model, the names of inputs and outputs, the
file that QEMU's plugin counts in, and how often to run before and while counting. The inputs are
``inputs.npz``. Written are ``outputs.npz``; ``before``, ``start``, ``end``, copies of the counts;
and ``maps``, where the libraries lie. Nothing runs between ``before`` and ``start``: their
difference is what reading the counts costs. All are of one process, so that its start cancels out.

Only Python 3.11, numpy and the engine are installed here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], list[Any]]


def onnxruntime(job: dict[str, Any], inputs: dict[str, np.ndarray]) -> Call:
    """One thread, all of its optimisations, which is its default."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
    return lambda: list(session.run(None, inputs))


def ncnn(job: dict[str, Any], inputs: dict[str, np.ndarray]) -> Call:
    """One thread, FP32, an extractor for each run, as `tvmkd.bench.engines.ncnn` does it."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    for name in job["reduced"]:
        if hasattr(net.opt, f"use_{name}"):
            setattr(net.opt, f"use_{name}", False)
    if net.load_param(job["model"] + ".param") or net.load_model(job["model"] + ".bin"):
        sys.exit("ncnn cannot load the model")
    axes, arrays = job["batch"], list(inputs.values())

    def call() -> list[Any]:
        with net.create_extractor() as extractor:
            for number, array in enumerate(arrays):
                name = f"in{number}"
                extractor.input(name, ncnn.Mat(array, batch_index=axes[name]).clone())
            found = []
            for number in range(len(job["outputs"])):
                name = f"out{number}"
                code, mat = extractor.extract(name)
                if code:
                    sys.exit(f"ncnn cannot compute {name} (code {code})")
                found.append(np.array(mat.numpy(batch_index=axes[name])))
            return found

    return call


def tvm(job: dict[str, Any], inputs: dict[str, np.ndarray]) -> Call:
    """The artifact's library in TVM's virtual machine, without the compiler."""
    import ctypes

    import tvm
    from tvm.runtime.vm import VirtualMachine

    # Sorting and random numbers; upstream loads them together with the compiler only.
    extra = Path(tvm.__file__).parent / "lib" / "libtvm_runtime_extra.so"
    ctypes.CDLL(str(extra), ctypes.RTLD_GLOBAL)
    machine = VirtualMachine(tvm.runtime.load_module(job["model"]), tvm.cpu())
    main = machine["main"]
    tensors = [tvm.runtime.tensor(array) for array in inputs.values()]

    def call() -> list[Any]:
        found = main(*tensors)
        return [each.numpy() for each in ([found] if hasattr(found, "numpy") else found)]

    return call


def counts(path: Path) -> bytes:
    """The counts so far, as ``qemu_blocks.c`` lays them out, without the blocks' code."""
    with path.open("rb") as file:
        head = file.read(48)
        return head + file.read(32 * int.from_bytes(head[:8], "little"))


def main() -> None:
    """Does the job."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    loaded = np.load(folder / "inputs.npz")
    inputs = {name: loaded[name] for name in job["inputs"]}
    engine = {"onnxruntime": onnxruntime, "ncnn": ncnn, "tvm": tvm}[job["engine"]]
    call, source = engine(job, inputs), Path(job["counts"])
    for _ in range(job["warm"]):
        outputs = call()
    counts(source)
    before = counts(source)
    start = counts(source)
    for _ in range(job["runs"]):
        call()
    end = counts(source)
    for name, data in (("before", before), ("start", start), ("end", end)):
        (folder / name).write_bytes(data)
    (folder / "maps").write_bytes(Path("/proc/self/maps").read_bytes())
    np.savez(folder / "outputs.npz", **{str(n): np.asarray(o) for n, o in enumerate(outputs)})


if __name__ == "__main__":
    main()
