from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from build_fakes import Generation

from tvmkd.tensorrt import timing_cache


@pytest.mark.parametrize("name", ["8.2", "8.6", "10", "11"])
def test_measurements_are_read_and_written(name: str, tmp_path: Path) -> None:
    bindings, path = Generation(name).bindings, tmp_path / "new" / "cache"
    for _ in range(2):
        config = bindings.module.IBuilderConfig()
        assert timing_cache.attach(config, path, bindings) == []
        config._timing.data = b"of this GPU"
        timing_cache.keep(config, path, bindings)
    assert path.read_bytes() == b"of this GPU"
    assert list(path.parent.iterdir()) == [path]


def test_measurements_of_another_gpu_or_version_are_not_used(tmp_path: Path) -> None:
    bindings, path = Generation("10").bindings, tmp_path / "cache"
    path.write_bytes(b"of another GPU")
    config = bindings.module.IBuilderConfig()
    (note,) = timing_cache.attach(config, path, bindings)
    assert "of another GPU or version" in note
    assert config.get_timing_cache().data == b""


def test_rtx_has_no_timing_cache_and_notes_it(tmp_path: Path) -> None:
    bindings, path = Generation("rtx").bindings, tmp_path / "cache"
    config = bindings.module.IBuilderConfig()
    assert timing_cache.attach(config, path, bindings) == [
        "TensorRT-RTX measures nothing when it builds and keeps no timing cache"
    ]
    timing_cache.keep(config, path, bindings)
    assert not path.exists()


def test_bindings_without_a_timing_cache_note_it(tmp_path: Path) -> None:
    bindings = Generation("8.2").bindings
    config = SimpleNamespace()
    assert timing_cache.attach(config, tmp_path / "c", bindings) == [
        "TensorRT 8.2.1.8 has no timing cache"
    ]
    timing_cache.keep(config, tmp_path / "c", bindings)
    assert not (tmp_path / "c").exists()
