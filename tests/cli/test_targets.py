from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tvmkd import targets


def test_the_list_names_them_all_and_marks_the_host(tvmkd: Any) -> None:
    done = tvmkd("targets")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert list(lines) == targets.shipped()
    assert [name for name, line in lines.items() if "(host)" in line] == [targets.host_name()]


def test_json_is_the_targets_themselves(tvmkd: Any) -> None:
    listed = json.loads(tvmkd("targets", "--json").out)
    assert listed["host"] == targets.host_name()
    for data in listed["targets"]:
        assert targets.Target.from_dict(data) == targets.load(data["name"])
    assert json.loads(tvmkd("targets", "host", "--json").out)["name"] == listed["host"]


def test_one_target_shows_what_pays(tvmkd: Any) -> None:
    out = tvmkd("targets", "jetson-nano-gpu").out
    assert "glibc 2.27" in out
    assert "fp16        pays: sm_53" in out
    assert "int8        does not pay" in out


def test_an_unknown_target_is_bad_input(tvmkd: Any, tmp_path: Path) -> None:
    done = tvmkd("targets", "jetson-nanno")
    assert done.code == 4
    assert 'unknown target "jetson-nanno"; did you mean "jetson-nano"?' in done.line
    assert "there is no such target file" in tvmkd("targets", tmp_path / "x.toml").line
