"""Regions are made, stored and run; with fakes of TensorRT and a GPU."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tvmkd.tensorrt
from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.byoc import region as byoc
from tvmkd.byoc.region import Maker, Refused, Region, open_region

HERE = targets.load("host").to_dict()
NANO = targets.load("jetson-nano-gpu").to_dict()
ADA = {**NANO, "cuda": {**NANO["cuda"], "arch": "sm_89"}}
BLACKWELL = {**NANO, "cuda": {**NANO["cuda"], "arch": "sm_120"}}


def model(operator: str = "Relu", constants: tuple[Any, ...] = ()) -> bytes:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "ab"]
    graph = helper.make_graph(
        [helper.make_node(operator, ["a"], ["b"])], "g", *[[i] for i in infos], constants
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(made.SerializeToString())


class Tensor:
    """The part of a TVM tensor that a region uses."""

    def __init__(self, array: np.ndarray, where: str = "cpu") -> None:
        self.array, self.where = array, where

    def __dlpack__(self, **_: Any) -> Any:
        if self.where != "cpu":
            raise BufferError("on the GPU")
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1 if self.where == "cpu" else 2, 0)

    def numpy(self) -> np.ndarray:
        return self.array.copy()

    def copyfrom(self, array: np.ndarray) -> None:
        self.array[...] = array


def test_region_round_trip() -> None:
    region = Region(
        "tensorrt", "plan", b"\0plan", ("a",), ("b", "c"), (1, 2, 8), {"gpu": "A"}, "fp16"
    )
    assert Region.from_bytes(region.to_bytes()) == region
    assert Region.from_bytes(replace(region, batch=None).to_bytes()).batch is None


def test_a_region_of_an_older_library_is_in_fp32() -> None:
    new = Region("tensorrt", "plan", b"plan", ("a",), ("b",))
    header = json.dumps({k: v for k, v in vars(new).items() if k not in ("blob", "precision")})
    old = byoc.MAGIC + len(header).to_bytes(8, "little") + header.encode() + b"plan"
    assert Region.from_bytes(old) == new


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"X" + data[1:],
        lambda data: data[:20],
        lambda data: data.replace(b"onnxruntime", b"onnxruntimx"),
        lambda data: data.replace(b'"form"', b'"from"'),
    ],
)
def test_a_damaged_region_is_refused(damage: Any) -> None:
    data = Region("onnxruntime", "onnx", b"blob", ("a",), ("b",)).to_bytes()
    with pytest.raises(InputError, match=r"a region in the library cannot be read .*; build"):
        open_region(damage(data))


@pytest.mark.parametrize("where", ["cpu", "gpu"])
def test_onnx_runtime_runs_a_region_and_writes_its_outputs(where: str) -> None:
    region = Maker("onnxruntime", HERE).make(model(), ["a"], ["b"])
    assert (region.form, region.made) == ("onnx", {})
    run = open_region(region.to_bytes())
    for count in (1, 3):
        given = np.linspace(-1, 1, 2 * count, dtype=np.float32).reshape(count, 2)
        place = Tensor(np.full((count, 2), 9, np.float32))
        run(Tensor(given, where), place)
        np.testing.assert_array_equal(place.array, np.maximum(given, 0))


@pytest.mark.parametrize("outputs", [("b",), ("b", "c")])
def test_a_region_makes_outputs_whose_shapes_depend_on_the_data(outputs: tuple[str, ...]) -> None:
    made: list[Any] = []

    def tensor(array: np.ndarray) -> str:
        made.append(array)
        return f"tensor {len(made)}"

    text = f"""<ir_version: 9, opset_import: ["" : 18]>
    g (float[N] a) => ({", ".join(("int64[1, K] b", "float c")[: len(outputs)])}) {{
        b = NonZero(a)
        c = ReduceSum<keepdims = 0>(a)
    }}"""
    blob = onnx.parser.parse_model(text).SerializeToString()
    run = open_region(Region("onnxruntime", "onnx", blob, ("a",), outputs).to_bytes(), tensor)
    found = run(Tensor(np.array([0, 2, 3], np.float32), "cpu"))
    assert found == ("tensor 1" if len(outputs) == 1 else ["tensor 1", "tensor 2"])
    np.testing.assert_array_equal(made[0], [[1, 2]])
    assert [each.shape for each in made[1:]] == [()] * (len(outputs) - 1)


def test_onnx_runtime_has_as_many_threads_as_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setenv("TVM_NUM_THREADS", "3")
    seen: list[int] = []
    original = onnxruntime.InferenceSession

    def session(model: bytes, options: Any, **more: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        return original(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    byoc.OnnxRuntimeRunner(model())
    assert seen == [3]


def test_a_region_that_onnx_runtime_cannot_load_is_refused() -> None:
    with pytest.raises(Refused, match="NoSuchOperator"):
        Maker("onnxruntime", HERE).make(model("NoSuchOperator"), ["a"], ["b"])
    data = Region("onnxruntime", "onnx", model("NoSuchOperator"), ("a",), ("b",)).to_bytes()
    with pytest.raises(InputError, match=r"ONNX Runtime cannot load a region: .*NoSuchOperator"):
        open_region(data)


class Fake:
    """Fakes TensorRT, its cache and a GPU; an engine doubles its input."""

    def __init__(self) -> None:
        self.built: list[SimpleNamespace] = []
        self.open = 0
        self.gpu = SimpleNamespace(name="A10G", compute_capability="8.6", driver="550.1")
        self.version = "10.3.0"
        self.refuses = ""
        self.missing = ""
        self.captures = True
        self.no_graph: str | None = None
        self.graphs: list[bool] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = {
            "api": SimpleNamespace(find=self.find),
            "cache": SimpleNamespace(get=self.get),
            "cuda": SimpleNamespace(find=self.find_gpu),
            "device": SimpleNamespace(find=lambda: self.gpu),
            "options": SimpleNamespace(BuildOptions=lambda **given: SimpleNamespace(**given)),
            "runner": SimpleNamespace(Runner=self.runner),
        }
        for name, module in parts.items():
            monkeypatch.setitem(sys.modules, f"tvmkd.tensorrt.{name}", module)
            monkeypatch.setattr(tvmkd.tensorrt, name, module, raising=False)

    def find(self, product: str) -> Any:
        if self.missing == "package":
            raise MissingError(f"no {product}")
        return SimpleNamespace(product=product, version=self.version)

    def find_gpu(self) -> Any:
        if self.missing == "gpu":
            raise MissingError("no GPU")
        self.open += 1

        def close() -> None:
            self.open -= 1

        return SimpleNamespace(close=close, captures=self.captures, package="pycuda")

    def get(self, path: Path, options: Any, bindings: Any) -> tuple[Any, bool]:
        onnx.load(str(path))
        if self.refuses:
            raise InputError(f"{path}: {self.refuses}")
        self.built.append(options)
        named = options.compute_capability is not None
        facts = {
            "product": bindings.product,
            "version": bindings.version,
            "compute_capability": options.compute_capability or self.gpu.compute_capability,
            "gpu": None if named else self.gpu.name,
            "driver": None if named else self.gpu.driver,
            "layers": [],
        }
        return SimpleNamespace(plan=b"plan", facts=lambda: facts), False

    def runner(self, plan: bytes, bindings: Any, runtime: Any, graph: bool) -> Any:
        assert (plan, self.open) == (b"plan", 1)
        fake = self
        fake.graphs.append(graph)

        class Runner:
            no_graph = fake.no_graph if graph else "not asked for"

            def __enter__(self) -> Runner:
                return self

            def __exit__(self, *_: object) -> None:
                assert fake.open == 1  # the GPU is closed after the runner

            def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                return {"b": 2 * inputs["a"]}

        return Runner()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    made.install(monkeypatch)
    return made


def runs(region: Region) -> list[float]:
    run = open_region(region.to_bytes())
    place = Tensor(np.zeros((1, 2), np.float32))
    run(Tensor(np.array([[1, -3]], np.float32)), place)
    found: list[float] = place.array[0].tolist()
    return found


def test_for_this_machine_a_plan_is_built_for_its_gpu(fake: Fake) -> None:
    maker = Maker("tensorrt", HERE, batch=(1, 2, 4))
    region = maker.make(model(), ["a"], ["b"])
    assert maker.form == region.form == "plan"
    assert region.blob == b"plan"
    assert region.made == {
        "product": "tensorrt",
        "version": "10.3.0",
        "compute_capability": "8.6",
        "gpu": "A10G",
        "driver": "550.1",
    }
    assert fake.open == 0
    assert runs(region) == [2.0, -6.0]
    assert len(fake.built) == 1  # not built again
    assert (fake.built[0].batch, fake.built[0].precision) == ((1, 2, 4), "fp32")
    assert fake.open == 0  # closed with the function


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_package_or_gpu_is_an_error_before_any_work(engine: str, fake: Fake) -> None:
    for fake.missing in ("package", "gpu"):
        with pytest.raises(MissingError):
            Maker(engine, HERE)
        with pytest.raises(MissingError):
            byoc.check_runs_here(engine)
    assert Maker("onnxruntime", HERE).form == "onnx"
    byoc.check_runs_here("onnxruntime")


def test_onnx_runtime_has_to_be_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingError, match="pip install onnxruntime"):
        byoc.check_runs_here("onnxruntime")


def test_for_another_machine_tensorrt_s_engine_is_built_there(fake: Fake) -> None:
    fake.missing = "package"  # none is needed
    region = Maker("tensorrt", NANO).make(model(), ["a"], ["b"])
    assert (region.form, region.blob, fake.built) == ("onnx", model(), [])
    fake.missing = ""
    assert runs(region) == [2.0, -6.0]
    assert [each.compute_capability for each in fake.built] == [None]


@pytest.mark.parametrize(("target", "capability"), [(ADA, "8.9"), (BLACKWELL, "12.0")])
def test_tensorrt_rtx_builds_for_the_gpu_that_the_target_names(
    target: dict[str, Any], capability: str, fake: Fake
) -> None:
    fake.missing = "gpu"
    region = Maker("tensorrt-rtx", target).make(model(), ["a"], ["b"])
    assert region.form == "plan"
    assert fake.built[0].compute_capability == region.made["compute_capability"] == capability
    assert region.made["gpu"] is None


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("version", "10.4.0", "another version: built for 10.3.0, here is 10.4.0"),
        ("name", "T4", "another gpu: built for A10G, here is T4"),
        ("driver", "560", "another driver: built for 550.1, here is 560"),
        ("compute_capability", "7.5", "another compute capability: built for 8.6, here is 7.5"),
    ],
)
def test_a_plan_for_another_gpu_or_version_is_not_loaded(
    what: str, value: str, said: str, fake: Fake
) -> None:
    region = Maker("tensorrt", HERE).make(model(), ["a"], ["b"])
    setattr(fake if what == "version" else fake.gpu, what, value)
    with pytest.raises(InputError, match=said):
        open_region(region.to_bytes())
    assert fake.open == 0


def test_a_plan_for_a_capability_runs_on_any_gpu_of_it(fake: Fake) -> None:
    region = Maker("tensorrt-rtx", ADA).make(model(), ["a"], ["b"])
    fake.gpu = SimpleNamespace(name="L4", compute_capability="8.9", driver="1")
    assert runs(region) == [2.0, -6.0]


def test_fp32_is_computed_in_less_where_that_is_asked_for(fake: Fake) -> None:
    maker = Maker("tensorrt", HERE, precision="fp16")
    assert maker.make(model(), ["a"], ["b"]).precision == fake.built[-1].precision == "fp16"
    # ONNX that is built where the library is loaded.
    region = Maker("tensorrt", NANO, precision="tf32").make(model(), ["a"], ["b"])
    runs(region)
    assert region.precision == fake.built[-1].precision == "tf32"


def test_a_region_may_be_a_cuda_graph(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    region = Maker("tensorrt", HERE).make(model(), ["a"], ["b"])
    for mode, wanted in (("graph", True), ("launches", False)):
        monkeypatch.setenv("TVMKD_CUDA", mode)
        assert runs(region) == [2.0, -6.0]
        assert fake.graphs.pop() is wanted
    monkeypatch.setenv("TVMKD_CUDA", "graph")
    fake.no_graph = "it cannot be captured"
    with pytest.raises(InputError, match="CUDA graph: it cannot be captured; unset TVMKD_CUDA"):
        runs(region)
    fake.captures = False
    with pytest.raises(MissingError, match="pycuda has no calls for CUDA graphs: unset TVMKD_CUDA"):
        runs(region)
    assert fake.open == 0


def test_a_region_in_fp16_stays_in_fp16(fake: Fake) -> None:
    half = numpy_helper.from_array(np.zeros(2, np.float16), "w")
    for precision in (None, "tf32"):
        region = Maker("tensorrt", HERE, precision=precision).make(
            model(constants=(half,)), ["a"], ["b"]
        )
        assert region.precision == fake.built[-1].precision == "fp16"


@pytest.mark.parametrize(
    ("engine", "precision", "said"),
    [
        ("onnxruntime", "fp16", "ONNX Runtime computes regions in the model's precision, not fp16"),
        ("tensorrt", "int8", "regions in INT8 come from a model with QuantizeLinear"),
        ("tensorrt", "fp4", '"fp4" is no precision of regions: fp32, tf32, fp16'),
        (None, "fp32", "--byoc-precision goes with --byoc"),
    ],
)
def test_precisions_that_an_engine_lacks(engine: str | None, precision: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        byoc.check_precision(engine, precision)


def test_a_refusal_does_not_name_the_temporary_file(fake: Fake) -> None:
    fake.refuses = "Relu_0 cannot be"
    with pytest.raises(Refused, match=r"^Relu_0 cannot be$"):
        Maker("tensorrt", HERE).make(model(), ["a"], ["b"])


def test_a_target_without_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="jetson-nano: has no GPU for TensorRT-RTX;"):
        Maker("tensorrt-rtx", targets.load("jetson-nano").to_dict())
