from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from build_fakes import GPU, Generation
from small_nets import net

from tvmkd.tensorrt import cache, device
from tvmkd.tensorrt.options import BuildOptions


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(device, "find", lambda: GPU)


def test_the_second_build_comes_from_the_cache(tmp_path: Path) -> None:
    generation, path = Generation("8.6"), net(tmp_path / "m.onnx")
    first, kept = cache.get(path, BuildOptions(), generation.bindings)
    again, kept_again = cache.get(path, BuildOptions(), generation.bindings)
    assert (kept, kept_again, generation.builds) == (False, True, 1)
    assert again == first


def test_a_damaged_engine_is_built_again(tmp_path: Path) -> None:
    generation, path = Generation("8.6"), net(tmp_path / "m.onnx")
    first, _ = cache.get(path, BuildOptions(), generation.bindings)
    (plan,) = cache.folder().glob("*.plan")
    for damage in (lambda: plan.write_bytes(b"x"), Path(f"{plan}.json").unlink):
        damage()
        again, kept = cache.get(path, BuildOptions(), generation.bindings)
        assert (kept, again.plan) == (False, first.plan)
    assert generation.builds == 3


def test_the_key_has_everything_that_an_engine_depends_on(tmp_path: Path) -> None:
    path, other = net(tmp_path / "m.onnx"), net(tmp_path / "n.onnx", scale=2.0)
    bindings, rtx = Generation("8.6").bindings, Generation("rtx").bindings
    options = BuildOptions()
    keys = [
        cache.key(path, options, bindings, GPU),
        cache.key(other, options, bindings, GPU),
        cache.key(path, BuildOptions(precision="tf32"), bindings, GPU),
        cache.key(path, options, replace(bindings, version="8.6.2"), GPU),
        cache.key(path, options, rtx, GPU),
        cache.key(path, options, replace(rtx, product="tensorrt"), GPU),
        cache.key(path, options, bindings, replace(GPU, name="other")),
        cache.key(path, options, bindings, replace(GPU, driver="1")),
        cache.key(path, options, rtx, None),
        cache.key(path, BuildOptions(compute_capability="8.6"), rtx, None),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(path, options, bindings, GPU) == keys[0]
    # This machine's GPU does not matter to an engine for a given compute capability.
    named = BuildOptions(compute_capability="8.6")
    assert cache.key(path, named, rtx, GPU) == keys[-1]


def test_the_key_has_external_weights(tmp_path: Path) -> None:
    import onnx

    path, bindings = net(tmp_path / "m.onnx"), Generation("8.6").bindings
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    before = cache.key(path, BuildOptions(), bindings, GPU)
    data = bytearray((tmp_path / "w.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "w.data").write_bytes(data)
    assert cache.key(path, BuildOptions(), bindings, GPU) != before
