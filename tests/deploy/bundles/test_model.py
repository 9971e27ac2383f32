from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.bundles import model


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
