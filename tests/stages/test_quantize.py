from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from toy_run import context

from tvmkd.base import machine
from tvmkd.base.errors import InputError
from tvmkd.stages.base import Stage
from tvmkd.stages.context import RunContext
from tvmkd.stages.export import Export
from tvmkd.stages.quantize import Quantize
from tvmkd.targets import Precision, Toolchain


@pytest.mark.parametrize("pruned", [True, False])
def test_the_final_float_student_reaches_the_quantisation(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    pruned: bool,
) -> None:
    found = {"accuracy": 0.9}
    fake = Mock(return_value=found)
    lines = Mock(return_value=["one", "two"])
    room = SimpleNamespace(quantizing=SimpleNamespace(quantize=fake, lines=lines))
    monkeypatch.setitem(sys.modules, "tvmkd.quantize", room)
    made = context(tmp_path, quantize={}, **({"prune": {}} if pruned else {}))
    assert Quantize(made).run() == found
    student = tmp_path / ("pruned.pt" if pruned else "student.pt")
    fake.assert_called_once_with(made.cfg, made.target, student, tmp_path, search_in=[tmp_path])
    lines.assert_called_once_with(found)
    assert capfd.readouterr().err.splitlines() == ["  one", "  two"]
    assert Quantize(made).outputs() == [tmp_path / "student-int8.onnx"]


def test_eight_bits_that_pay_need_no_permission(tmp_path: Path) -> None:
    assert Quantize(context(tmp_path, "jetson-nano", quantize={})).check() == []
    with pytest.raises(InputError, match=r"^raspberry-pi-4: int8 does not pay there"):
        Quantize(context(tmp_path, "raspberry-pi-4", quantize={})).check()


@pytest.mark.parametrize("stage", [Quantize, Export])
def test_where_it_can_be_measured_the_file_is_not_asked(tmp_path: Path, stage: type[Stage]) -> None:
    made = context(tmp_path, quantize={}, export={"precision": "int8"})
    slow = {"int8": Precision(False, "by its file")}
    here = {"triple": f"{machine.architecture()}-linux-gnu", "glibc": "2.28"}
    made.target = dataclasses.replace(
        made.target, device="cpu", tvm={}, toolchain=Toolchain(**here), precisions=slow
    )
    assert stage(made).check() == []
    made.target = dataclasses.replace(made.target, device="cuda")
    with pytest.raises(InputError, match="by its file"):
        stage(made).check()


def test_the_permission_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunContext, "building", property(lambda self: "building"))
    made = [context(tmp_path, quantize={"allow_slow": allowed}) for allowed in (True, False)]
    made[0].student.write_text("student")
    with_it, without = (Quantize(each).inputs() for each in made)
    assert with_it == without
    assert with_it["student"] == made[0].hash(tmp_path / "student.pt") is not None
    assert with_it["timing"] == made[0].timing
