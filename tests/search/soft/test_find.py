from __future__ import annotations

from typing import Any

import pytest
import soft_nets
import torch

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.search.soft import find, gates


def test_channel_counts_are_multiples_down_to_an_eighth() -> None:
    assert find.counts(16, 8) == (16, 8)
    assert find.counts(8, 8) == (8,)
    assert find.counts(20, 8) == (20, 16, 8)
    assert find.counts(128, 16) == (128, 112, 96, 80, 64, 48, 32, 16)
    many = find.counts(512, 8)
    assert len(many) <= find.MOST_WIDTHS
    assert many[0] == 512
    assert many[-1] == 64


@pytest.mark.parametrize(
    ("spec", "widths", "blocks"),
    [("residual", 7, 2), ("depthwise", 3, 0), ("bottleneck", 14, 6), ("mlp", 6, 3)],
)
def test_every_group_and_block_of_our_students_is_a_choice(
    spec: str, widths: int, blocks: int
) -> None:
    kinds = [choice.kind for choice in soft_nets.choices(spec)]
    assert (kinds.count("width"), kinds.count("depth")) == (widths, blocks)


@pytest.mark.parametrize("kind", ["width", "depth"])
def test_only_what_is_asked_for_may_be_taken_out(kind: str) -> None:
    network = soft_nets.build("mlp")
    found = find.find(
        network, soft_nets.recipe("mlp"), soft_nets.SHAPE, soft_nets.fixed(network), 8, [kind]
    )
    assert {each.kind for each in found} == {kind}


def test_nothing_to_take_out_is_one_line() -> None:
    args = {"classes": 10, "stem": 8, "blocks": [[8, 1]]}
    network = models.build("depthwise", **args)
    with pytest.raises(InputError, match=r"depthwise: nothing can be taken out.*wider student"):
        find.find(
            network, {"spec": "depthwise", "kwargs": args}, soft_nets.SHAPE, [network.head], 8
        )


def test_what_is_not_the_same_cut_and_masked_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that forgets one layer: the group that it reads cannot be masked."""
    original = gates.Gates._mask

    def forgetful(self: gates.Gates, name: str, wide: bool, layer: Any, inputs: Any) -> Any:
        if wide and (layer.in_channels, layer.out_channels) == (16, 32):
            return inputs
        return original(self, name, wide, layer, inputs)

    monkeypatch.setattr(gates.Gates, "_mask", forgetful)
    network = soft_nets.build("depthwise")
    model, told = soft_nets.recipe("depthwise"), list[str]()
    found = find.find(
        network, model, soft_nets.SHAPE, soft_nets.fixed(network), 8, ["width"], told.append
    )
    names = [choice.name for choice in found]
    assert "features.0" not in names
    assert names == ["features.3.3", "features.4.3"]
    assert told == ["  not shaped, since they cannot be cut exactly: features.0"]


def test_the_random_state_is_left_alone() -> None:
    network = soft_nets.build("depthwise")
    torch.manual_seed(5)
    find.find(network, soft_nets.recipe("depthwise"), soft_nets.SHAPE, soft_nets.fixed(network), 8)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
