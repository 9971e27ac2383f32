from __future__ import annotations

from typing import Any

import pytest
from build_fakes import Generation

from tvmkd.tensorrt.layers import from_log, inspect

# As tensorrt-rtx 1.7.1 logs them; inputs and outputs shortened.
LOGGED = (
    "Layers:\n"
    "Name: __myl_Move_myl0_0, LayerType: kgen, Inputs: [ { Name: x, Dimensions: [2,3,16,16] }], "
    "Constants: [], Outputs: [ { Name: r.1 }], TacticName: __myl_Move_0x5fcb, StreamId: 0, "
    "Metadata: \n"
    "Name: conv_myl0_1, LayerType: correlation, Inputs: [ { Name: r.1 }], Outputs: [ { Name: a }], "
    "TacticName: __myelin_CASK_STUB, StreamId: 1, Metadata: [ONNX Layer: conv]\x1f"
    "[ONNX Layer: act]\n"
    "\nI/O Tensors:\n Name: x, IOMode: Input, DataType: Float, Dimensions: [2,3,16,16]\n"
)


def test_the_log_has_types_tactics_and_onnx_nodes() -> None:
    assert from_log(LOGGED) == [
        {
            "Name": "__myl_Move_myl0_0",
            "LayerType": "kgen",
            "TacticName": "__myl_Move_0x5fcb",
            "StreamId": 0,
            "Metadata": "",
        },
        {
            "Name": "conv_myl0_1",
            "LayerType": "correlation",
            "TacticName": "__myelin_CASK_STUB",
            "StreamId": 1,
            "Metadata": "[ONNX Layer: conv] [ONNX Layer: act]",
        },
    ]
    assert from_log("") == []


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"Layers": [{"Name": "a", "LayerType": "b"}]}, [{"Name": "a", "LayerType": "b"}]),
        ({"Layers": ["a", "b"]}, [{"Name": "a"}, {"Name": "b"}]),
        ({"Bindings": []}, []),
        ("{ not json", []),
    ],
)
def test_every_form_of_the_inspector_s_answer(said: Any, found: list[Any]) -> None:
    generation = Generation("8.2")
    generation.inspected = said
    assert inspect(b"plan", generation.bindings) == found


def test_an_engine_that_cannot_be_loaded_has_no_layers() -> None:
    assert inspect(b"plan", Generation("10", gpu=False).bindings) == []
