from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tvmkd.export.check import ModelInfo, Tensor
from tvmkd.stacks import messages
from tvmkd.stacks.base import METHODS
from tvmkd.stacks.messages import BuildRequest, LowerRequest, ProfileRequest, TuneRequest

INFO = ModelInfo(
    path=Path("m.onnx"),
    inputs=(Tensor("x", ("batch", 3, 8, 8), "float32"),),
    outputs=(Tensor("y", (1, 10), "float32"),),
    sha256="ab",
    opset=18,
    operators={"Conv": 2},
    metadata={"author": "a test"},
    external=(Path("m.onnx.data"),),
)
TARGET = {"name": "board", "tvm": {"kind": "llvm", "num-cores": 4}}


@pytest.mark.parametrize(
    "request_",
    [
        LowerRequest(Path("m.onnx"), TARGET, {"batch": 2}, True, "tensorrt", INFO),
        LowerRequest(Path("m.onnx"), TARGET),
        TuneRequest(
            Path("m.onnx"),
            TARGET,
            Path("r"),
            9,
            {"port": 1},
            3,
            {"boards": 2},
            {"N": 1},
            INFO,
            [INFO],
            {"0x1": 0.5},
        ),
        BuildRequest(Path("m.onnx"), TARGET, [Path("a"), Path("b")], Path("o"), model=INFO),
        BuildRequest(Path("m"), TARGET, [], Path("o"), Path("i.npz"), False, {"port": 1}, "x"),
        ProfileRequest(Path("o"), Path("i.npz"), 3),
    ],
)
def test_a_request_arrives_as_it_was_sent(request_: Any) -> None:
    line = json.dumps(messages.pack(request_))
    assert messages.unpack(type(request_), json.loads(line)) == request_


def test_every_method_with_arguments_has_a_request() -> None:
    assert set(METHODS) - set(messages.REQUESTS) == {"available"}


def test_a_request_of_another_form_is_refused() -> None:
    with pytest.raises(ValidationError):
        messages.unpack(ProfileRequest, {"inputs": "i.npz"})
