from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd import artifact
from tvmkd.base.errors import UsageError
from tvmkd.bench import EngineSpec, rules

CUDA, HOST = {"device": "cuda"}, {"device": "cpu"}
REGIONS = {"byoc": {"engine": "tensorrt", "regions": 2}}


def _spec(kind: str, **options: Any) -> EngineSpec:
    return EngineSpec(kind, kind, "m.onnx", options=options)


@pytest.mark.parametrize(
    ("target", "coverage", "device"),
    [
        (CUDA, {}, "GPU"),
        (HOST, {}, "CPU"),
        (HOST, REGIONS, "GPU"),
        (HOST, {"byoc": {"engine": "tensorrt", "regions": 0}}, "CPU"),
        (HOST, {"byoc": {"engine": "onnxruntime", "regions": 2}}, "CPU"),
    ],
)
def test_an_artifact_runs_where_it_was_built_for(
    monkeypatch: pytest.MonkeyPatch, target: Any, coverage: Any, device: str
) -> None:
    made = SimpleNamespace(target=target, coverage=coverage)
    monkeypatch.setattr(artifact, "read", lambda path, verify: made)
    for kind in ("tvm", "tvm@board", "tvm+tensorrt"):
        assert rules.device(_spec(kind)) == device


def test_the_others_run_where_their_kind_says(tmp_path: Path) -> None:
    for kind in ("tensorrt", "tensorrt-rtx", "onnxruntime:cuda", "tensorrt@board"):
        assert rules.device(_spec(kind)) == "GPU"
    for kind in ("onnxruntime", "torch", "torch.compile"):
        assert rules.device(_spec(kind)) == "CPU"
    assert rules.device(_spec("bench.engines_for_tests:Matmul")) is None
    assert rules.device(EngineSpec("tvm", "tvm", tmp_path / "gone")) is None


def test_a_cuda_graph_is_for_all_on_the_gpu_or_for_none() -> None:
    both = [_spec("tensorrt"), _spec("tensorrt-rtx"), _spec("onnxruntime")]
    made, graph = rules.cuda_graph(both, True)
    assert graph is True
    assert [spec.options.get("cuda_graph") for spec in made] == [True, True, None]
    made, graph = rules.cuda_graph([_spec("tensorrt", cuda_graph=True), *both[1:]], False)
    assert graph is False
    assert [spec.options.get("cuda_graph") for spec in made] == [False, False, None]
    assert rules.cuda_graph([_spec("tensorrt", cuda_graph=True), both[2]], None)[1] is True
    assert rules.cuda_graph(both[2:], None) == (both[2:], None)


@pytest.mark.parametrize(
    ("specs", "wanted", "message"),
    [
        ([_spec("tensorrt"), _spec("onnxruntime:cuda")], True, "none, and onnxruntime:cuda cannot"),
        ([_spec("tensorrt@board")], True, "tensorrt@board cannot run through one"),
        ([_spec("onnxruntime")], True, "no engine here runs on a GPU"),
        (
            [_spec("tensorrt", cuda_graph=True), _spec("tensorrt-rtx")],
            None,
            "cuda_graph of tensorrt, tensorrt-rtx differs",
        ),
        (
            [_spec("tensorrt", cuda_graph=True), _spec("onnxruntime:cuda")],
            None,
            "cuda_graph of tensorrt, onnxruntime:cuda differs",
        ),
    ],
)
def test_a_graph_for_some_is_refused(
    specs: list[EngineSpec], wanted: bool | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        rules.cuda_graph(specs, wanted)


def test_builds_are_never_from_a_cache() -> None:
    first, second = rules.each_build(_spec("tensorrt", spin=False), 2)
    assert (first.name, second.name) == ("tensorrt (build 1)", "tensorrt (build 2)")
    assert first.options == {"spin": False, "rebuild": True, "build": 1}
    assert second.options["build"] == 2
    whole = _spec("onnxruntime")
    assert rules.each_build(whole, 2) == [whole]
    assert rules.each_build(_spec("tensorrt"), 1) == [_spec("tensorrt")]
