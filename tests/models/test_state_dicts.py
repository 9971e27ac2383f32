from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tvmkd.models import state_dicts


def network(classes: int = 3, channels: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes)
    )


STATE = network().state_dict()


def prefixed(prefix: str, state: Mapping[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def loaded(content: Any) -> bool:
    """Whether the weights are found in a checkpoint's content, and are those of ``STATE``."""
    model = network()
    found = state_dicts.find(content)
    if not found:
        return False
    chosen = state_dicts.best(found, state_dicts.shapes(model))
    return state_dicts.problem(model, chosen) is None and all(
        torch.equal(chosen[name], STATE[name]) for name in STATE
    )


SHADOW = {name: tensor for name, tensor in STATE.items() if "running" not in name}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {**STATE, "epoch": 3},
        *({key: STATE, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
          for key in ("state_dict", "model_state_dict", "model", "net", "network", "weights")),
        *({key: STATE} for key in ("ema", "model_ema", "state_dict_ema", "whatever")),
        {"model": network(5).state_dict(), "state_dict_ema": STATE},
        {"ema": {"decay": 0.9, "shadow": SHADOW}, "model": STATE},
        {"checkpoint": {"model": {"state_dict": STATE}}},
        {"discriminator": network(7).state_dict(), "classifier": STATE},
        *(prefixed(prefix) for prefix in ("module.", "_orig_mod.", "model.", "net.")),
        *(prefixed(prefix) for prefix in ("module._orig_mod.", "_orig_mod.module.", "a.b.c.")),
        {"state_dict": {**prefixed("model."), "criterion.weight": torch.ones(3)}},
        {"state_dict": {**prefixed("teacher.", network(9).state_dict()), **prefixed("net.")}},
        {"state_dict": prefixed("model._orig_mod.")},
    ],
)  # fmt: skip
def test_the_weights_are_found(content: Any) -> None:
    assert loaded(content)


@pytest.mark.parametrize("content", [{}, [STATE], None, {"epoch": 1}, {"a": {"b": {}}}])
def test_no_weights(content: Any) -> None:
    assert state_dicts.find(content) == []


def test_parts_under_keys_that_begin_their_names() -> None:
    whole = nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, 4)})
    content = {key: part.state_dict() for key, part in whole.items()}
    found = state_dicts.best(state_dicts.find(content), state_dicts.shapes(whole))
    assert found.keys() == whole.state_dict().keys()


def test_a_model_in_an_attribute_that_the_file_has_not() -> None:
    outer = nn.ModuleDict({"m": network()})
    chosen = state_dicts.best([dict(STATE)], state_dicts.shapes(outer))
    assert state_dicts.problem(outer, chosen) is None


def test_a_counter_of_batches_may_be_missing() -> None:
    state = {name: tensor for name, tensor in STATE.items() if "batches" not in name}
    model = network()
    assert state_dicts.problem(model, state) is None
    model.load_state_dict(state)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (network(5), ["2 have other shapes (size mismatch): 3.weight is [3, 4], not [5, 4]",
                      "another number of classes: 3 in the file, 5 in the model"]),
        (network(3, 1), ["another number of channels: 2 in the file, 1 in the model"]),
        (nn.Linear(4, 3), ["2 of its 2 tensors are missing: weight, bias",
                           "9 are not its own: 0.weight, 0.bias, 1.weight and 6 more",
                           "another architecture"]),
        (nn.Sequential(*network(), nn.Linear(3, 3)), ["4.weight", "a variant of this model"]),
    ],
)  # fmt: skip
def test_why_weights_do_not_fit(model: nn.Module, words: list[str]) -> None:
    text = state_dicts.problem(model, STATE)
    assert text is not None
    for word in words:
        assert word in text


def test_classes_of_a_last_layer() -> None:
    own = network(5).state_dict()
    assert state_dicts.classes_in(own, STATE) == (5, 3)
    assert state_dicts.classes_in(STATE, STATE) is None
    assert state_dicts.classes_in(network(3, 1).state_dict(), STATE) is None
    boxes = {"a": torch.ones(9, 2), "b": torch.ones(5), "c": torch.ones(20), "d": torch.ones(1)}
    file = {**boxes, "b": torch.ones(3), "c": torch.ones(12)}
    assert state_dicts.classes_in(boxes, file) == (5, 3)
    assert state_dicts.classes_in(boxes, {**file, "c": torch.ones(13)}) is None


def test_nan_is_named_and_a_mask_of_infinity_is_none() -> None:
    model = network()
    model.register_buffer("mask", torch.tensor([-float("inf")]))
    assert state_dicts.broken(model) is None
    with torch.no_grad():
        model[0].weight[0] = float("inf")
        model[1].running_var[0] = float("nan")
    assert state_dicts.broken(model) == "0.weight and 1 more tensors hold NaN or infinity"
