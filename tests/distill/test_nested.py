"""Tensors within tuples, lists, dicts and results of other libraries."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from tvmkd.distill.nested import moved, tensors


def test_tensors_are_found_at_any_depth() -> None:
    one, two, three = (torch.full((1,), float(n)) for n in range(3))
    value = {"a": [one, (two,)], "b": SimpleNamespace(logits=three), "c": "text"}
    assert [float(tensor) for tensor in tensors(value)] == [0.0, 1.0, 2.0]
    assert list(tensors(None)) == []


def test_what_is_moved_keeps_its_structure() -> None:
    value = {"a": [torch.zeros(2), (torch.ones(1), "text")], "b": 3}
    found = moved(value, torch.device("meta"))
    assert found["a"][0].device.type == "meta"
    assert found["a"][1][0].device.type == "meta"
    assert (found["a"][1][1], found["b"]) == ("text", 3)
    assert isinstance(found["a"][1], tuple)
