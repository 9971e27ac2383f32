"""Artifacts of every kind behind the server: standalone, free dimensions, all data types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from conformance import Server, ask, request
from running import make_toy, serving

from tvmkd import targets
from tvmkd.stacks.compile import build

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")

FREE = """
import sys
sys.modules["torch"] = None
import tvm
from tvm.script import ir as I, relax as R

@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor(("n", 4), "float32"), y: R.Tensor(("n", 4), "float32")):
        with R.dataflow():
            both = (R.add(x, y), R.multiply(x, y))
            R.output(both)
        return both

target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
tvm.compile(Module, target=target).export_library(sys.argv[1])
"""
TYPES = """
import sys
sys.modules["torch"] = None
import tvm
from tvm.script import ir as I, relax as R

@I.ir_module
class Module:
    @R.function
    def main(a: R.Tensor((2, 3), "int64"), b: R.Tensor((2, 3), "uint8"),
             c: R.Tensor((2, 3), "bool"), d: R.Tensor((2, 3), "float16"),
             e: R.Tensor((2, 3), "float64")):
        with R.dataflow():
            all = (R.add(a, a), R.add(b, b), R.logical_not(c), R.add(d, d), R.add(e, e))
            R.output(all)
        return all

target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
tvm.compile(Module, target=target).export_library(sys.argv[1])
"""


def compiled(folder: Path, text: str) -> Path:
    (folder / "module.py").write_text(text, encoding="utf-8")
    words = [sys.executable, folder / "module.py", folder / "model.so"]
    subprocess.run(words, check=True, timeout=120)
    return folder / "model.so"


def server(url: str, model: str, reference: Any) -> Server:
    return Server(url, model, reference=reference, max_body=2**20, read_s=30)


def test_a_standalone_artifact(tmp_path: Path, warm_worker: None) -> None:
    onnx = toys.onnx_file(tmp_path / "toy.onnx")
    build(onnx, targets.load("host"), [], tmp_path / "toy", runtime="standalone")
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    with serving(tmp_path / "toy", "--no-grpc", "--threads", "1") as running:
        found = server(running.url, "toy", lambda x: [np.maximum(x @ weights, 0)])
        assert found.metadata()["platform"] == "tvmkd_standalone"
        for seed in range(3):
            inputs = found.inputs(seed)
            answer = ask(found, "POST", found.infer, *request(found, inputs))
            found.check(inputs, answer.outputs())
        pid = running.process.pid
        (instance,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert "libtvm" not in Path(f"/proc/{instance}/maps").read_text()


def test_free_dimensions(tmp_path: Path) -> None:
    specs = [{"name": name, "shape": ["n", 4], "dtype": "float32"} for name in "xy"]
    folder = make_toy(tmp_path / "toy", compiled(tmp_path, FREE), inputs=specs, outputs=specs)
    with serving(folder, "--no-grpc", "--max-body", "0.25") as running:
        found = server(running.url, "toy", lambda x, y: [x + y, x * y])
        assert found.metadata()["inputs"][0]["shape"] == [-1, 4]
        rng = np.random.default_rng(0)
        for rows in (1, 7, 1000, 2):
            inputs = [rng.standard_normal((rows, 4)).astype(np.float32) for _ in range(2)]
            answer = ask(found, "POST", found.infer, *request(found, inputs))
            found.check(inputs, answer.outputs())
        uneven = [np.zeros((rows, 4), np.float32) for rows in (2, 3)]
        answer = ask(found, "POST", found.infer, *request(found, uneven))
        assert answer.status == 400
        assert "the shape is [-1, 4], not [3, 4]" in answer.error()
        large = [np.zeros((20_000, 4), np.float32) for _ in range(2)]
        assert ask(found, "POST", found.infer, *request(found, large)).status == 413
        huge = json.dumps({"inputs": [
            {"name": name, "shape": [2**61, 4], "datatype": "FP32", "data": [1]} for name in "xy"
        ]}).encode()  # fmt: skip
        assert ask(found, "POST", found.infer, huge).status == 400


def test_data_types(tmp_path: Path) -> None:
    dtypes = {"a": "int64", "b": "uint8", "c": "bool", "d": "float16", "e": "float64"}
    specs = [{"name": n, "shape": [2, 3], "dtype": dtype} for n, dtype in dtypes.items()]
    folder = make_toy(tmp_path / "toy", compiled(tmp_path, TYPES), inputs=specs, outputs=specs)
    with serving(folder, "--no-grpc") as running:
        found = server(running.url, "toy", lambda a, b, c, d, e: [a + a, b + b, ~c, d + d, e + e])
        inputs = found.inputs(1)
        content: dict[str, Any] = {"parameters": {"binary_data_output": True}}
        answer = ask(found, "POST", found.infer, *request(found, inputs, **content))
        found.check(inputs, answer.outputs())
        # All but FP16 have a form in JSON, in both directions.
        as_json = [array.dtype != np.float16 for array in inputs]
        outputs = [
            {"name": name, "parameters": {"binary_data": dtype == "float16"}}
            for name, dtype in dtypes.items()
        ]
        ways = [not each for each in as_json]
        body = request(found, inputs, binary_in=ways, outputs=outputs)
        answer = ask(found, "POST", found.infer, *body)
        found.check(inputs, answer.outputs())
        text = json.loads(answer.body[: int(answer.headers["inference-header-content-length"])])
        assert type(text["outputs"][2]["data"][0]) is bool
        for wrong in (
            request(found, inputs, binary_in=[True, True, True, False, True]),
            request(found, inputs),  # all outputs as JSON
        ):
            answer = ask(found, "POST", found.infer, *wrong)
            assert answer.status == 400
            assert "FP16" in answer.error()

        def changed(name: str, value: object) -> int:
            body, headers = request(found, inputs, binary_in=ways, outputs=[{"name": "a"}])
            length = int(headers["Inference-Header-Content-Length"])
            content = json.loads(body[:length])
            (entry,) = (each for each in content["inputs"] if each["name"] == name)
            entry["data"][0] = value
            head = json.dumps(content).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            return ask(found, "POST", found.infer, head + body[length:], headers).status

        assert changed("a", 2**63 - 1) == 200
        assert changed("e", 7) == 200
        for name, value in (
            ("a", 2**63), ("a", 1.0), ("a", True), ("b", 256), ("b", -1), ("c", 1), ("c", "true"),
            ("e", True), ("e", 10**400), ("e", [1]),
        ):  # fmt: skip
            assert changed(name, value) == 400, (name, value)
