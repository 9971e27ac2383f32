"""The trace of a profile."""

from __future__ import annotations

import json

from test_kernel_profile import PEERS, made

from tvmkd.bench.trace import events


def test_each_call_and_each_node_is_an_event_on_its_track() -> None:
    found = events(made(), PEERS)["traceEvents"]
    assert json.loads(json.dumps(found)) == found
    assert [each["args"]["name"] for each in found if each["ph"] == "M"] == [
        "TVM: one run",
        "ONNX Runtime: its nodes one after another",
    ]
    calls = [each for each in found if each["ph"] == "X" and each["tid"] == 0]
    assert [each["name"] for each in calls] == ["conv", "step", "dense", "other"]
    assert (calls[0]["cat"], calls[0]["dur"], calls[0]["args"]) == (
        "conv2d", 8.0, {"nodes": "n0, n1"},
    )  # fmt: skip
    nodes = [each for each in found if each["ph"] == "X" and each["tid"] == 1]
    assert [(each["ts"], each["dur"]) for each in nodes] == [
        (0.0, 7.0), (7.0, 5.0), (12.0, 2.0), (14.0, 1.0),
    ]  # fmt: skip
