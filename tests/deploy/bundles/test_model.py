from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.bundles import model
from tvmkd.deploy.bundles.card import classes, text


def test_read(artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    found = model.read(artifacts[1])
    assert found.library.name == "libsample.so"
    assert found.archive == artifacts[1] / "libsample.a"
    assert found.target == targets.load("host")
    assert model.time_of_build(found) == "2026.11.29.06.00.00"
    library = tmp_path / "model.so"
    library.write_bytes(b"x")
    fields = found.manifest.model_dump(exclude={"files", "schema_version", "created", "runtime"})
    fields.pop("tvmkd_version")
    artifact.write(tmp_path / "tvm", {"model.so": library}, **fields)
    with pytest.raises(InputError, match=r"needs TVM's runtime.* --runtime standalone"):
        model.read(tmp_path / "tvm")


@pytest.mark.parametrize(
    ("out", "name", "version", "found"),
    [
        ("student-1.2.0.tar.gz", None, None, ("student", "1.2.0")),
        ("my-student-v2.tar.gz", None, None, ("my-student", "2")),
        ("student-1.2.0-rc.1+x.tar.gz", None, None, ("student", "1.2.0-rc.1+x")),
        ("student.tar.gz", None, "3", ("sample", "3")),
        ("student-1.tar.gz", "other", "3", ("other", "3")),
    ],
)
def test_names_and_versions(
    artifacts: Mapping[int, Path],
    out: str,
    name: str | None,
    version: str | None,
    found: tuple[str, str],
) -> None:
    read = model.read(artifacts[1])
    assert model.name_and_version(read, Path(out), ".tar.gz", name, version) == found


@pytest.mark.parametrize(
    ("out", "name", "version", "says"),
    [
        ("student.tar.gz", None, None, "no version; give --version"),
        ("a-1.tar.gz", "bin", None, "--name bin"),
        ("a-1.tar.gz", "a b", None, "--name a b"),
        ("a-1.tar.gz", "../x", None, "--name ../x"),
        ("a-1.tar.gz", None, ".1", "--version .1"),
    ],
)
def test_what_cannot_be_a_folder(
    artifacts: Mapping[int, Path], out: str, name: str | None, version: str | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        model.name_and_version(model.read(artifacts[1]), Path(out), ".tar.gz", name, version)


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({}, None),
        ({"classes": '["0", "1"]'}, ["0", "1"]),
        ({"names": "{0: 'person', 1: 'car'}"}, ["person", "car"]),
        ({"names": "{1: 'person'}"}, None),
        ({"names": "__import__('os')"}, None),
        ({"names": "[1, 2]"}, None),
    ],
)
def test_class_names(
    artifacts: Mapping[int, Path], metadata: dict[str, str], found: list[str] | None
) -> None:
    manifest = model.read(artifacts[1]).manifest.model_copy(update={"metadata": metadata})
    assert classes(manifest, None) == found


def test_class_names_from_a_file(artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    manifest = model.read(artifacts[1]).manifest
    for content in ("", "a\n\nb\n"):
        (tmp_path / "names").write_text(content)
        with pytest.raises(InputError, match="one class name a line"):
            classes(manifest, tmp_path / "names")
    with pytest.raises(InputError, match="cannot be read"):
        classes(manifest, tmp_path / "none")


def test_a_detector_is_described(artifacts: Mapping[int, Path]) -> None:
    import json
    from dataclasses import replace

    import numpy as np

    from tvmkd.base.detector_description import Description

    about = Description(
        ("cup", "cat"), 64, "sigmoid", (1.0, 1.0, 2.0, 2.0), np.zeros((3, 4), np.float32)
    )
    read = model.read(artifacts[1])
    manifest = read.manifest.model_copy(update={"metadata": about.to_metadata()})
    assert classes(manifest, None) == ["cup", "cat"]
    card = json.loads(text(replace(read, manifest=manifest), "a", "1", None))
    assert card["preprocessing"]["resize"] == [64, 64]
    assert card["postprocessing"]["box_weights"] == [1.0, 1.0, 2.0, 2.0]
    given = {"preprocessing": '{"mean": [0.3]}'}
    manifest = read.manifest.model_copy(update={"metadata": given})
    card = json.loads(text(replace(read, manifest=manifest), "a", "1", None))
    assert card["preprocessing"] == {"mean": [0.3]}
