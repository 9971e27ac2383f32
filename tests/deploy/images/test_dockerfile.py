from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import handmade
import pytest
import toy

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.toolchain import zig
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles import model
from tvmkd.deploy.images import dockerfile


def _quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> model.Model:
    """An artifact for the Nano."""
    try:
        zig()
    except MissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("artifact") / "nano"
    return model.read(toy.artifact_folder(folder, targets.load("jetson-nano")))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _instructions(text: str) -> dict[str, str]:
    """The arguments by instruction; each comes once."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    pairs = [line.split(None, 1) for line in lines if not line.startswith("#")]
    found = dict(pairs)
    assert len(found) == len(pairs)
    return found


def test_the_folder(nano: model.Model, tmp_path: Path) -> None:
    out = tmp_path / "docker"
    dockerfile.write(nano, out, "student", "1.0", _quiet)
    files = _files(out)
    said = _instructions(files.pop("Dockerfile").decode())
    server = native_programs.server_program(nano.target)
    assert files.pop("app/bin/tvmkd-server") == server.read_bytes()
    assert files.pop("app/lib/libsample.so") == nano.library.read_bytes()
    assert files.pop("app/manifest.json") == (nano.folder / "manifest.json").read_bytes()
    card = json.loads(files.pop("app/model.json"))
    assert (card["name"], card["version"], card["target"]) == ("student", "1.0", "jetson-nano")
    assert files == {}
    assert os.access(out / "app/bin/tvmkd-server", os.X_OK)

    # Ubuntu 18.04, whose glibc is the one that the programs were checked against.
    assert said["FROM"] == "nvcr.io/nvidia/l4t-base:r32.7.1"
    assert shlex.split(said["COPY"])[1:] == ["app/", "/app/"]
    entry, command = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
    library = "/app/lib/libsample.so"
    assert entry == ["/app/bin/tvmkd-server", library, "--name", "student"]
    for path in entry[:2]:
        assert (out / path.lstrip("/")).is_file(), "what is started was copied"
    port = command[command.index("--http-port") + 1]
    assert said["EXPOSE"] == port
    # Loopback inside of a container would reach nobody.
    assert command[command.index("--host") + 1] == "0.0.0.0"
    health = json.loads(said["HEALTHCHECK"].partition("CMD")[2])
    assert health == [entry[0], "--health", "--http-port", port]
    assert not said["USER"].startswith(("0", "root"))
    assert "NVIDIA_DRIVER_CAPABILITIES=compute" in said["ENV"]


def test_an_older_one_is_replaced_as_a_whole(nano: model.Model, tmp_path: Path) -> None:
    out = tmp_path / "docker"
    out.mkdir()  # an empty folder is nobody's
    dockerfile.write(nano, out, "student", "1.0", _quiet)
    (out / "app/old").write_text("of the older one")
    dockerfile.write(nano, out, "other", "2.0", _quiet)
    text = (out / "Dockerfile").read_text()
    assert text.startswith("# other 2.0 ")
    assert ("student" in text, "@" in text) == (False, False)
    assert not (out / "app/old").exists()
    assert os.listdir(tmp_path) == ["docker"], "no draft is left"


def test_somebody_elses_folder_is_left_alone(nano: model.Model, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and holds no Dockerfile; give another folder"):
        dockerfile.write(nano, tmp_path, "a", "1", _quiet)
    assert _files(tmp_path) == {"thesis.txt": b"mine"}


def test_an_artifact_for_another_machine(tmp_path: Path) -> None:
    given = handmade.model("x86-64-v3", tmp_path / "artifact")
    with pytest.raises(InputError, match="is for x86_64, and L4T runs on Jetsons only") as caught:
        dockerfile.write(given, tmp_path / "docker", "a", "1", _quiet)
    assert "--target jetson-nano" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_library_that_needs_a_newer_glibc(
    nano: model.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the server needs of glibc is too new for an image that is older than the one here.
    monkeypatch.setattr(dockerfile, "GLIBC", "2.17")
    with pytest.raises(InputError, match=r"needs GLIBC.* 2\.17"):
        dockerfile.write(nano, tmp_path / "docker", "a", "1", _quiet)
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_written(nano: model.Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file"):
        dockerfile.write(nano, tmp_path / "file/docker", "a", "1", _quiet)
    copy = shutil.copytree(nano.folder, tmp_path / "artifact")
    given = model.read(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(InputError):
        dockerfile.write(given, tmp_path / "docker", "a", "1", _quiet)
    assert sorted(os.listdir(tmp_path)) == ["artifact", "file"]
