from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import onnx
import pytest
from build_fakes import FLAGGED, GENERATIONS, GPU, Generation, Memory, log, told
from onnx import TensorProto
from small_nets import net, pictures

from tvmkd.base import console
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.tensorrt import device
from tvmkd.tensorrt.builder import BuildOptions, Engine, build

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
FIND = device.find


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find", lambda: GPU)


def made(name: str, path: Path, **options: Any) -> tuple[Engine, dict[str, Any]]:
    engine = build(path, BuildOptions(**options), Generation(name).bindings)
    return engine, told(engine.plan)


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_generation_builds_and_gives_the_facts(name: str, tmp_path: Path) -> None:
    engine, plan = made(name, net(tmp_path / "m.onnx"))
    assert plan["creation"] == (1 if name in FLAGGED else 0)
    assert plan["flags"] == []
    assert plan["verbosity"] == "DETAILED"
    bindings = Generation(name).bindings
    assert (engine.product, engine.version) == (bindings.product, bindings.version)
    assert (engine.gpu, engine.compute_capability, engine.driver) == (
        GPU.name,
        GPU.compute_capability,
        GPU.driver,
    )
    assert engine.inputs == ({"name": "x", "shape": [2, 3, 16, 16], "dtype": "float32"},)
    assert engine.outputs == ({"name": "y", "shape": [2, 10], "dtype": "float32"},)
    assert engine.layers == ({"Name": "conv + act", "LayerType": "CaskConvolution"},)
    assert engine.network_layers == 5
    assert engine.size == len(engine.plan)


@pytest.mark.parametrize("name", GENERATIONS)
def test_half_precision_by_flag_or_in_the_file(name: str, tmp_path: Path) -> None:
    _, plan = made(name, net(tmp_path / "m.onnx"), precision="fp16")
    if name in FLAGGED:
        assert (plan["flags"], plan["types"]) == (["FP16", "TF32"], [FLOAT])
    else:
        assert (plan["flags"], plan["types"]) == (["TF32"], [HALF])


@pytest.mark.parametrize("name", GENERATIONS)
@pytest.mark.parametrize("batch", [1, "N"])
def test_eight_bits_by_calibrator_or_in_the_file(
    name: str, batch: int | str, tmp_path: Path
) -> None:
    generation, memory = Generation(name), Memory()
    free = batch == "N"
    options = BuildOptions(
        precision="int8",
        calibration={"x": pictures(6)},
        batch=(1, 2, 4) if free else None,
    )
    path = net(tmp_path / "m.onnx", batch)
    engine = build(path, options, generation.bindings, cuda=memory)  # type: ignore[arg-type]
    plan = told(engine.plan)
    assert plan["quantized"] == (name not in FLAGGED)
    assert ("INT8" in plan["flags"]) == (name in FLAGGED)
    if name in FLAGGED:
        # Each batch has the best size of the profile, or the model's own.
        assert len(generation.workload) == (3 if free else 6)
        assert ("calibrated" in plan) == free
        assert engine.notes == ("this GPU is not faster in int8",)
    assert (memory.device, memory.pinned, memory.streams) == ({}, 0, 0)


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_free_batch_becomes_one_profile(name: str, tmp_path: Path) -> None:
    engine, plan = made(name, net(tmp_path / "m.onnx", "N"), batch=(1, 4, 8))
    assert plan["profiles"] == [{"x": [[n, 3, 16, 16] for n in (1, 4, 8)]}]
    assert engine.inputs[0]["shape"][0] == -1
    assert engine.batch == (1, 4, 8)


@pytest.mark.parametrize("name", GENERATIONS)
def test_workspace_by_either_call(name: str, tmp_path: Path) -> None:
    _, plan = made(name, net(tmp_path / "m.onnx"), workspace_mib=64)
    where = "workspace" if name == "8.2" else "WORKSPACE"
    assert plan[where] == 64 << 20


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_timing_cache_is_used_where_tactics_are_measured(name: str, tmp_path: Path) -> None:
    kept = tmp_path / "tactics"
    engine, _ = made(name, net(tmp_path / "m.onnx"), timing_cache=kept)
    assert kept.exists() == (name != "rtx")
    assert bool(engine.notes) == (name == "rtx")


@pytest.mark.parametrize("name", GENERATIONS)
def test_progress_is_reported_if_the_generation_has_it(name: str, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    path, bindings = net(tmp_path / "m.onnx"), Generation(name).bindings
    build(path, BuildOptions(), bindings, lambda phase, share: seen.append((phase, share)))
    if name in ("8.2", "8.6"):
        assert seen == []
        return
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert seen[-1] == ("Building engine", 1.0)
    assert ("Timing tactics", 0.25) in seen


@pytest.mark.parametrize("name", ["8.6", "10", "rtx"])
def test_ctrl_c_ends_the_build(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = Generation(name)
    bindings = generation.bindings
    # Python handles the signal when TensorRT next calls a Python function.
    generation.meanwhile = lambda: log(generation.logger, 3, "still at work")
    monkeypatch.setattr(console, "say", lambda _text: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        build(net(tmp_path / "m.onnx"), BuildOptions(verbose=True), bindings)
    assert generation.builds == 1


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_refusal_is_one_line_with_what_to_do(name: str, tmp_path: Path) -> None:
    generation, path = Generation(name), net(tmp_path / "m.onnx")
    generation.refusal = (
        "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
        "implementation for node conv due to insufficient workspace. See verbose log.)"
    )
    bindings = generation.bindings
    with pytest.raises(InputError) as caught:
        build(path, BuildOptions(), bindings)
    assert str(caught.value) == (
        f"{path}: {bindings.title} cannot build it: Could not find any implementation for node "
        "conv due to insufficient workspace. See verbose log; give it more workspace (--workspace)"
    )


@pytest.mark.parametrize("name", ["8.2", "8.6", "10", "11"])
def test_tensorrt_without_a_gpu_is_a_missing_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "find", lambda: None)
    with pytest.raises(MissingError, match=r"CUDA initialization failure.*needs an NVIDIA GPU"):
        build(net(tmp_path / "m.onnx"), BuildOptions(), Generation(name, gpu=False).bindings)


def test_rtx_builds_for_a_gpu_by_name_and_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = net(tmp_path / "m.onnx")
    engine, plan = made("rtx", path, compute_capability="12.0")
    assert plan["capability"] == "SM120"
    assert (engine.gpu, engine.compute_capability, engine.driver) == (None, "12.0", None)
    assert made("rtx", path)[1]["capability"] == "CURRENT"
    monkeypatch.setattr(device, "find", lambda: None)
    engine, plan = made("rtx", path)
    assert "capability" not in plan
    assert (engine.gpu, engine.compute_capability) == (None, None)
    with pytest.raises(UsageError, match=r"not build for 5\.3; it does for 7\.5, 8\.6, 12\.0"):
        made("rtx", path, compute_capability="5.3")


@pytest.mark.parametrize("name", ["8.2", "10", "11"])
def test_tensorrt_does_not_build_for_another_gpu(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="builds for the GPU of this machine"):
        made(name, net(tmp_path / "m.onnx"), compute_capability="8.6")


def test_a_file_that_is_no_model_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no")
    with pytest.raises(InputError, match="not an ONNX file"):
        made("10", tmp_path / "m.onnx")


class TestRtx:
    """Builds real engines of TensorRT-RTX, for a GPU that this machine does not have."""

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
        from tvmkd.tensorrt.api import find

        monkeypatch.setattr(device, "find", lambda: None)
        self.bindings = find("tensorrt-rtx")

    def engine(self, path: Path, **options: Any) -> Engine:
        options = {"compute_capability": "8.6", **options}
        return build(path, BuildOptions(**options), self.bindings)

    @pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8"])
    @pytest.mark.parametrize("batch", [1, "N"])
    def test_every_precision_fixed_and_free(
        self, precision: str, batch: int | str, tmp_path: Path
    ) -> None:
        path = net(tmp_path / "m.onnx", batch)
        engine = self.engine(
            path,
            precision=precision,
            batch=(1, 2, 4) if batch == "N" else None,
            calibration={"x": pictures(4)} if precision == "int8" else None,
        )
        assert engine.product == "tensorrt-rtx"
        assert engine.size > 10_000
        assert engine.inputs[0]["shape"][0] == (-1 if batch == "N" else 1)
        nodes = " ".join(layer["Metadata"] for layer in engine.layers)
        assert "[ONNX Layer: conv]" in nodes
        assert "head" in nodes
        assert all(layer["Name"] and layer["LayerType"] for layer in engine.layers)

    @pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
    def test_a_free_height_beside_a_free_batch(self, precision: str, tmp_path: Path) -> None:
        engine = self.engine(
            net(tmp_path / "m.onnx", "N", height="h"),
            precision=precision,
            batch=(1, 2, 4),
            dims={"h": 16},
            calibration={"x": pictures(4)} if precision == "int8" else None,
        )
        assert engine.size > 10_000

    def test_half_the_bits_make_a_smaller_engine(self, tmp_path: Path) -> None:
        model = onnx.load(net(tmp_path / "m.onnx"))
        wide = onnx.numpy_helper.from_array(pictures(1).reshape(1, -1)[:, :8].repeat(20000, 0).T)
        wide.name = "f"
        model.graph.initializer[2].CopyFrom(wide)
        del model.graph.output[0].type.tensor_type.shape.dim[:]
        onnx.save(model, str(tmp_path / "wide.onnx"))
        sizes = [
            self.engine(tmp_path / "wide.onnx", precision=bits).size for bits in ("fp32", "fp16")
        ]
        assert sizes[1] < 0.8 * sizes[0]

    def test_progress_reaches_the_end(self, tmp_path: Path) -> None:
        shares: list[float] = []
        options = BuildOptions(compute_capability="8.6")
        path = net(tmp_path / "m.onnx")
        build(path, options, self.bindings, lambda _phase, share: shares.append(share))
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len(set(shares)) > 10

    def test_ctrl_c_cancels(self, tmp_path: Path) -> None:
        def interrupted(_phase: str, share: float) -> None:
            if share > 0.3:
                os.kill(os.getpid(), signal.SIGINT)

        options = BuildOptions(compute_capability="8.6")
        with pytest.raises(KeyboardInterrupt):
            build(net(tmp_path / "m.onnx"), options, self.bindings, interrupted)
        assert self.bindings.log.why() == "Build canceled by user"

    def test_an_unknown_operator_is_named(self, tmp_path: Path) -> None:
        path = net(tmp_path / "m.onnx", activation="Det")
        with pytest.raises(InputError, match=r'node "act" \(Det\): UNSUPPORTED_NODE; rewrite'):
            self.engine(path)

    def test_too_little_workspace_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"within workspace limit.*--workspace"):
            self.engine(net(tmp_path / "m.onnx"), workspace_mib=1)

    def test_turing_supports_fp16_only(self, tmp_path: Path) -> None:
        path = net(tmp_path / "m.onnx")
        with pytest.raises(InputError, match=r"'head' for Turing .* give --precision fp16"):
            self.engine(path, compute_capability="7.5")
        assert self.engine(path, compute_capability="7.5", precision="fp16").size > 10_000

    def test_an_engine_for_every_gpu(self, tmp_path: Path) -> None:
        engine = self.engine(net(tmp_path / "m.onnx"), compute_capability=None)
        assert engine.compute_capability is None
        assert engine.layers


@pytest.mark.gpu
@pytest.mark.parametrize("product", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8"])
def test_build_on_this_gpu(
    product: str, precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd.tensorrt.api import find

    monkeypatch.setattr(device, "find", FIND)
    try:
        bindings = find(product)
    except MissingError as error:
        pytest.skip(str(error))
    options = BuildOptions(
        precision=precision,
        batch=(1, 2, 4),
        workspace_mib=256,
        timing_cache=tmp_path / "tactics",
        calibration={"x": pictures(8)} if precision == "int8" else None,
    )
    path = net(tmp_path / "m.onnx", "N")
    for _ in range(2):
        engine = build(path, options, bindings)
        assert engine.gpu is not None
        assert engine.layers
    assert (tmp_path / "tactics").exists() == (product == "tensorrt")
