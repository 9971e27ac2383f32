"""Standalone libraries for an NVIDIA GPU, with a driver that computes their PTX on the CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cuda_compilers
import fake_driver
import graphs
import numpy as np
import onnx
import onnxruntime
import pytest
from elftools.elf.elffile import ELFFile
from onnx import TensorProto, helper

from tvmkd import artifact, targets
from tvmkd.base import engine_registry
from tvmkd.base.errors import MissingError
from tvmkd.base.toolchain import zig
from tvmkd.base.wheels import installed
from tvmkd.bench.engines import engine_class
from tvmkd.bench.spec import EngineSpec
from tvmkd.boards import emulate, symbols
from tvmkd.stacks.client import StackClient
from tvmkd.tensorrt import device

MISSING = cuda_compilers.missing()
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]
NANO = targets.load("jetson-nano-gpu")
HOST = targets.load("host")
HERE = dataclasses.replace(NANO, name="gpu-here", host=HOST.tvm, toolchain=HOST.toolchain)
KERNELS = [
    "fused_conv2d_add_relu_kernel",
    "fused_conv2d1_add_tir_clip_kernel",
    "fused_conv2d2_add_add1_kernel",
    "mean_kernel",
    "fused_matmul_add2_kernel",
]
START = """
import json, sys
from pathlib import Path
import numpy as np
import tvmkd
from tvmkd.base.errors import TvmkdError
folder = Path(sys.argv[1])
given = folder.parent / "x.npy"
X = np.load(given) if given.exists() else None
"""

Use = Callable[..., Any]
HELPERS = os.fspath(Path(__file__).parent)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.built(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.built(tmp_path_factory.mktemp("old"), None, "-DWITHOUT_GRAPHS")


def made(
    stack: StackClient,
    folder: Path,
    write: Callable[[Path], Path] = graphs.separable,
    target: targets.Target = HERE,
) -> Path:
    path = write(folder / "net.onnx")
    stack.build(path, target.to_dict(), [], folder / "out", runtime="standalone")
    session = onnxruntime.InferenceSession(path)
    given = session.get_inputs()[0]
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16"}[given.type]
    x = np.random.default_rng(1).standard_normal(given.shape).astype(dtype)
    np.save(folder / "x.npy", x)
    np.savez(folder / "y.npz", *session.run(None, {"x": x}))
    return folder / "out"


@pytest.fixture(scope="module")
def net(relax_stack: StackClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(relax_stack, tmp_path_factory.mktemp("net"))


@pytest.fixture
def use(driver: Path, tmp_path: Path) -> Use:
    """Runs Python code with an artifact and a driver, and returns what it prints, as JSON."""

    def run(folder: Path, code: str, where: Path = driver, **env: str) -> Any:
        told = {"LD_LIBRARY_PATH": os.fspath(where), "FAKE_CUDA_TRACE": str(tmp_path / "trace")}
        command = [sys.executable, "-c", START + code, os.fspath(folder)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, **told, **env},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


THERE = """
import device_array
gpu = device_array.Gpu()
"""
RUN = "print(json.dumps([each.tolist() for each in tvmkd.load(folder).run([X])]))"
FAILS = """
model = tvmkd.load(folder)
def said():
    try:
        return [each.tolist() for each in model.run([X])]
    except TvmkdError as error:
        return str(error)
print(json.dumps([said(), said()]))
"""
LOADS = """
try:
    tvmkd.load(folder)
except TvmkdError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def agrees(folder: Path, outputs: list[Any], rtol: float = 1e-4) -> None:
    want = np.load(folder.parent / "y.npz")
    assert len(outputs) == len(want.files)
    for found, name in zip(outputs, want.files, strict=True):
        np.testing.assert_allclose(found, want[name], rtol=rtol, atol=rtol / 10)


def calls(folder: Path) -> list[str]:
    return (folder / "trace").read_text().splitlines()


def half(path: Path) -> Path:
    """Half precision, what a Nano's GPU is best at: a convolution, a mean and a product."""
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "d": (8, 4)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 4])],
        [
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype("float16"), name)
            for name, shape in shapes.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def best(path: Path) -> Path:
    """TopK, whose kernels get numbers beside pointers."""
    graph = helper.make_graph(
        [helper.make_node("TopK", ["x", "k"], ["values", "indices"])],
        "best",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 50])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, [4, 5]),
            helper.make_tensor_value_info("indices", TensorProto.INT64, [4, 5]),
        ],
        [onnx.numpy_helper.from_array(np.array([5]), "k")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize(
    ("write", "rtol"),
    [(graphs.shuffle, 1e-4), (graphs.stranger, 1e-4), (half, 1e-2), (best, 1e-6)],
)
def test_it_agrees_with_onnxruntime(
    write: Callable[[Path], Path],
    rtol: float,
    relax_stack: StackClient,
    use: Use,
    tmp_path: Path,
) -> None:
    """Kernels of several launches, attention, two outputs, half precision."""
    folder = made(relax_stack, tmp_path, write)
    agrees(folder, use(folder, RUN, FAKE_CUDA_COMPUTES="1"), rtol)
    assert fake_driver.kept(tmp_path / "trace") == {}


def odd_names(path: Path) -> Path:
    """Names as TensorFlow's exporter gives them, which CUDA C does not take."""
    model = onnx.load(graphs.separable(path))
    old = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["in/put:0" if name == old else name for name in node.input]
    model.graph.input[0].name = "in/put:0"
    onnx.save(model, path)
    return path


def test_an_input_of_any_name(relax_stack: StackClient, use: Use, tmp_path: Path) -> None:
    path = odd_names(tmp_path / "net.onnx")
    made = relax_stack.build(path, HERE.to_dict(), [], tmp_path / "out", runtime="standalone")
    assert [each["name"] for each in made["inputs"]] == ["in/put:0"]
    x = np.random.default_rng(1).standard_normal(made["inputs"][0]["shape"]).astype("float32")
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "y.npz", *onnxruntime.InferenceSession(path).run(None, {"in/put:0": x}))
    agrees(tmp_path / "out", use(tmp_path / "out", RUN, FAKE_CUDA_COMPUTES="1"))


def test_what_reaches_the_driver(net: Path, use: Use, tmp_path: Path) -> None:
    agrees(net, use(net, RUN, FAKE_CUDA_COMPUTES="1", FAKE_CUDA_LOG=str(tmp_path / "log")))
    ran = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert ran == KERNELS
    told = calls(tmp_path)
    launched = [line for line in told if line.startswith("cuLaunchKernel")]
    assert launched[0] == "cuLaunchKernel fused_conv2d_add_relu_kernel 4,1,1 8,16,1 0"
    assert [line.split()[1] for line in launched] == KERNELS
    # All launches are captured at the open; a run starts them with one call.
    begin, end = (
        next(number for number, line in enumerate(told) if line.startswith(name))
        for name in ("cuStreamBeginCapture_v2 1", "cuStreamEndCapture")
    )
    assert told[begin + 1 : end] == launched
    first = next(number for number, line in enumerate(told) if "HtoDAsync" in line)
    assert told[first - 2 : first] == ["cuCtxPopCurrent_v2", "cuCtxPushCurrent_v2"]
    assert told[first : first + 8] == [
        "cuMemcpyHtoDAsync_v2 4800",
        "cuGraphLaunch",
        "cuEventRecord",
        "cuEventQuery",
        "cuEventQuery",
        "cuEventQuery",
        "cuMemcpyDtoHAsync_v2 40",
        "cuStreamSynchronize",
    ]
    assert fake_driver.kept(tmp_path / "trace") == {}


@pytest.fixture(scope="module")
def profiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library as Nsight Systems has one for NVTX."""
    try:
        include = installed("nvidia.cu13", "include/nvtx3/nvToolsExt.h").parent.parent
    except MissingError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("nvtx") / "profiler.so"
    source = Path(__file__).with_name("fake_nvtx.c")
    command = [*zig(), "cc", "-shared", "-fPIC", "-w", f"-I{include}", "-o", out, source]
    subprocess.run(command, check=True)
    return out


def test_a_profilers_timeline_reads_like_the_model(
    net: Path, use: Use, profiler: Path, tmp_path: Path
) -> None:
    told = {"NVTX_INJECTION64_PATH": str(profiler), "FAKE_NVTX_LOG": str(tmp_path / "ranges")}
    use(net, RUN, TVMKD_CUDA="launches", **told)
    lines = (tmp_path / "ranges").read_text().splitlines()
    kernels = [
        *("fused_conv2d_add_relu: n0, n1", "fused_conv2d1_add_tir_clip: n2, n3"),
        *("fused_conv2d2_add_add1: n4, n5", "mean: n6", "fused_matmul_add2: n8"),
    ]
    ranges = [line for name in kernels for line in (f"+ {name}", "-")]
    assert lines == ["+ net", *ranges, "-"]


def test_a_graph_is_one_range(net: Path, use: Use, profiler: Path, tmp_path: Path) -> None:
    told = {"NVTX_INJECTION64_PATH": str(profiler), "FAKE_NVTX_LOG": str(tmp_path / "ranges")}
    use(net, RUN, TVMKD_CUDA="graph", **told)
    lines = (tmp_path / "ranges").read_text().splitlines()
    # Kernels are named while the graph is made.
    assert lines[-2:] == ["+ net", "-"]
    assert lines.count("+ net") == 1


@pytest.mark.parametrize("path", ["/nowhere/profiler.so", "libm.so.6", ""])
def test_a_profiler_that_is_not_there(path: str, net: Path, use: Use) -> None:
    agrees(net, use(net, RUN, FAKE_CUDA_COMPUTES="1", NVTX_INJECTION64_PATH=path))


def test_a_profiler_that_does_not_start(
    net: Path, use: Use, profiler: Path, tmp_path: Path
) -> None:
    told = {"NVTX_INJECTION64_PATH": str(profiler), "FAKE_NVTX_LOG": str(tmp_path / "ranges")}
    agrees(net, use(net, RUN, FAKE_CUDA_COMPUTES="1", FAKE_NVTX_REFUSES="1", **told))
    assert not (tmp_path / "ranges").exists()


def test_arrays_that_lie_on_the_gpu(net: Path, use: Use, tmp_path: Path) -> None:
    code = (
        THERE
        + """
model = tvmkd.load(folder)
stream = gpu.stream()
x, y = gpu.array(X), gpu.empty((1, 10), "float32")
gpu.forget()
model.enqueue([x], [y], stream)
told = gpu.calls()
print(json.dumps([told, [gpu.read(y, stream).tolist()]]))
"""
    )
    told, outputs = use(net, code, FAKE_CUDA_COMPUTES="1", PYTHONPATH=HELPERS)
    agrees(net, outputs)
    # Nothing is copied from or to the CPU, and nobody waits.
    assert told == [
        "cuCtxPushCurrent_v2",
        "cuMemcpyDtoDAsync_v2 4800",
        "cuGraphLaunch",
        "cuMemcpyDtoDAsync_v2 40",
        "cuEventRecord",
        "cuCtxPopCurrent_v2",
    ]


@pytest.mark.parametrize("mode", ["graph", "launches"])
def test_runs_in_several_streams_follow_each_other(
    net: Path, use: Use, tmp_path: Path, mode: str
) -> None:
    code = (
        THERE
        + """
model = tvmkd.load(folder)
streams = [gpu.stream(), gpu.stream(), 0]
inputs = [gpu.array(X * (1 + number)) for number in range(3)]
outputs = [gpu.empty((1, 10), "float32") for _ in streams]
for x, y, stream in zip(inputs, outputs, streams):
    model.enqueue([x], [y], stream)
last = model.run([X * 4])[0]
found = [gpu.read(y, stream) for y, stream in reversed(list(zip(outputs, streams)))]
print(json.dumps([each.tolist() for each in [*reversed(found), last]]))
"""
    )
    found = use(net, code, FAKE_CUDA_COMPUTES="1", TVMKD_CUDA=mode, PYTHONPATH=HELPERS)
    session = onnxruntime.InferenceSession(net.parent / "net.onnx")
    x = np.load(net.parent / "x.npy")
    for number, output in enumerate(found):
        want = session.run(None, {"x": x * (1 + number)})[0]
        np.testing.assert_allclose(output, want, rtol=1e-4, atol=1e-5)
    # All but the first, and the run on the CPU's arrays.
    assert calls(tmp_path).count("cuStreamWaitEvent") == 3


def test_a_stream_that_is_captured_is_refused(net: Path, use: Use) -> None:
    code = (
        THERE
        + """
model = tvmkd.load(folder)
x, y, stream = gpu.array(X), gpu.empty((1, 10), "float32"), gpu.stream()
gpu._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), 1)
try:
    model.enqueue([x], [y], stream)
except TvmkdError as error:
    print(json.dumps(str(error)))
"""
    )
    said = use(net, "import ctypes" + code, PYTHONPATH=HELPERS)
    assert said == "enqueue: the stream is being captured, which cannot be done"


def test_a_close_waits_for_what_was_put_into_a_stream(net: Path, use: Use, tmp_path: Path) -> None:
    code = (
        THERE
        + """
model = tvmkd.load(folder)
x, y, stream = gpu.array(X), gpu.empty((1, 10), "float32"), gpu.stream()
model.enqueue([x], [y], stream)
gpu.forget()
del model
print(json.dumps([gpu.calls(), gpu.read(y, stream).tolist()]))
"""
    )
    told, output = use(net, code, FAKE_CUDA_COMPUTES="1", PYTHONPATH=HELPERS)
    agrees(net, [output])
    assert told.index("cuEventSynchronize") < told.index("cuGraphExecDestroy -exec")
    assert told.index("cuEventSynchronize") < told.index("cuMemFree_v2 -memory")


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("model.enqueue([x, x], [y])", r"inputs: there are 1 \(x\), got 2"),
        ("model.enqueue([X], [y])", 'input "x": expects an array on the GPU'),
        ("model.enqueue([y], [y])", 'input "x": expects float32 1 x 3 x 20 x 20, got .* 1 x 10'),
        ("model.enqueue([x], [gpu.empty((1, 10), 'float16')])", "output .*got float16 1 x 10"),
        ("model.enqueue([gpu.array(X, device=1)], [y])", "lies on GPU 1"),
        ("model.enqueue([gpu.array(X, gaps=True)], [y])", "has gaps or another order of axes"),
        ("model.enqueue([gpu.array(X, refused=True)], [y])", r"\(DLPack\): it has a gradient"),
        ("model.run([x, X])", "has 1 inputs"),
        ("model.run_until([x])", "is on the GPU; give numpy arrays"),
        ("model(x)", "arrays of device_array on the GPU: .* torch and cupy only; give some"),
    ],
)
def test_an_array_that_does_not_fit(net: Path, use: Use, call: str, why: str) -> None:
    code = (
        THERE
        + f"""
model = tvmkd.load(folder)
x, y = gpu.array(X), gpu.empty((1, 10), "float32")
try:
    {call}
except TvmkdError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
    )
    kind, said = use(net, code, PYTHONPATH=HELPERS)
    assert kind == "InputError"
    assert re.search(why, said), said


def test_memory_that_cpu_and_gpu_share_is_the_cpus(net: Path, use: Use) -> None:
    code = (
        THERE
        + """
model = tvmkd.load(folder)
try:
    model.enqueue([gpu.array(X)], [gpu.empty((1, 10), "float32")])
except TvmkdError as error:
    print(json.dumps(str(error)))
"""
    )
    said = use(net, code, TVMKD_CUDA="managed", PYTHONPATH=HELPERS)
    assert said == "enqueue: with TVMKD_CUDA=managed only the CPU gives inputs"


def test_the_weights_are_copied_once(net: Path, use: Use, tmp_path: Path) -> None:
    code = """
models = [tvmkd.load(folder) for _ in range(5)]
found = [model.run([X])[0].tolist() for model in models]
models.pop(0)
found.append(models[0].run([X])[0].tolist())
print(json.dumps(found))
"""
    for found in use(net, code, FAKE_CUDA_COMPUTES="1"):
        agrees(net, [found])
    told = calls(tmp_path)
    for once in ("cuMemcpyHtoD_v2", "cuModuleLoadDataEx", "cuDevicePrimaryCtxRetain", "cuInit"):
        assert sum(line.startswith(once) for line in told) == 1, once
    assert sum(line.startswith("cuStreamCreate 1") for line in told) == 5
    assert fake_driver.kept(tmp_path / "trace") == {}


def test_an_open_and_a_close_leave_nothing(net: Path, use: Use, tmp_path: Path) -> None:
    code = """
import ctypes
from tvmkd.runtime.standalone_program import describe, Options
library = describe(folder / "libnet.so")
for number in range(1000):
    instance = ctypes.c_void_p()
    options = Options(ctypes.sizeof(Options), 0)
    assert library.open(ctypes.byref(options), ctypes.byref(instance)) == 0
    library.close(instance)
print(json.dumps(number))
"""
    assert use(net, code) == 999
    assert sum(line.startswith("cuModuleLoadDataEx") for line in calls(tmp_path)) == 1000
    assert fake_driver.kept(tmp_path / "trace") == {}


def test_instances_run_side_by_side(net: Path, use: Use, tmp_path: Path) -> None:
    code = """
import threading
found = []
def work(number):
    model = tvmkd.load(folder)
    found.extend([number, model.run([X * number])[0].tolist()] for _ in range(3))
threads = [threading.Thread(target=work, args=[number]) for number in range(1, 4)]
for each in threads: each.start()
for each in threads: each.join()
print(json.dumps(found))
"""
    found = use(net, code, FAKE_CUDA_COMPUTES="1")
    assert len(found) == 9
    session = onnxruntime.InferenceSession(net.parent / "net.onnx")
    x = np.load(net.parent / "x.npy")
    for number, output in found:
        want = session.run(None, {"x": x * number})[0]
        np.testing.assert_allclose(output, want, rtol=1e-4, atol=1e-5)
    assert fake_driver.kept(tmp_path / "trace") == {}


def test_a_driver_without_graphs(net: Path, use: Use, old_driver: Path, tmp_path: Path) -> None:
    agrees(net, use(net, RUN, old_driver, FAKE_CUDA_COMPUTES="1"))
    told = calls(tmp_path)
    first = next(number for number, line in enumerate(told) if "HtoDAsync" in line)
    assert [line.split()[1] for line in told[first + 1 : first + 6]] == KERNELS
    kind, why = use(net, LOADS, old_driver, TVMKD_CUDA="graph")
    assert kind == "InputError"
    assert "TVMKD_CUDA=graph: this driver cannot capture graphs" in why
    assert fake_driver.kept(tmp_path / "trace") == {}


@pytest.mark.parametrize("failing", ["cuStreamEndCapture", "cuGraphInstantiate"])
def test_a_graph_that_cannot_be_made(net: Path, use: Use, tmp_path: Path, failing: str) -> None:
    fault = {"FAKE_CUDA_FAIL": f"{failing}:1:900"}
    agrees(net, use(net, RUN, FAKE_CUDA_COMPUTES="1", **fault))
    assert "cuGraphLaunch" not in calls(tmp_path)
    _, why = use(net, LOADS, TVMKD_CUDA="graph", **fault)
    assert f"{failing}: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" in why
    assert fake_driver.kept(tmp_path / "trace") == {}


def test_memory_that_cpu_and_gpu_share(net: Path, use: Use, tmp_path: Path) -> None:
    agrees(net, use(net, RUN, FAKE_CUDA_COMPUTES="1", TVMKD_CUDA="managed"))
    told = calls(tmp_path)
    assert not any("HtoDAsync" in line or "DtoHAsync" in line for line in told)
    assert "cuMemAllocManaged 4864 2 +memory" in told
    assert "cuStreamAttachMemAsync 4" in told
    assert fake_driver.kept(tmp_path / "trace") == {}
    _, why = use(net, LOADS, TVMKD_CUDA="managed", FAKE_CUDA_DISCRETE="1")
    assert "TVMKD_CUDA=managed: this GPU has memory of its own" in why


def test_an_unknown_way_of_running(net: Path, use: Use) -> None:
    _, why = use(net, LOADS, TVMKD_CUDA="fast")
    assert "TVMKD_CUDA must be graph, launches or managed" in why


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("cuInit:1:100", "MissingError.*cuInit: CUDA_ERROR_NO_DEVICE"),
        ("cuDevicePrimaryCtxRetain:1:2", "cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuCtxPushCurrent_v2:1:201", "cuCtxPushCurrent: CUDA_ERROR_INVALID_CONTEXT"),
        ("cuModuleLoadDataEx:1:200", "cuModuleLoadDataEx: CUDA_ERROR_INVALID_IMAGE"),
        ("cuModuleGetFunction:2:500", "kernel fused.*: cuModuleGetFunction: CUDA_ERROR_NOT_FOUND"),
        ("cuMemAlloc_v2:1:2", r"cuMemAlloc \(weights\): CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuMemcpyHtoD_v2:1:700", r"cuMemcpyHtoD \(weights\): CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("cuStreamSynchronize:1:700", r"cuMemcpyHtoD \(weights\): CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("cuStreamCreate:1:2", "cuStreamCreate: CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuEventCreate:1:2", "cuEventCreate: CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuMemAlloc_v2:2:2", "^MissingError net: cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY$"),
        ("cuCtxPushCurrent_v2:2:201", "cuCtxPushCurrent_v2: CUDA_ERROR_INVALID_CONTEXT"),
    ],
)
def test_an_open_that_fails(net: Path, use: Use, tmp_path: Path, fault: str, why: str) -> None:
    said = use(net, LOADS, FAKE_CUDA_FAIL=fault)
    assert re.search(why, " ".join(said)), said
    assert "\n" not in said[1]
    assert fake_driver.kept(tmp_path / "trace") == {}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (
            "cuLaunchKernel:2:701",
            "kernel fused_conv2d1_.*: cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, grid 1",
        ),
        ("cuMemcpyHtoDAsync_v2:1:1", "cuMemcpyHtoDAsync_v2: CUDA_ERROR_INVALID_VALUE$"),
        ("cuMemcpyDtoHAsync_v2:1:1", "cuMemcpyDtoHAsync_v2: CUDA_ERROR_INVALID_VALUE$"),
        ("cuEventRecord:1:400", "cuEventRecord: CUDA_ERROR_INVALID_HANDLE$"),
        ("cuEventQuery:2:700", "a kernel failed: cuEventQuery: CUDA_ERROR_ILLEGAL_ADDRESS$"),
        ("cuCtxPushCurrent_v2:3:201", "cuCtxPushCurrent_v2: CUDA_ERROR_INVALID_CONTEXT$"),
    ],
)
def test_a_run_that_fails_and_the_next(
    net: Path, use: Use, tmp_path: Path, fault: str, why: str
) -> None:
    fails = {"FAKE_CUDA_FAIL": fault, "TVMKD_CUDA": "launches", "FAKE_CUDA_COMPUTES": "1"}
    first, then = use(net, FAILS, **fails)
    assert re.match(why, first), first
    agrees(net, then)
    assert fake_driver.kept(tmp_path / "trace") == {}


def test_a_graph_that_fails(net: Path, use: Use) -> None:
    fault = {"FAKE_CUDA_FAIL": "cuGraphLaunch:1:700", "FAKE_CUDA_COMPUTES": "1"}
    first, then = use(net, FAILS, **fault)
    assert first == "cuGraphLaunch: CUDA_ERROR_ILLEGAL_ADDRESS"
    agrees(net, then)


def test_younger_ptx_than_the_driver_takes(
    relax_stack: StackClient, use: Use, tmp_path: Path
) -> None:
    assert HERE.cuda is not None
    young = dataclasses.replace(HERE, cuda=dataclasses.replace(HERE.cuda, ptx_max="8.0"))
    kind, why = use(made(relax_stack, tmp_path, target=young), LOADS)
    assert kind == "InputError"
    assert "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: ptxas application ptx input, fatal: too new" in why
    assert fake_driver.kept(tmp_path / "trace") == {}


def test_a_gpu_that_is_too_old(net: Path, use: Use, tmp_path: Path) -> None:
    kind, why = use(net, LOADS, FAKE_CUDA_CAPABILITY="32")
    assert kind == "MissingError"
    assert why == "net: this GPU has compute capability 3.2, and the library needs 5.3"
    assert fake_driver.kept(tmp_path / "trace") == {}


@pytest.mark.skipif(device.find() is not None, reason="this machine has a GPU")
def test_a_machine_without_a_driver(net: Path, use: Use, tmp_path: Path) -> None:
    kind, why = use(net, LOADS, tmp_path)
    assert kind == "MissingError"
    assert why.startswith("net: no NVIDIA driver here: libcuda.so.1: cannot open")
    reason = str(HERE.why_not_here("standalone"))
    assert reason.startswith("its kernels run on an NVIDIA GPU: no NVIDIA driver (libcuda.so.1)")


def test_a_driver_that_lacks_a_function(net: Path, use: Use, tmp_path: Path) -> None:
    source = tmp_path / "driver.c"
    source.write_text("int cuInit(unsigned flags) { return (int)flags; }\n")
    command = [*zig(), "cc", "-fno-sanitize=all", "-shared", "-fPIC", os.fspath(source)]
    subprocess.run([*command, "-o", os.fspath(tmp_path / fake_driver.NAME)], check=True)
    kind, why = use(net, LOADS, tmp_path)
    assert kind == "MissingError"
    assert why == "net: the NVIDIA driver here is too old: it has no cuGetErrorName"


def test_a_build_is_checked_where_there_is_a_gpu(use: Use, tmp_path: Path) -> None:
    graphs.separable(tmp_path / "net.onnx")
    (tmp_path / "here.json").write_text(json.dumps(HERE.to_dict()))
    code = """
from tvmkd import targets
from tvmkd.stacks.compile import build
target = targets.Target.from_dict(json.loads((folder.parent / "here.json").read_text()))
try:
    made = build(folder.parent / "net.onnx", target, [], folder, runtime="standalone")
    print(json.dumps(made["check"]))
except TvmkdError as error:
    print(json.dumps(str(error)))
"""
    check = use(tmp_path / "out", code, FAKE_CUDA_COMPUTES="1")
    assert check["samples"] > 0
    assert check["max_error"] < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(device.find() is None, reason="this machine has no NVIDIA GPU")
@pytest.mark.parametrize("write", [graphs.separable, graphs.stranger, half])
def test_on_a_gpu(
    write: Callable[[Path], Path], relax_stack: StackClient, use: Use, tmp_path: Path
) -> None:
    folder, driver = made(relax_stack, tmp_path, write), os.environ.get("LD_LIBRARY_PATH", "")
    for mode in ("graph", "launches"):
        agrees(folder, use(folder, RUN, Path(driver), TVMKD_CUDA=mode), 1e-2)


def test_a_bundle_runs_its_self_test_where_there_is_a_gpu(net: Path, use: Use) -> None:
    code = """
from tvmkd.deploy.bundles import model, self_test
print(json.dumps(self_test.runner(model.read(folder))))
"""
    assert use(net, code) == []
    assert use(net, code, FAKE_CUDA_CAPABILITY="32") is None


def test_a_comparison_says_that_it_runs_on_the_gpu(net: Path) -> None:
    for name in (engine_registry.TVM_STANDALONE, f"{engine_registry.TVM_STANDALONE}@board"):
        spec = EngineSpec(name=name, kind=name, path=str(net))
        assert engine_class(name).device_of(spec) == "GPU"


def test_what_the_library_needs(net: Path) -> None:
    manifest = artifact.read(net)
    assert (manifest.runtime, manifest.library) == ("standalone", "libnet.so")
    assert "ptxas" in manifest.coverage["kernels"]["mean"]
    assert symbols.needed(net / "libnet.so").keys() <= {"GLIBC"}
    with (net / "libnet.so").open("rb") as stream:
        tags = ELFFile(stream).get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
        needed = {tag.needed.partition(".")[0] for tag in tags}
    assert needed <= {"libc", "libdl", "libm", "libpthread", "ld-linux-x86-64"}


@pytest.mark.board
@pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not()))
def test_programs_on_the_board(relax_stack: StackClient, tmp_path: Path) -> None:
    """Linked with the shared and the static library; a static program has no driver."""
    folder = made(relax_stack, tmp_path, target=NANO)
    driver = fake_driver.built(tmp_path, "aarch64-linux-gnu.2.27")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    zeros = session.run(None, {"x": np.zeros((1, 3, 20, 20), np.float32)})[0].ravel()[:5]
    variables = {"LD_LIBRARY_PATH": f"{folder}:{driver}", "FAKE_CUDA_COMPUTES": "1"}
    for library, triple, flags in (
        ("libnet.so", "aarch64-linux-gnu.2.27", ()),
        ("libnet.a", "aarch64-linux-gnu.2.27", ("-ldl",)),
        ("libnet.a", "aarch64-linux-musl", ("-static",)),
    ):
        command = [*zig(), "cc", "-target", triple, "-O1", *flags, "-o", f"{tmp_path}/example"]
        command += [f"{folder}/example.c", f"{folder}/{library}", "-lm", "-lpthread"]
        subprocess.run(command, check=True)
        run = [emulate.QEMU, "-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM)]
        for name, value in variables.items():
            run += ["-E", f"{name}={value}"]
        done = subprocess.run(
            [*run, f"{tmp_path}/example"], capture_output=True, text=True, timeout=200
        )
        if "-static" in flags:
            assert done.returncode == 1
            assert done.stderr.startswith("no NVIDIA driver here: ")
        else:
            assert done.returncode == 0, done.stderr
            found = [float(word) for word in done.stdout.split()[2:]]
            np.testing.assert_allclose(found, zeros, rtol=1e-4, atol=1e-5)
