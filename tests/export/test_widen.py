from __future__ import annotations

import models
import numpy as np
import onnx
import onnxruntime
import pytest

from tvmkd.base.errors import InputError
from tvmkd.export import widen as module
from tvmkd.export.widen import widen


def small() -> onnx.ModelProto:
    body = onnx.helper.make_graph(
        [models.node("Mul", "h third", "b")], "then", [], [models.value("b", models.HALF)]
    )
    return models.model(
        [
            models.node("Cast", "x", "h", to=models.HALF),
            models.node("If", "flag", "c", then_branch=body, else_branch=body),
            models.node("Cast", "c", "y", to=models.FLOAT),
        ],
        [models.value("x", shape=[3]), models.value("flag", models.BOOL, [])],
        [models.value("y", shape=[3])],
        third=np.float16(1 / 3),
    )


def test_every_float_is_float64_in_branches_too() -> None:
    session = onnxruntime.InferenceSession(widen(small()).SerializeToString())
    x = np.array([1.0, 1 + 1e-12, 1e300])
    (got,) = session.run(None, {"x": x, "flag": np.array(True)})
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, x * float(np.float16(1 / 3)), rtol=1e-15)


def test_the_model_given_stays_as_it_is() -> None:
    model = small()
    before = model.SerializeToString()
    widen(model)
    assert model.SerializeToString() == before


def test_large_or_external_weights_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(InputError, match="other files"):
        widen(model)
    monkeypatch.setattr(module, "LARGEST", 10)
    with pytest.raises(InputError, match="too large"):
        widen(small())
