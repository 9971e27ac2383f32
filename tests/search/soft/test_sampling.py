from __future__ import annotations

import soft_nets
import torch

from tvmkd import config, targets
from tvmkd.distill import tasks
from tvmkd.search.soft import sampling


def test_the_first_is_whole_and_of_the_others_about_half_of_each() -> None:
    choices = soft_nets.choices("residual")
    found = sampling.structures(choices, 200, 3)
    assert found[0] == {}
    assert found == sampling.structures(choices, 200, 3)
    assert found != sampling.structures(choices, 200, 4)
    for choice in choices:
        changed = [each[choice.name] for each in found if choice.name in each]
        assert 70 < len(changed) < 130
        assert set(changed) == set(choice.options[1:])


def test_the_networks_are_the_student_cut_for_the_target() -> None:
    cfg = config.parse(
        {
            "project": {"name": "x"},
            "data": {"image_size": 8},
            "student": {"model": "depthwise", "args": {"stem": 16, "blocks": [[32, 1]]}},
            "distill": {"latency": "table", "latency_weight": 1.0},
        }
    )
    made = sampling.networks(cfg, targets.load("host"), tasks.make(cfg), 4, 0)
    sizes = []
    for make in made:
        network, shape = make()
        assert isinstance(network, torch.nn.Module)
        assert shape == (1, 1, 8, 8)
        assert network(torch.zeros(shape)).shape == (1, 10)
        sizes.append(sum(weight.numel() for weight in network.parameters()))
    assert len(sizes) == 4
    assert sizes[0] == max(sizes) > min(sizes)
