"""A fake of a board's TensorRT, in Python 3.6 without packages.

It "reads" the one model of the tests, ``relu(x @ w)`` with x of 8 columns: w is in the JSON file
STANDIN_WEIGHTS, and the ONNX file only has to hold the word MatMul. STANDIN_API is "8" (bindings,
as JetPack 4.6) or "10" (names, as JetPack 6); each has only what that generation has.
"""

import json
import os
import struct
import time

from pycuda import driver

API = os.environ.get("STANDIN_API", "8")
__version__ = {"8": "8.2.1.8", "10": "10.3.0"}[API]
KERNEL_MS = 1.0


class _Value:
    def __init__(self, number, name):
        self.number, self.name = number, name

    def __int__(self):
        return self.number


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = _Value(0, "INTERNAL_ERROR"), _Value(1, "ERROR"), _Value(2, "")


class IProfiler:
    pass


class TensorIOMode:
    INPUT, OUTPUT = "INPUT", "OUTPUT"


class MemoryPoolType:
    WORKSPACE = "WORKSPACE"


class BuilderFlag:
    FP16, INT8, TF32 = "FP16", "INT8", "TF32"


class NetworkDefinitionCreationFlag:
    if API == "8":
        EXPLICIT_BATCH = _Value(0, "EXPLICIT_BATCH")


class _Network:
    onnx = None


class _Error:
    def desc(self):
        return "In node 0 (importFoo): UNSUPPORTED_NODE: No importer registered for op: Foo"


class OnnxParser:
    num_errors = 0

    def __init__(self, network, logger):
        self.network = network

    def parse(self, model):
        assert isinstance(model, bytes)
        if b"MatMul" not in model:
            self.num_errors = 1
            return False
        self.network.onnx = model
        return True

    def get_error(self, index):
        return _Error()


class _Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, input, min, opt, max):  # noqa: A002
        assert min == opt == max
        self.shapes[input] = min


class _Config:
    def __init__(self):
        self.flags, self.profiles = {BuilderFlag.TF32}, []
        self.workspace = None

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    if API == "8":
        max_workspace_size = 1 << 24
    else:

        def set_memory_pool_limit(self, pool, pool_size):
            self.workspace = pool_size


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags=0):
        assert flags == (1 if API == "8" else 0)
        return _Network()

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        free = b"batch" in network.onnx
        if free and not config.profiles:
            self.logger.log(ILogger.ERROR, "Network has dynamic inputs, but no profile")
            return None
        with open(os.environ["STANDIN_WEIGHTS"]) as file:
            weights = json.load(file)
        time.sleep(0.2)
        plan = {"weights": weights, "flags": sorted(config.flags), "free": free}
        return memoryview(json.dumps(plan).encode())


class _Dtype:
    name = "FLOAT"


class _Engine:
    num_layers = 1

    def __init__(self, plan):
        self.plan = plan
        self.shape = (-1, 8) if plan["free"] else (1, 8)

    def create_execution_context(self):
        return (_Indexed if API == "8" else _Named)(self)

    if API == "8":
        num_bindings, num_optimization_profiles = 2, 1

        def get_binding_name(self, index):
            return "xy"[index]

        def binding_is_input(self, index):
            return index == 0

        def get_binding_shape(self, index):
            return self.shape

        def get_binding_dtype(self, index):
            return _Dtype()

    else:
        num_io_tensors = 2

        def get_tensor_name(self, index):
            return "xy"[index]

        def get_tensor_mode(self, name):
            return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

        def get_tensor_shape(self, name):
            return self.shape

        def get_tensor_dtype(self, name):
            return _Dtype()


class _Context:
    profiler = None

    def __init__(self, engine):
        self.engine = engine
        self.shape = engine.shape

    def take(self, shape):
        assert self.engine.plan["free"]
        self.shape = tuple(shape)
        return self.shape[1:] == (8,)

    def kernel(self, addresses):
        weights = self.engine.plan["weights"]
        count = self.shape[0] * 8

        def work():
            x = struct.unpack("%df" % count, driver.MEMORY[addresses[0]])
            y = []
            for row in range(self.shape[0]):
                for column in range(8):
                    total = sum(x[8 * row + k] * weights[k][column] for k in range(8))
                    y.append(max(total, 0.0))
            driver.MEMORY[addresses[1]][:] = struct.pack("%df" % count, *y)
            driver.clock[0] += KERNEL_MS

        return work

    def execute_v2(self, bindings):
        self.kernel(bindings)()
        if self.profiler is not None:
            self.profiler.report_layer_time("dense", 0.75)
        return True


class _Indexed(_Context):
    def set_binding_shape(self, binding, shape):
        assert binding == 0
        return self.take(shape)

    def get_binding_shape(self, binding):
        return self.shape

    def execute_async_v2(self, bindings, stream_handle, input_consumed=None):
        driver.STREAMS[stream_handle].append(self.kernel(list(bindings)))
        return True


class _Named(_Context):
    def __init__(self, engine):
        _Context.__init__(self, engine)
        self.addresses = {}

    def set_input_shape(self, name, shape):
        assert name == "x"
        return self.take(shape)

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        driver.STREAMS[stream_handle].append(
            self.kernel([self.addresses["x"], self.addresses["y"]])
        )
        return True


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        try:
            return _Engine(json.loads(serialized_engine.decode()))
        except ValueError:
            self.logger.log(ILogger.ERROR, "1: [stdArchiveReader.cpp] Serialization failed")
            return None
