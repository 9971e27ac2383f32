from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bad_models
import numpy as np
import pytest
import toys

import tvmkd as package
from tvmkd import artifact

pytestmark = pytest.mark.usefixtures("warm_worker")


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return toys.onnx_file(tmp_path / "m.onnx")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_an_artifact_that_runs(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = tvmkd("build", onnx, "-o", out, "--json")
    assert done.code == 0, done.err
    manifest = json.loads(done.out)
    assert manifest == artifact.read(out).model_dump(mode="json")
    assert manifest["check"]["samples"] > 0
    x = np.random.default_rng(1).standard_normal((1, 8)).astype(np.float32)
    assert package.load(out)(x).shape == (1, 8)
    # Again, for people, over the older one.
    done = tvmkd("build", onnx, "--untuned", "-o", out)
    assert done.code == 0
    assert f"artifact: {out}" in done.out
    assert re.search(r"tuned: 0 of \d+ tasks", done.out)


def test_a_free_size_that_is_given(tvmkd: Any, tmp_path: Path) -> None:
    free = toys.onnx_file(tmp_path / "free.onnx", shape=("batch", 8))
    done = tvmkd("build", free, "--dim", "batch=3", "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["inputs"][0]["shape"] == [3, 8]


@pytest.mark.parametrize("name", bad_models.MESSAGES)
def test_bad_models(tvmkd: Any, tmp_path: Path, name: str) -> None:
    path = bad_models.write(name, tmp_path)
    done = tvmkd("build", path, "-o", tmp_path / "out")
    assert done.code == 4
    assert done.line.startswith(f"{path}: ")
    assert re.search(bad_models.MESSAGES[name], done.line), done.line
    assert not (tmp_path / "out").exists()


def test_an_unknown_target(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("build", onnx, "--target", "jetson-nanno", "-o", tmp_path / "out")
    assert done.code == 4
    assert 'did you mean "jetson-nano"?' in done.line


def test_someone_else_s_folder_is_left_alone(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter1.tex").write_text("x")
    done = tvmkd("build", onnx, "-o", mine)
    assert done.code == 4
    assert "is not an artifact" in done.line
    assert [path.name for path in mine.iterdir()] == ["chapter1.tex"]


def test_a_folder_without_records(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("build", onnx, "--records", tmp_path, "-o", tmp_path / "out")
    assert done.code == 4
    assert "holds no tuning records" in done.line


def test_records_of_another_target(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    records = toys.records_of(tmp_path / "records", "raspberry-pi-4")
    done = tvmkd("build", onnx, "--records", records, "-o", tmp_path / "out", "--target", "host")
    assert done.code == 4
    assert f"{records} holds records for the target 'raspberry-pi-4'" in done.line


def test_regions_for_another_engine(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("build", onnx, "--byoc", "onnxruntime", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.out.startswith(
        "ONNX Runtime takes 2 of 2 operators, in 1 region, 100.0% of the multiply-accumulates\n"
        "in ONNX Runtime: 1 matmul, 1 nn.relu\n"
        "tuned: there is nothing to tune\n"
    )
    done = tvmkd(
        "build", onnx, "--byoc", "tensorrt", "--target", "jetson-nano", "-o", tmp_path / "nano"
    )
    assert done.code == 4
    assert "jetson-nano: has no GPU for TensorRT; take a target that has one" in done.line
    assert not (tmp_path / "nano").exists()


def test_untuned_with_records_is_wrong_usage(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("build", onnx, "--untuned", "--records", tmp_path, "-o", tmp_path / "out")
    assert done.code == 2


def test_a_full_disk(tvmkd: Any, onnx: Path, small_disk: Path) -> None:
    done = tvmkd("build", onnx, "-o", small_disk / "out")
    assert done.code == 4
    assert done.line.startswith(f"{small_disk / 'out'}: the disk is full")
    assert list(small_disk.iterdir()) == []


def test_a_corrupt_manifest_is_said_where_the_artifact_is_used(
    tvmkd: Any, onnx: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert tvmkd("build", onnx, "--untuned", "-o", out).code == 0
    (out / "manifest.json").write_text('{"schema_version": 1')
    quick = ("--seconds", "0.1", "--rounds", "2", "--processes", "1", "--threads", "1")
    done = tvmkd("compare", onnx, "--artifact", out, *quick)
    assert done.code == 4
    assert done.line.startswith(f"{out / 'manifest.json'}: the manifest is corrupt")
    # A new build may replace it: the folder is ours.
    assert tvmkd("build", onnx, "--untuned", "-o", out).code == 0
    assert artifact.read(out).name == "m"
