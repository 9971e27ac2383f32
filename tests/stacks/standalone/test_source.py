from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tvmkd.base import machine
from tvmkd.base.errors import TvmkdError
from tvmkd.stacks.standalone import source
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor

FLOAT = np.dtype(np.float32)


def about(**changes: Any) -> source.About:
    spec = {"name": "x", "shape": [1, 4], "dtype": "float32"}
    plain: dict[str, Any] = {
        "name": "net", "target": "host", "built_by": "us", "digest": "0" * 64, "inputs": [spec],
        "outputs": [spec], "threads": 2, "features": (), "scratch": 100,
    }  # fmt: skip
    return source.About(**{**plain, **changes})


def graph() -> Graph:
    given = Tensor(Storage(Place.INPUT, 0, 16), (1, 4), FLOAT)
    weight = Tensor(Storage(Place.CONSTANTS, 0, 16), (4,), FLOAT)
    made = Tensor(Storage(Place.OUTPUT, 0, 16), (1, 4), FLOAT)
    call = Call("add", "__tvm_ffi_k1", (weight, given, made))
    return Graph((call,), (np.ones(4, np.float32),), (1,))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("student", "student"),
        ("my-net.v2", "my_net_v2"),
        ("8bit", "model_8bit"),
        ("--", "model"),
        ("Größe", "gr__e"),
        ("_x_", "x"),
    ],
)
def test_names_become_identifiers(name: str, plain: str) -> None:
    assert source.identifier(name) == plain


def test_inputs_and_outputs_come_first_for_the_runtime() -> None:
    text = source.write(graph(), about())
    places = text[text.index("places[] = {") : text.index("static const uint16_t")]
    order = [place.value for place in Place]
    found = sorted((places.index(each), each) for each in order if each in places)
    assert [each for _, each in found] == ["IN_INPUT", "IN_OUTPUT", "IN_CONSTANTS"]
    assert "arguments[] = {2, 0, 1}" in text
    assert "if (__tvm_ffi_k1(0, a + 0, 3, &r)) return 1;" in text
    assert ".scratch_bytes = 128" in text


def test_a_name_cannot_leave_its_string() -> None:
    evil = 'a"; system("x"); //\\\n??/ü'
    spec = {"name": evil, "shape": [], "dtype": "float32"}
    text = source.write(graph(), about(inputs=[spec]))
    assert r'a\042; system(\042x\042); //\134\012\077\077/\303\274"' in text
    assert '"; system' not in text


def test_every_feature_that_targets_need_can_be_looked_for() -> None:
    features = {*machine.X86_64_V4, *machine.VNNI.values()}
    text = source.write(graph(), about(features=features))
    assert text.count("NEED_X86(") == len(features)
    with pytest.raises(TvmkdError, match="host: a library cannot look for the feature amx"):
        source.write(graph(), about(features=["amx"]))


def test_a_model_may_have_only_so_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_TENSORS", 5)
    tensors = [Tensor(Storage(Place.ARENA, number, 4), (1,), FLOAT) for number in range(6)]
    calls = tuple(Call("k", "s", (each,)) for each in tensors)
    with pytest.raises(TvmkdError, match="more than 5 tensors"):
        source.write(Graph(calls, (), (len(calls),)), about())


def test_constants_are_aligned() -> None:
    assert source.offsets([1, 64, 65]) == ([0, 64, 128], 256)
