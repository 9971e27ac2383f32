"""Dequantising and quantising: zero points, scales, and rounding to integers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from rewriting import site

from tvmkd.export.rewrites.integers import centred, given, single
from tvmkd.export.site import Refused


def at(**constants):
    return site(helper.make_node("Op", ["x", "a", "b", ""], ["y"]), [2, 3], **constants)


def test_a_zero_point_of_zero_is_not_subtracted():
    assert centred(at(a=np.zeros(3, np.uint8)), "x", "a") == "x"
    assert centred(at(), "x", "") == "x"
    assert centred(at(a=np.array(1, np.uint8)), "x", "a") == "y_Sub"


def test_one_element_is_a_scalar():
    node = at()
    for name, shape in (("a", [1]), ("b", [3])):
        node.scope.types[name] = helper.make_tensor_type_proto(1, shape)
    assert node.sizes_of(single(node, 1)) == ()
    with pytest.raises(Refused, match="for each row"):
        single(node, 2)
    assert single(node, 3) == given(node, 3) == given(node, 9) == ""
