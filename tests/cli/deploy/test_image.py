from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import toy

from tvmkd import targets


def test_an_image(tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    out = tmp_path / "Student-1.2.0.oci.tar"
    done = tvmkd("deploy", "image", artifacts[1], "-o", out, "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert (made["tag"], made["bytes"]) == ("student:1.2.0", out.stat().st_size)
    assert made["self_test"] == {"amd64": "sample: 2 outputs as recorded"}
    done = tvmkd("deploy", "image", artifacts[1], "-o", tmp_path / "student.oci.tar")
    assert "student" not in done.out.splitlines()[-1].split("docker-daemon:")[1]
    assert "sample:2026.11.29.06.00.00" in done.out
    done = tvmkd("deploy", "image", artifacts[1], "-o", tmp_path / "t-1.0.tar")
    assert done.out.split("docker-daemon:")[1] == "t:1.0\n"


def test_a_dockerfile_for_jetsons(
    tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path
) -> None:
    nano = toy.artifact_folder(tmp_path / "nano", targets.load("jetson-nano"))
    folder = tmp_path / "docker"
    options = ("--name", "student", "--version", "1.0")
    done = tvmkd("deploy", "image", nano, "--dockerfile", folder, *options)
    assert done.code == 0, done.err
    text = (folder / "Dockerfile").read_text()
    assert "FROM nvcr.io/nvidia/l4t-base:r32.7.1\n" in text
    assert (
        'ENTRYPOINT ["/app/bin/tvmkd-server", "/app/lib/libsample.so", "--name", "student"]' in text
    )
    assert "@" not in text
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "Dockerfile",
        "app/bin/tvmkd-server",
        "app/lib/libsample.so",
        "app/manifest.json",
        "app/model.json",
    ]
    # Again over the older one, but not over somebody's folder.
    assert tvmkd("deploy", "image", nano, "--dockerfile", folder, *options).code == 0
    done = tvmkd("deploy", "image", nano, "--dockerfile", tmp_path, *options)
    assert done.code == 4
    assert "holds no Dockerfile" in done.line
    done = tvmkd("deploy", "image", artifacts[1], "--dockerfile", tmp_path / "x", *options)
    assert done.code == 4
    assert "L4T runs on Jetsons only" in done.line


def test_wrong_usage(tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path) -> None:
    assert tvmkd("deploy", "image", artifacts[1]).code == 2
    done = tvmkd("deploy", "image", artifacts[1], "-o", tmp_path / "t-1.0.zip")
    assert done.code == 2
    assert "t-1.0.zip: is written as .tar; give it a name that ends so" in done.line
    two = ("-o", tmp_path / "a.oci.tar", "--dockerfile", tmp_path / "b")
    assert tvmkd("deploy", "image", artifacts[1], *two).code == 2
    done = tvmkd("deploy", "image", *[artifacts[1]] * 2, "-o", tmp_path / "a.oci.tar")
    assert done.code == 2
    assert "are both for x86_64" in done.line
