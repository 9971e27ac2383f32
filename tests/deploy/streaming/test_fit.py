from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from detector_files import onnx_detector

from tvmkd.base.errors import UsageError
from tvmkd.base.manifest import TensorSpec
from tvmkd.deploy.streaming import fit
from tvmkd.deploy.streaming.model import Model, open_model


def model(name: str, taken: list[Any], given: list[Any], exits: int = 1) -> Model:
    return Model(
        name=name,
        path=Path(name),
        sha256="",
        runtime="",
        inputs=[TensorSpec(name="x", shape=taken, dtype="float32")],
        outputs=[TensorSpec(name="y", shape=given, dtype="float32")],
        metadata={},
        exits=exits,
        run=lambda arrays, deadline: ([], 0),
    )


BIG = model("big", [1, 3, 64, 64], [1, 10])


def test_exits_are_needed_to_take_one() -> None:
    fit.check([model("m", [1, 4], [1, 2], exits=2)], "exit")
    with pytest.raises(UsageError, match=r"^--when-late exit: big has no early exits; "):
        fit.check([BIG], "exit")


def test_a_smaller_image_is_a_smaller_model() -> None:
    small = model("small", [1, 3, 32, 32], [1, 10])
    fit.check([BIG, small], "ladder")
    with pytest.raises(UsageError, match="small: takes float32 1 x 3 x 32 x 32, and big takes"):
        fit.check([BIG, small], "ladder", prepared=True)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            model("b", [1, 3, 64, 64], [1, 9]),
            "b: gives float32 1 x 9, and big gives",
        ),
        (model("b", [1, 7], [1, 10]), "b: takes float32 1 x 7, and big takes images; a ladder's"),
    ],
)
def test_a_ladder_of_what_is_not_alike(other: Model, said: str) -> None:
    with pytest.raises(UsageError, match=f"^--ladder {said}"):
        fit.check([BIG, other], "ladder")


def test_detectors_of_the_same_classes(tmp_path: Path) -> None:
    first = open_model(onnx_detector(tmp_path / "d.onnx"), threads=1)
    fit.check([first, replace(first, outputs=[])], "ladder")  # its anchors are its own
    with pytest.raises(UsageError, match=r"big: gives float32 1 x 10, and .*d\.onnx gives boxes"):
        fit.check([first, BIG], "ladder")
