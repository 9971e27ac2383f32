from __future__ import annotations

import soft_nets

from tvmkd.search.soft.choices import home, neighbours


def names(spec: str) -> list[str]:
    return [choice.name for choice in soft_nets.choices(spec)]


def test_neighbours_have_a_layer_in_common() -> None:
    known = names("residual")
    pairs = {(known[a], known[b]) for a, b in neighbours(soft_nets.choices("residual"))}
    assert ("stem.0.0", "blocks.0.first.0") in pairs
    assert ("blocks.0.first.0", "blocks.0.second.0") in pairs
    assert ("blocks.0.second.0", "blocks.1") in pairs, "it goes through the block"
    assert ("blocks.0.first.0", "blocks.1.first.0") not in pairs
    assert ("blocks.1.first.0", "blocks.1") not in pairs, "it is in the block, and goes with it"
    assert ("blocks.1", "blocks.3") not in pairs


def test_what_is_inside_of_a_block_is_at_home_there() -> None:
    choices = soft_nets.choices("residual")
    found = {
        choice.name: None if at is None else choices[at].name
        for choice, at in zip(choices, home(choices), strict=True)
    }
    assert found["blocks.1.first.0"] == "blocks.1"
    assert found["blocks.0.second.0"] is None
    assert found["blocks.1"] is None


def test_a_block_holds_its_own_modules_only() -> None:
    block = next(choice for choice in soft_nets.choices("residual") if choice.name == "blocks.1")
    assert block.holds("blocks.1.first.0")
    assert not block.holds("blocks.10.first.0")
    assert block.to_dict() == {"name": "blocks.1", "kind": "depth", "options": [1, 0]}
