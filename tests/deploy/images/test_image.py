"""Images: what skopeo and umoci make of them, and whether what is in them runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import asking
import pytest
import sample_library
import toy

from tvmkd import targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import model
from tvmkd.deploy.images import image

MEGA = 1_000_000
TAG = "sample:1.2.0"


def _quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, model.Model]:
    """One artifact for this machine and one for the Nano."""
    folder = tmp_path_factory.mktemp("artifacts")
    return {
        name: model.read(toy.artifact_folder(folder / name, targets.load(name)))
        for name in ("host", "jetson-nano")
    }


@pytest.fixture(scope="module")
def both(
    artifacts: Mapping[str, model.Model], tmp_path_factory: pytest.TempPathFactory
) -> image.Made:
    """An image for both architectures."""
    out = tmp_path_factory.mktemp("image") / "sample-1.2.0.oci.tar"
    return image.make(list(artifacts.values()), out, TAG, None, _quiet)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: sudo apt-get install {name}")
    return found


def _said(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_artifacts_give_the_same_bytes(
    artifacts: Mapping[str, model.Model], both: image.Made, tmp_path: Path
) -> None:
    again = image.make(list(artifacts.values()), tmp_path / "x.tar", TAG, None, _quiet)
    assert again.path.read_bytes() == both.path.read_bytes()
    assert both.path.stat().st_size <= 10 * MEGA  # the sample has no weights
    assert both.tested["amd64"] == "sample: 2 outputs as recorded"
    if emulate.why_not() is None:
        assert both.tested["arm64"] == "sample: 2 outputs as recorded"


def test_why_no_self_test_was_run(
    artifacts: Mapping[str, model.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a build leaves it that rewrote nothing of the ONNX file and did not run the library.
    files = dict(artifacts["host"].manifest.files)
    normalised = artifacts["host"].folder / "normalised.onnx"
    files.pop(normalised.name)
    manifest = artifacts["host"].manifest.model_copy(update={"files": files})
    plain = replace(artifacts["host"], manifest=manifest)
    made = image.make([plain], tmp_path / "a.tar", TAG, None, _quiet)
    why = "there is nothing to compare with; give --onnx MODEL.onnx"
    assert (made.tested, list(made.untested.values())) == ({}, [why])
    made = image.make([plain], tmp_path / "a.tar", TAG, normalised, _quiet)
    assert (list(made.tested.values()), made.untested) == (["sample: 2 outputs as recorded"], {})
    monkeypatch.setattr(image.self_test, "runner", lambda _: None)
    made = image.make([plain], tmp_path / "a.tar", TAG, normalised, _quiet)
    why = "neither this machine nor an installed QEMU can run it"
    assert (made.tested, list(made.untested.values())) == ({}, [why])


def test_skopeo_reads_it(both: image.Made, tmp_path: Path) -> None:
    skopeo = _tool("skopeo")
    for architecture in ("amd64", "arm64"):
        override = ("--override-arch", architecture)
        found = json.loads(_said(skopeo, *override, "inspect", f"oci-archive:{both.path}"))
        assert (found["Architecture"], found["Os"]) == (architecture, "linux")
        assert found["Labels"]["org.opencontainers.image.version"] == "1.2.0"
        assert len(found["Layers"]) == 1
        config = json.loads(
            _said(skopeo, *override, "inspect", "--config", f"oci-archive:{both.path}")
        )["config"]
        assert config["User"] == "65532:65532"
        assert config["ExposedPorts"] == {"8000/tcp": {}}
        assert config["Entrypoint"] == [f"/{native_programs.SERVER}", "--name", "sample"]
        # Copying checks every digest.
        place = tmp_path / architecture
        _said(skopeo, *override, "copy", f"oci-archive:{both.path}", f"dir:{place}")
    whole = tmp_path / "all"
    _said(skopeo, "copy", "--all", f"oci-archive:{both.path}", f"oci:{whole}:1.2.0")
    index = json.loads((whole / "index.json").read_text())
    assert len(index["manifests"]) == 1


@pytest.mark.parametrize("name", ["host", "jetson-nano"])
def test_umoci_unpacks_it_and_it_runs(
    artifacts: Mapping[str, model.Model], name: str, tmp_path: Path
) -> None:
    umoci, target = _tool("umoci"), targets.load(name)
    if target.runs_here() is not None and emulate.why_not() is not None:
        pytest.skip(emulate.why_not() or "")
    made = image.make([artifacts[name]], tmp_path / "one.tar", TAG, None, _quiet)
    layout = tmp_path / "layout"
    with tarfile.open(made.path) as archive:
        archive.extractall(layout, filter="data")
    bundle = tmp_path / "bundle"
    _said(umoci, "unpack", "--rootless", "--image", f"{layout}:1.2.0", bundle)
    root = bundle / "rootfs"
    assert os.listdir(root) == [native_programs.SERVER]
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["user"] == {"uid": 65532, "gid": 65532}
    program = root / native_programs.SERVER
    arguments = config["process"]["args"][1:3]
    assert arguments == ["--name", "sample"]
    # Static: QEMU gets no libraries of the architecture.
    start = sample_library.runner(target)[:3]
    with asking.served([*start, str(program), *arguments]) as url:
        assert asking.health([*start, str(program), "--health"], url) == 0
        assert asking.infer(url, "sample", [1.0, 2.0, 3.0, 4.0]) == [3.0, 5.0, 7.0, 9.0]
    assert asking.health([*start, str(program), "--health"], url) == 1


def test_what_no_image_is_made_of(artifacts: Mapping[str, model.Model], tmp_path: Path) -> None:
    out = tmp_path / "x.tar"
    with pytest.raises(UsageError, match="are both for x86_64"):
        image.make([artifacts["host"]] * 2, out, TAG, None, _quiet)
    other = model.read(toy.artifact_folder(tmp_path / "2", targets.load("jetson-nano"), 2))
    with pytest.raises(UsageError, match="two ONNX files"):
        image.make([artifacts["host"], other], out, TAG, None, _quiet)
    wrong = toy.artifact_folder(tmp_path / "w", targets.load("host"), wrong=True)
    with pytest.raises(InputError, match="does not pass its own self-test"):
        image.make([model.read(wrong)], out, TAG, None, _quiet)
    assert not out.exists()
