from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

NATIVE = ("tvmkd-run", "tvmkd-server", "tvmkd-stream")


def _describe(*command: str | Path) -> str:
    return subprocess.run(
        [*command, "--describe"], capture_output=True, text=True, check=True
    ).stdout


def test_programs_that_open_any_library(
    tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path
) -> None:
    out = tmp_path / "a/programs"
    done = tvmkd("deploy", "programs", "-o", out, "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert made["static"] is False
    assert [Path(path) for path in made["files"]] == [out / name for name in (*NATIVE, "serve.py")]
    assert sorted(os.listdir(out)) == sorted([*NATIVE, "serve.py"])
    library = next(artifacts[1].glob("lib*.so"))
    assert "counts" in _describe(out / "tvmkd-run", library)
    for name in NATIVE:
        subprocess.run([out / name, "--help"], check=True, capture_output=True)
    subprocess.run([sys.executable, out / "serve.py", "--help"], check=True, capture_output=True)
    # Again, over the older ones.
    assert tvmkd("deploy", "programs", "-o", out).code == 0


def test_programs_with_a_model_linked_in(
    tvmkd: Any, artifacts: Mapping[int, Path], tmp_path: Path
) -> None:
    archive = next(artifacts[1].glob("lib*.a"))
    done = tvmkd("deploy", "programs", "-o", tmp_path / "out", "--archive", archive)
    assert done.code == 0, done.err
    assert sorted(os.listdir(tmp_path / "out")) == sorted(NATIVE)
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [
        str(tmp_path / "out" / name) for name in NATIVE
    ]
    assert "counts" in _describe(tmp_path / "out/tvmkd-run")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--target", "jetson-nan"), "jetson-nano"),
        (("--archive", "none.a"), "none.a: there is no such archive"),
    ],
)
def test_bad_input(tvmkd: Any, tmp_path: Path, options: tuple[str, ...], line: str) -> None:
    done = tvmkd("deploy", "programs", "-o", tmp_path / "out", *options)
    assert done.code == 4, done.err
    assert line in done.line
    assert os.listdir(tmp_path) == []


def test_a_file_where_the_folder_should_be(tvmkd: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    done = tvmkd("deploy", "programs", "-o", tmp_path / "out")
    assert done.code == 4
    assert (tmp_path / "out").read_text() == "x"
