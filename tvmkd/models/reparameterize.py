"""Fuses the branches that a network has for its training only into the layers that run.

RepVGG (Ding et al., 2021, arXiv:2101.03697), MobileOne (Vasu et al., 2023, arXiv:2206.04040) and
their kin train parallel branches whose sum is one convolution once the statistics of their
normalisations are fixed.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tvmkd.base import console, user_code
from tvmkd.models import branched

METHODS = ("fuse", "reparameterize", "switch_to_deploy")
"""What timm, and the papers' code, call the method of a module that fuses it."""

_FUSED = "fused_by_tvmkd"
_LARGEST_ERROR = {torch.float64: 1e-7, torch.float32: 1e-3}


def fused(network: nn.Module, shape: Sequence[int], name: str = "") -> nn.Module:
    """The network as it runs after its training: with every module fused that can be.

    A module is fused by its own `METHODS`, one of a user's own as well, if that needs no argument.
    The method may change the module in place, or return the one that replaces it. Fusing is done
    in float64, and the outputs of both networks are compared there. If fusing fails, or changes
    the outputs, a warning says so and the network is used as it is.

    Args:
        network: stays as it is.
        shape: shape of its float32 input, batch first.
        name: the network's name in messages.

    Returns:
        a fused copy in the same mode; ``network`` itself if there is nothing to fuse.
    """
    try:
        return _fused(network, shape)
    except _NotFusedError as reason:
        name = name or type(network).__name__
        console.warn(f"{name}: not reparametrised, it runs with its training's branches: {reason}")
        return network


def stays(network: nn.Module, shape: Sequence[int]) -> str | None:
    """Why a network with branches for its training cannot be fused; None if it can, or has none."""
    try:
        _fused(network, shape)
    except _NotFusedError as reason:
        return str(reason)
    return None


class _NotFusedError(Exception):
    """Why a network is not fused."""


def _fused(network: nn.Module, shape: Sequence[int]) -> nn.Module:
    if not branched.present(network) and not any(map(_method, network.modules())):
        return network
    for dtype in _LARGEST_ERROR:
        whole = copy.deepcopy(network).eval().to("cpu", dtype)
        images = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0), dtype=dtype)
        try:
            before = _outputs(whole, images)
            break
        except Exception:  # of any class: a constant of its own may be float32
            continue
    else:
        return network  # it does not run at all: whoever runs it tells why
    try:
        # New layers draw weights, which nobody uses: a training's random state stays.
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _default_dtype(dtype):
            made = _fuse(branched.merge(whole), {})
        after = _outputs(made, images)
    except Exception as error:  # from code of a library or a user, of any class
        raise _NotFusedError(user_code.describe(error, __file__)) from error
    gap = _difference(before, after)
    if not gap <= _LARGEST_ERROR[dtype]:
        raise _NotFusedError(f"it would change the outputs by {gap:.2g} of the largest")
    weight = next(network.parameters(), None)
    if weight is not None:
        made.to(weight.device, weight.dtype)
    _thaw(made, network)
    return made.train(network.training)


def _thaw(made: nn.Module, network: nn.Module) -> None:
    """Makes the weights trainable that a method detached, but not those that were frozen before."""
    before = {name: weight.requires_grad for name, weight in network.named_parameters()}
    trained = any(before.values())
    for name, weight in made.named_parameters():
        weight.requires_grad_(before.get(name, trained))


def _method(module: nn.Module) -> str | None:
    """The name of the method by which a module is fused, if it is not yet."""
    if getattr(module, _FUSED, False):
        return None
    for name in METHODS:
        # A submodule may have such a name; only what the class defines is a method.
        method = getattr(type(module), name, None)
        if inspect.isfunction(method):
            others = list(inspect.signature(method).parameters.values())[1:]
            needed = (one for one in others if one.default is one.empty)
            if all(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in needed):
                return name
    return None


def _fuse(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    """Fuses from the outside in: an outer method knows what its inner modules need."""
    if id(module) in done:
        return done[id(module)]
    name, result = _method(module), module
    # A module that somebody listens to has to stay.
    if name is not None and not any(_hooks(inner) for inner in list(module.modules())[1:]):
        made = getattr(module, name)()
        if made is not None and not isinstance(made, nn.Module):
            raise TypeError(f"{type(module).__name__}.{name}() returns a {type(made).__name__}")
        result = module if made is None else made
        setattr(result, _FUSED, True)  # a method may fail where it was called before
        if result is not module:
            result._forward_hooks.update(module._forward_hooks)
            result._forward_pre_hooks.update(module._forward_pre_hooks)
    done[id(module)] = done[id(result)] = result
    for path, child in list(result.named_children()):
        new = _fuse(child, done)
        if new is not child:
            setattr(result, path, new)
    return result


def _hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        leaves = torch.utils._pytree.tree_leaves(network.eval()(images))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """The largest difference as a share of the largest value, but at least of 1."""
    if len(before) != len(after):
        return float("inf")
    worst = 0.0
    for want, got in zip(before, after, strict=True):
        if want.shape != got.shape:
            return float("inf")
        if want.numel() and want.is_floating_point():
            gap = (want - got).abs().max() / want.abs().max().clamp_min(1.0)
            worst = max(worst, float(gap)) if gap == gap else float("nan")
    return worst


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Modules made in the block are of ``dtype``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
