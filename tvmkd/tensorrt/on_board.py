"""Builds, runs and times a TensorRT engine on a board, whose Python runs this script over ssh.

It is one file for Python 3.6 (JetPack 4.6), the standard library and the board's ``tensorrt`` and
``pycuda``; tvmkd never imports it. It serves the protocol of `tvmkd.base.wire`: one line of JSON on
stdin is a request; tensors are sent in base64. As in `tvmkd.tensorrt.context` it tests what the
bindings support, so later boards work too. Times are those of `tvmkd.tensorrt.runner`, on the
board's clocks.
"""

import base64
import glob
import hashlib
import json
import os
import platform
import re
import resource
import sys
import time
import traceback
from typing import Any, Dict, List, Optional

SIZES = {"FLOAT": 4, "HALF": 2, "INT8": 1, "INT32": 4, "INT64": 8, "UINT8": 1, "BOOL": 1}
NAMES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32"}
NAMES.update({"INT64": "int64", "UINT8": "uint8", "BOOL": "bool"})
WARM_UP = 10
THERMAL = "/sys/class/thermal"
CPUS = "/sys/devices/system/cpu"
GPU_CLOCKS = ("/sys/devices/gpu.0/devfreq/*", "/sys/class/devfreq/*gpu*")


class Failed(Exception):
    """An error that tvmkd raises again; ``kind`` is the name of its class there."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def path(name: str) -> str:
    """The path of a board's file; a test sets another root."""
    return os.environ.get("TVMKD_BOARD_ROOT", "") + name


def text_of(name: str) -> Optional[str]:
    """A file's text without surrounding zeros and spaces; None if it cannot be read."""
    try:
        with open(path(name), errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return None


def number_of(name: str) -> Optional[int]:
    """The integer in a file, or None."""
    text = text_of(name)
    return int(text) if text and text.lstrip("-").isdigit() else None


def found(pattern: str, name: str) -> Optional[str]:
    """The text of the pattern's group in a file, or None."""
    match = re.search(pattern, text_of(name) or "", re.MULTILINE)
    return match.group(1).strip() if match else None


def inner(pattern: str) -> List[str]:
    """The paths that match a pattern, without a test's root."""
    root = len(path(""))
    return [name[root:] for name in sorted(glob.glob(path(pattern)))]


def telemetry() -> Dict[str, Any]:
    """Temperature, throttling and clocks now; None for unknown values."""
    heat = []
    for zone in inner(THERMAL + "/thermal_zone*"):
        kind, value = text_of(zone + "/type"), number_of(zone + "/temp")
        # A Nano's PMIC zone always reads 100 C.
        if kind is not None and value is not None and not kind.startswith("PMIC"):
            heat.append(round(value / 1000.0, 1))
    slowed: Optional[bool] = None
    for device in inner(THERMAL + "/cooling_device*"):
        kind, state = text_of(device + "/type") or "", number_of(device + "/cur_state")
        slows = kind.startswith(("thermal-cpufreq", "cpufreq", "tegra-")) or "throttle" in kind
        if slows and state is not None:
            slowed = bool(slowed) or state > 0
    return {
        "celsius": max(heat) if heat else None,
        "throttled": slowed,
        "governor": text_of(CPUS + "/cpu0/cpufreq/scaling_governor"),
        "gpu_clock_hz": gpu_clock(),
    }


def gpu_clock() -> Optional[Dict[str, Any]]:
    """The GPU's ``{"now", "min", "max"}`` in Hz and ``locked`` (min equals max); or None."""
    for pattern in GPU_CLOCKS:
        for folder in inner(pattern):
            names = {"now": "cur_freq", "min": "min_freq", "max": "max_freq"}
            clock: Dict[str, Any] = {
                key: number_of(folder + "/" + name) for key, name in names.items()
            }
            if None not in clock.values():
                return dict(clock, locked=clock["min"] == clock["max"])
    return None


def board() -> Dict[str, Any]:
    """Facts of the board, with the names of ``tvmkd.boards.facts``."""
    memory = found(r"^MemTotal:\s+(\d+)", "/proc/meminfo")
    mode = found(r"pmode:0*(\d+)", "/var/lib/nvpmodel/status")
    named = r"< POWER_MODEL ID=%s NAME=([^ >]+)" % mode
    l4t = text_of("/etc/nv_tegra_release") or ""
    release = re.search(r"# (\S+) \(release\), REVISION: ([^,]+)", l4t)
    part = found(r"^CPU part\s*:\s*(\S+)", "/proc/cpuinfo")
    cores = {"0xd07": "Cortex-A57", "0xd42": "Cortex-A78AE"}
    return {
        "machine": platform.machine(),
        "model": text_of("/proc/device-tree/model"),
        "cpu": cores.get(part or "") or found(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo") or part,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory) * 1024 if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "l4t": ".".join(release.groups()) if release else None,
        "nvpmodel": mode and (found(named, "/etc/nvpmodel.conf") or mode),
        "emulated": False,
        **telemetry(),
    }


class Board:
    """One engine on the board's GPU."""

    def __init__(self) -> None:
        self.context: Any = None
        self.forget()

    def forget(self) -> None:
        """Releases the engine and everything that belongs to it."""
        self.shapes: Dict[str, List[int]] = {}  # that there is memory for
        self.fitted = False  # whether the execution context knows of them
        self.places: List[Dict[str, Any]] = []
        self.addresses: List[int] = []
        self.running: Any = None
        self.stream: Any = None
        self.engine: Any = None
        self.runtime: Any = None

    def close(self) -> None:
        """Releases the GPU; pycuda aborts if its context still exists at exit."""
        self.forget()
        if self.context is not None:
            self.context.pop()
            self.context.detach()

    def hello(self, _: Any) -> Dict[str, Any]:
        """Imports the packages, opens the GPU and returns the facts."""
        try:
            import tensorrt
        except ImportError as error:
            raise Failed(
                "MissingError",
                "the board's python3 (%s) has no tensorrt (%s): sudo apt install "
                "python3-libnvinfer" % (platform.python_version(), error),
            )
        try:
            import pycuda.driver
        except ImportError as error:
            raise Failed(
                "MissingError",
                "the board's python3 has no pycuda (%s): there, CPATH=/usr/local/cuda/include "
                "LIBRARY_PATH=/usr/local/cuda/lib64 pip3 install --user 'pycuda<2021'" % error,
            )
        self.trt, self.cuda = tensorrt, pycuda.driver
        try:
            self.cuda.init()
            device = self.cuda.Device(0)
            # Not the primary context, because only a new one has an option for waiting.
            self.context = device.make_context(self.cuda.ctx_flags.SCHED_SPIN)
        except self.cuda.Error as error:
            raise Failed("MissingError", "the board finds no GPU: %s" % error)
        said: List[str] = []
        self.said = said

        class Logger(tensorrt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                tensorrt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                if int(severity) <= 1:  # INTERNAL_ERROR, ERROR
                    said.append(msg)

        self.log = Logger()
        self.gpu = {
            "gpu": device.name(),
            "compute_capability": "%d.%d" % device.compute_capability(),
            "cuda": "%d.%d" % divmod(self.cuda.get_driver_version() // 10, 100),
        }
        self.board = board()
        return dict(self.gpu, version=tensorrt.__version__, board=self.board)

    def why(self) -> str:
        """TensorRT's first error since the last call, on one line."""
        text = " ".join((self.said or ["no message"])[0].split())[:300]
        del self.said[:]
        return text

    def prepare(self, params: Dict[str, Any]) -> Dict[str, Any]:
        """Builds the engine, or loads it from the cache.

        Params: ``onnx`` (base64), ``precision``, ``workspace_mib``, ``shapes`` (of inputs with free
        sizes), ``rebuild``.
        """
        onnx = base64.b64decode(params["onnx"])
        what = [params[name] for name in ("precision", "workspace_mib", "shapes")]
        what += [hashlib.sha256(onnx).hexdigest(), self.trt.__version__, self.gpu]
        key = hashlib.sha256(json.dumps(what + [self.board["l4t"]], sort_keys=True).encode())
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        kept = os.path.join(cache, "tvmkd", "engines", key.hexdigest() + ".plan")
        start, cached, plan = time.time(), False, b""
        self.forget()
        self.runtime = self.trt.Runtime(self.log)
        if not params["rebuild"] and os.path.exists(kept):
            with open(kept, "rb") as file:
                plan = file.read()
            self.engine = self.runtime.deserialize_cuda_engine(plan)
            cached = self.engine is not None
        if self.engine is None:
            plan = self.build(onnx, params)
            self.engine = self.runtime.deserialize_cuda_engine(plan)
            if self.engine is None:
                raise Failed("TvmkdError", "the board cannot read what it built: " + self.why())
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            draft = "%s.%d.tmp" % (kept, os.getpid())
            with open(draft, "wb") as file:
                file.write(plan)
            os.replace(draft, kept)
        self.open()
        return {
            "seconds": time.time() - start,
            "cached": cached,
            "size_bytes": len(plan),
            "layers": self.engine.num_layers,
            "inputs": {name: NAMES.get(kind, kind) for name, given, kind in self.io if given},
        }

    def build(self, onnx: bytes, params: Dict[str, Any]) -> bytes:
        """Builds the plan. The precision only allows types; the ONNX file may hold its own."""
        trt = self.trt
        flag = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        builder = trt.Builder(self.log)
        network = builder.create_network(0 if flag is None else 1 << int(flag))
        parser = trt.OnnxParser(network, self.log)
        if not parser.parse(onnx):
            errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise Failed("InputError", "TensorRT cannot read the model: " + "; ".join(errors)[:300])
        config = builder.create_builder_config()
        if params["workspace_mib"] is not None:
            size = params["workspace_mib"] << 20
            if hasattr(config, "set_memory_pool_limit"):
                config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
            else:
                config.max_workspace_size = size
        flags = {"fp32": [], "tf32": [], "fp16": ["FP16"], "int8": ["FP16", "INT8"]}[
            params["precision"]
        ]
        for name in flags:
            config.set_flag(getattr(trt.BuilderFlag, name))
        if params["precision"] == "fp32" and hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)
        if params["shapes"]:
            profile = builder.create_optimization_profile()
            for name, shape in params["shapes"].items():
                profile.set_shape(name, shape, shape, shape)
            config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise Failed("InputError", "TensorRT builds no engine of the model: " + self.why())
        return bytes(plan)

    def open(self) -> None:
        """Makes a new execution context, and lists the engine's inputs and outputs."""
        engine, cuda = self.engine, self.cuda
        self.running = None  # deleted first: two contexts must not use the same profile
        self.running = running = engine.create_execution_context()
        if running is None:
            raise Failed("TvmkdError", "no memory for the engine: " + self.why())
        self.named = hasattr(running, "execute_async_v3")
        if self.named:
            names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
            given = [engine.get_tensor_mode(n) == self.trt.TensorIOMode.INPUT for n in names]
            kinds = [engine.get_tensor_dtype(name).name for name in names]
        else:
            count = engine.num_bindings // engine.num_optimization_profiles
            names = [engine.get_binding_name(i) for i in range(count)]
            given = [engine.binding_is_input(i) for i in range(count)]
            kinds = [engine.get_binding_dtype(i).name for i in range(count)]
        self.io = list(zip(names, given, kinds))
        self.stream = cuda.Stream()
        self.fitted = False

    def fit(self, shapes: Dict[str, List[int]]) -> None:
        """Sets the inputs' shapes and all tensors' addresses in the execution context."""
        if self.shapes == shapes and self.fitted:
            return
        self.fitted = False
        running, engine = self.running, self.engine
        for index, (name, given, _) in enumerate(self.io):
            if not given:
                continue
            shape = tuple(shapes[name])
            fixed = engine.get_tensor_shape(name) if self.named else engine.get_binding_shape(index)
            if -1 not in tuple(fixed):
                taken = tuple(fixed) == shape
            elif self.named:
                taken = running.set_input_shape(name, shape)
            else:
                taken = running.set_binding_shape(index, shape)
            if not taken:
                text = "the engine does not take %s as %s" % (name, list(shape))
                raise Failed("InputError", text)
        if self.shapes != shapes:
            self.places, self.shapes = [], {}
            self.places = [self.place(index) for index in range(len(self.io))]
        self.addresses = [int(place["device"]) for place in self.places]
        if self.named:
            for place, address in zip(self.places, self.addresses):
                running.set_tensor_address(place["name"], address)
        self.shapes, self.fitted = shapes, True

    def place(self, index: int) -> Dict[str, Any]:
        """A tensor's shape and dtype, and its memory on the host and on the GPU."""
        name, given, kind = self.io[index]
        running, cuda = self.running, self.cuda
        now = running.get_tensor_shape(name) if self.named else running.get_binding_shape(index)
        shape = [int(length) for length in now]
        if kind not in SIZES or min(shape + [1]) < 0:
            text = "%s has the type %s and the shape %s" % (name, kind, shape)
            raise Failed("InputError", text + ", which is not supported")
        size = SIZES[kind]
        for length in shape:
            size *= length
        return {
            "name": name,
            "given": given,
            "shape": shape,
            "dtype": NAMES[kind],
            "size": size,
            "host": cuda.pagelocked_empty((max(size, 1),), "uint8"),
            "device": cuda.mem_alloc(max(size, 1)),
        }

    def load(self, inputs: Dict[str, Dict[str, Any]]) -> None:
        """Copies inputs (name -> ``{"shape", "dtype", "data"}``) to pinned memory."""
        names = sorted(name for name, given, _ in self.io if given)
        if sorted(inputs) != names:
            text = "the inputs of the engine are %s, not %s" % (
                ", ".join(names),
                ", ".join(sorted(inputs)),
            )
            raise Failed("InputError", text)
        self.fit({name: array["shape"] for name, array in inputs.items()})
        for place in self.places:
            if place["given"]:
                array = inputs[place["name"]]
                if array["dtype"] != place["dtype"]:
                    text = "the input %s of the engine is %s, not " % (
                        place["name"],
                        place["dtype"],
                    )
                    raise Failed("InputError", text + array["dtype"])
                memoryview(place["host"])[: place["size"]] = base64.b64decode(array["data"])

    def copy_in(self) -> None:
        """Enqueues the copies of the inputs to the GPU."""
        for place in self.places:
            if place["given"] and place["size"]:
                self.cuda.memcpy_htod_async(place["device"], place["host"], self.stream)

    def copy_out(self) -> None:
        """Enqueues the copies of the outputs from the GPU."""
        for place in self.places:
            if not place["given"] and place["size"]:
                self.cuda.memcpy_dtoh_async(place["host"], place["device"], self.stream)

    def compute(self) -> None:
        """Enqueues one run."""
        if self.named:
            taken = self.running.execute_async_v3(self.stream.handle)
        else:
            taken = self.running.execute_async_v2(self.addresses, self.stream.handle)
        if not taken:
            raise Failed("TvmkdError", "TensorRT does not run the engine: " + self.why())

    def run(self, params: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Runs once on ``inputs``; returns the outputs in the engine's order."""
        self.load(params["inputs"])
        self.copy_in()
        self.compute()
        self.copy_out()
        self.stream.synchronize()
        return [
            {
                "name": place["name"],
                "shape": place["shape"],
                "dtype": place["dtype"],
                "data": base64.b64encode(memoryview(place["host"])[: place["size"]]).decode(),
            }
            for place in self.places
            if not place["given"]
        ]

    def time(self, params: Dict[str, Any]) -> Dict[str, Any]:
        """Times runs on the inputs of the last `run`; returns them and the telemetry after them.

        Params: ``count``, and ``limit_s``, after which no run starts. A run is ``[h2d, compute,
        d2h, enqueue, host]`` in milliseconds.
        """
        events = [self.cuda.Event() for _ in range(4)]
        clock = time.perf_counter
        for _ in range(WARM_UP):
            self.compute()
        self.stream.synchronize()
        begin = clock()
        runs: List[List[float]] = []
        while len(runs) < params["count"] and (not runs or clock() - begin < params["limit_s"]):
            start = clock()
            events[0].record(self.stream)
            self.copy_in()
            events[1].record(self.stream)
            enqueue = clock()
            self.compute()
            enqueued = clock()
            events[2].record(self.stream)
            self.copy_out()
            events[3].record(self.stream)
            self.stream.synchronize()
            done = clock()
            parts = [events[i].time_till(events[i + 1]) for i in range(3)]
            runs.append(parts + [(enqueued - enqueue) * 1e3, (done - start) * 1e3])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"runs": runs, "telemetry": dict(telemetry(), peak_rss_bytes=peak)}

    def profile(self, params: Dict[str, Any]) -> List[List[Any]]:
        """``[name, median milliseconds]`` of each layer over ``count`` separate runs."""
        times: List[Any] = []
        trt = self.trt

        class Profiler(trt.IProfiler):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.append((layer_name, ms))

        shapes = self.shapes
        self.open()
        try:
            self.fit(shapes)
            self.copy_in()
            self.stream.synchronize()
            self.running.profiler = Profiler()
            runs: List[List[Any]] = []
            for _ in range(params["count"] + 1):
                del times[:]
                if not self.running.execute_v2(self.addresses):
                    raise Failed("TvmkdError", "TensorRT does not run the engine: " + self.why())
                runs.append(list(times))
        finally:
            self.open()
            self.fit(shapes)
        steps = zip(*runs[1:])  # the first one is a warm-up
        return [[step[0][0], sorted(ms for _, ms in step)[len(step) // 2]] for step in steps]


def main() -> None:
    """Answers requests until stdin is closed."""
    # Libraries in C++ write to descriptor 1 directly, so answers use a copy of it.
    out = os.fdopen(os.dup(1), "w", 1)
    os.dup2(2, 1)
    engine = Board()
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        answer: Dict[str, Any] = {"id": request["id"]}
        try:
            answer["result"] = getattr(engine, request["method"])(request["params"])
        except Failed as error:
            answer["error"] = {"type": error.kind, "message": str(error)}
        except Exception as error:  # the parent has to get an answer to every request
            traceback.print_exc()
            text = "on the board: %s: %s" % (type(error).__name__, error)
            answer["error"] = {"type": "Internal", "message": " ".join(text.split())}
        out.write(json.dumps(answer) + "\n")
    engine.close()


if __name__ == "__main__":
    main()
