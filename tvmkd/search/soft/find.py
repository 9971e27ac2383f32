"""Finds the choices about a network, and checks that a mask and a cut are the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd import models
from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.distill.nested import tensors
from tvmkd.models.reparameterize import stays
from tvmkd.search.soft import blocks, groups
from tvmkd.search.soft.choices import Choice, Structure
from tvmkd.search.soft.cut import cut, recipe
from tvmkd.search.soft.gates import Gates

LEAST = 8  # a group keeps at least this part of its channels: one in so many
MOST_WIDTHS = 9  # channel counts of a group to ask the latency of
SAME = 1e-4  # of the largest output: rounding


def find(
    network: nn.Module,
    model: Mapping[str, Any],
    shape: Sequence[int],
    fixed: Sequence[nn.Module],
    multiple: int,
    kinds: Sequence[str] = ("width", "depth"),
    tell: Callable[[str], None] = console.say,
) -> list[Choice]:
    """The choices about a network, with all channel counts that are worth a question.

    Args:
        network: on the CPU.
        model: ``{"spec", "kwargs"}`` that it was built from.
        shape: of one input, batch first.
        fixed: layers whose outputs stay.
        multiple: channel counts are multiples of it.
        kinds: ``width``, ``depth`` or both.
        tell: gets a line about what stays whole, if anything does.

    Raises:
        InputError: Torch-Pruning cannot follow the network, or there is nothing to choose.
    """
    found: list[Choice] = []
    if "width" in kinds:
        for group in groups.find(network, shape, fixed):
            options = counts(group.size, multiple)
            if len(options) > 1:
                found.append(Choice(group.name, "width", options, group))
    if "depth" in kinds:
        found += [Choice(path, "depth", (1, 0)) for path in blocks.find(network, shape, fixed)]
    good = _checked(network, model, shape, found)
    out = [choice.name for choice in found if choice not in good]
    if out:
        tell(f"  not shaped, since they cannot be cut exactly: {', '.join(out)}")
    if not good:
        raise InputError(
            f"{model['spec']}: nothing can be taken out of it: no group has more than {multiple} "
            "channels, the least that the target wants, and there is no residual block; give a "
            "wider student"
        )
    return good


def counts(size: int, multiple: int) -> tuple[int, ...]:
    """Channel counts from ``size`` down, in multiples, at most `MOST_WIDTHS`."""
    least = max(multiple, -(-size // (LEAST * multiple)) * multiple)
    whole = list(range(least, size, multiple))
    step = -(-len(whole) // (MOST_WIDTHS - 1)) if whole else 1
    return (size, *reversed(whole[::step]))


def _checked(
    network: nn.Module, model: Mapping[str, Any], shape: Sequence[int], choices: list[Choice]
) -> list[Choice]:
    """The choices for which a mask and a cut give the same outputs, all of them together, too."""

    def same(some: Sequence[Choice]) -> bool:
        # In the middle too: some layers divide their channels further.
        structures = [
            {choice.name: choice.options[place] for choice in some}
            for place in (-1, 1)
            if place < 0 or any(len(choice.options) > 2 for choice in some)
        ]
        return all(_same(network, model, shape, some, each) for each in structures)

    good: list[Choice] = []
    for kind in ("width", "depth"):  # a block that goes would hide the groups in it
        some = [choice for choice in choices if choice.kind == kind]
        if some and not same(some):
            some = [choice for choice in some if same([choice])]
            while some and not same(some):
                some.pop()  # alone it can be cut, but not beside an earlier one
        good += some
    while good and not same(good):
        good.pop()
    return good


def _same(
    network: nn.Module,
    model: Mapping[str, Any],
    shape: Sequence[int],
    choices: Sequence[Choice],
    structure: Structure,
) -> bool:
    """Whether masks give the outputs of the network that is cut, and rebuilt from its record."""
    state = torch.random.get_rng_state()
    try:
        whole = _generic(copy.deepcopy(network)).eval()
        images = torch.rand(tuple(shape))
        small = cut(whole, choices, structure)
        made = recipe(model, shape, choices, structure)
        rebuilt = models.build(made["spec"], **made["kwargs"]).eval()
        rebuilt.load_state_dict(small.state_dict())
        gates = Gates(whole, choices, 1.0)
        gates.set(structure)
        with torch.no_grad():
            pairs = zip(tensors(whole(images)), tensors(rebuilt(images)), strict=True)
            same = all(_close(masked, plain) for masked, plain in pairs)
        # A network with branches for its training has to be fused later.
        return same and stays(rebuilt, shape) is None
    except Exception:  # torch and Torch-Pruning raise what they like where a shape is impossible
        return False
    finally:
        torch.random.set_rng_state(state)


def _generic(network: nn.Module) -> nn.Module:
    """Draws weights, so that no channel gives nothing."""
    with torch.no_grad():
        torch.manual_seed(0)
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith(("bias", "running_mean")):
                value.normal_(0.0, 0.3)
            elif value.is_floating_point() and value.ndim == 1:
                value.uniform_(0.5, 1.5)  # scales and variances
    return network


def _close(masked: Tensor, plain: Tensor) -> bool:
    if masked.shape != plain.shape:
        return False
    limit = SAME * float(plain.abs().max().clamp_min(1e-6))
    return bool(torch.isfinite(plain).all()) and float((masked - plain).abs().max()) <= limit
