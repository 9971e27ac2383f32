"""``tvmkd engine build``: without the package, with a stand-in, and with TensorRT-RTX itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from build_fakes import GPU, Generation, told
from small_nets import net, pictures

from tvmkd.tensorrt import api, builder, cache, device, engine
from tvmkd.tensorrt.engine import read
from tvmkd.tensorrt.options import BuildOptions

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def generation(monkeypatch: pytest.MonkeyPatch) -> Generation:
    made = Generation("8.6")
    monkeypatch.setitem(sys.modules, "tensorrt", made.module)
    monkeypatch.setattr(device, "find", lambda: GPU)
    return made


@pytest.mark.parametrize(
    ("product", "module", "how"),
    [
        ("tensorrt", "tensorrt", "pip install 'tvmkd[tensorrt]'"),
        ("tensorrt-rtx", "tensorrt_rtx", "pip install 'tvmkd[tensorrt-rtx]'"),
    ],
)
def test_without_the_package_it_ends_before_any_work(
    product: str,
    module: str,
    how: str,
    tvmkd: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    # Not even the model is looked at.
    ended = tvmkd(
        "engine", "build", tmp_path / "no.onnx", "-o", tmp_path / "e", "--product", product
    )
    assert ended.code == 5
    assert how in ended.line
    assert list(tmp_path.iterdir()) == []


def test_an_engine_and_its_facts(tvmkd: Run, tmp_path: Path, generation: Generation) -> None:
    path, out = net(tmp_path / "m.onnx", "N"), tmp_path / "out" / "m.plan"
    argv = ["engine", "build", path, "-o", out, "--batch", "1:4:8", "--precision", "fp16"]
    argv += ["--workspace", 64]
    ended = tvmkd(*argv)
    assert ended.code == 0, ended.err
    assert f"{out}: TensorRT 8.6.1, fp16, for {GPU.name}" in ended.out
    plan = told(read(out).plan)
    assert plan["flags"] == ["FP16", "TF32"]
    assert plan["WORKSPACE"] == 64 << 20
    facts = json.loads(tvmkd(*argv, "--json").out)
    assert facts["cached"] is True
    assert (facts["product"], facts["batch"]) == ("tensorrt", [1, 4, 8])
    assert generation.builds == 1
    assert json.loads(tvmkd(*argv, "--json", "--fresh").out)["cached"] is False
    assert generation.builds == 2


class Built:
    """What a builder returns, for an engine whose facts are `known`."""

    def __init__(self, **known: Any) -> None:
        self.gpu, self.compute_capability = known.get("gpu"), known.get("capability")
        self.notes, self.layers, self.network_layers = known.get("notes", []), ["l"] * 3, 5
        self.size, self.seconds = 2_500_000, 1.25

    def facts(self) -> dict[str, Any]:
        return {"layers": self.layers}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The calls of builder, cache and writer, and the engine that they make."""
    kept = SimpleNamespace(calls=[], made=Built())

    def get(onnx: Path, options: Any, bindings: Any, report: Any) -> Any:
        kept.calls.append(("cache", onnx, options))
        return kept.made, True

    def build(onnx: Path, options: Any, bindings: Any, report: Any) -> Any:
        kept.calls.append(("builder", onnx, options))
        return kept.made

    monkeypatch.setattr(api, "find", lambda product: SimpleNamespace(title=product.upper()))
    monkeypatch.setattr(cache, "get", get)
    monkeypatch.setattr(builder, "build", build)
    monkeypatch.setattr(engine, "write", lambda one, path: kept.calls.append((one, path)))
    return kept


def test_every_option_reaches_the_builder(
    tvmkd: Run, tmp_path: Path, built: SimpleNamespace
) -> None:
    path = net(tmp_path / "m.onnx", "N")
    np.savez(tmp_path / "c.npz", x=pictures(2))
    argv = ["--precision", "int8", "--workspace", 64, "--batch", "1:4:8", "--dim", "N=2"]
    argv += ["--dim", "M=3", "--calibration", tmp_path / "c.npz", "--keep-fp32", "a"]
    argv += ["--keep-fp32", "b", "--timing-cache", tmp_path / "t", "--verbose", "--fresh"]
    argv += ["--product", "tensorrt-rtx", "--compute-capability", "8.9"]
    done = tvmkd("engine", "build", path, "-o", tmp_path / "e", *argv)
    assert done.code == 0, done.err
    assert done.out.splitlines()[1] == "  2.50 MB, 3 layers from 5, built in 1.2 s"
    ((name, onnx, options), written) = built.calls
    assert (name, onnx) == ("builder", path)
    assert written == (built.made, tmp_path / "e")
    np.testing.assert_array_equal(options.calibration["x"], pictures(2))
    assert vars(options) | {"calibration": None} == vars(
        BuildOptions(
            precision="int8",
            workspace_mib=64,
            batch=(1, 4, 8),
            dims={"N": 2, "M": 3},
            compute_capability="8.9",
            timing_cache=tmp_path / "t",
            keep_fp32=("a", "b"),
            verbose=True,
        )
    )


@pytest.mark.parametrize(
    ("known", "where"),
    [
        ({"gpu": "A10G", "capability": "8.6"}, "for A10G"),
        ({"capability": "8.6"}, "for compute capability 8.6"),
        ({}, "for every GPU that TENSORRT knows"),
    ],
)
def test_the_gpu_that_an_engine_is_for(
    tvmkd: Run, tmp_path: Path, built: SimpleNamespace, known: dict[str, Any], where: str
) -> None:
    built.made = Built(notes=["a layer stays in FP32"], **known)
    done = tvmkd("engine", "build", net(tmp_path / "m.onnx"), "-o", tmp_path / "e")
    assert done.out.splitlines() == [
        f"{tmp_path / 'e'}: TENSORRT, fp32, {where}",
        "  2.50 MB, 3 layers from 5, from the cache, built in 1.2 s",
    ]
    assert "a layer stays in FP32" in done.err
    done = tvmkd("engine", "build", tmp_path / "m.onnx", "-o", tmp_path / "e", "--json")
    facts = {"layers": ["l"] * 3, "cached": True, "path": str(tmp_path / "e")}
    assert json.loads(done.out) == facts


def test_a_model_that_is_not_there_is_one_line(
    tvmkd: Run, tmp_path: Path, built: SimpleNamespace
) -> None:
    done = tvmkd("engine", "build", tmp_path / "m.onnx", "-o", tmp_path / "e")
    assert (done.code, done.line) == (4, f"{tmp_path / 'm.onnx'}: there is no such file")
    assert built.calls == []


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3:4", "-1", "1:x:3", "1.5"])
def test_a_batch_is_one_number_or_three(tvmkd: Run, tmp_path: Path, text: str) -> None:
    done = tvmkd("engine", "build", tmp_path / "m", "-o", tmp_path / "e", "--batch", text)
    assert (done.code, "is not MIN:BEST:MAX" in done.err) == (2, True)


def test_a_batch_may_be_one_number(tvmkd: Run, tmp_path: Path, generation: Generation) -> None:
    path, out = net(tmp_path / "m.onnx", "N"), tmp_path / "m.plan"
    assert tvmkd("engine", "build", path, "-o", out, "--batch", "3").code == 0
    assert read(out).batch == (3, 3, 3)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--batch", "many"], 2, "is not MIN:BEST:MAX"),
        (["--batch", "4:2:1"], 2, "smallest ≤ best ≤ largest"),
        (["--calibration", "c.npz"], 2, "goes with --precision int8"),
        (["--compute-capability", "8.6"], 2, "builds for the GPU of this machine"),
        (["--precision", "int8"], 4, "give inputs to calibrate with"),
        ([], 4, 'dimension "N" of input "x" is free'),
    ],
)
def test_wrong_calls_are_one_line(
    options: list[str],
    code: int,
    message: str,
    tvmkd: Run,
    tmp_path: Path,
    generation: Generation,
) -> None:
    batch = [] if "--batch" in options or not options else ["--batch", "1"]
    path = net(tmp_path / "m.onnx", "N")
    ended = tvmkd("engine", "build", path, "-o", tmp_path / "e.plan", *batch, *options)
    assert ended.code == code
    assert message in ended.err
    assert not (tmp_path / "e.plan").exists()


def test_calibration_has_to_be_an_npz(tvmkd: Run, tmp_path: Path, generation: Generation) -> None:
    path = net(tmp_path / "m.onnx")
    np.save(tmp_path / "c.npy", pictures(2))
    argv = ["engine", "build", path, "-o", tmp_path / "e.plan", "--precision", "int8"]
    ended = tvmkd(*argv, "--calibration", tmp_path / "c.npy")
    assert (ended.code, "not an .npz of arrays" in ended.line) == (4, True)


def test_rtx_is_never_called_tensorrt(tvmkd: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    path, out = net(tmp_path / "m.onnx", 1), tmp_path / "m.plan"
    np.savez(tmp_path / "c.npz", x=pictures(4))
    argv = ["engine", "build", path, "-o", out, "--product", "tensorrt-rtx"]
    argv += ["--precision", "int8", "--calibration", tmp_path / "c.npz"]
    argv += ["--compute-capability", "8.9"]
    ended = tvmkd(*argv)
    assert ended.code == 0, ended.err
    assert "TensorRT" not in ended.out.replace("TensorRT-RTX", "")
    assert "int8, for compute capability 8.9" in ended.out
    facts = json.loads(tvmkd(*argv, "--json").out)
    assert (facts["product"], facts["cached"]) == ("tensorrt-rtx", True)
    assert facts["layers"]
