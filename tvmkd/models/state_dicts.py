"""Finds a model's weights in what other trainers save, and says why they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Where trainers put a state_dict. As in timm, the averaged weights (EMA) come first: they are the
# ones whose accuracy is reported.
_AVERAGED = "state_dict_ema ema_state_dict model_ema params_ema ema_model ema"
_PLACES = (
    *_AVERAGED.split(),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("net_state_dict", "weights", "params", "parameters", "module", "student", "state"),
    *("checkpoint", "generator"),
)
# What wraps a module and adds a part to each name in it.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_MOST = 3  # so many names are given in messages

State = dict[str, Tensor]


def find(content: Any, depth: int = 5) -> list[State]:
    """What may be the ``state_dict`` in a checkpoint's content, the most probable first.

    It may be the content itself, lie under one of the usual keys or under another, all this nested
    up to ``depth`` times; or its parts lie under keys that begin their names.
    """
    if not isinstance(content, Mapping) or depth == 0:
        return []
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    others = [value for key, value in content.items() if key not in tensors]
    named = tensors and all(isinstance(key, str) for key in tensors)
    # Old trainers leave a counter among the weights.
    if named and all(value is None or isinstance(value, (int, float)) for value in others):
        return [unwrapped(tensors)]
    rest = [key for key in content if "optim" not in str(key).lower() and key not in _PLACES]
    known = [found for key in _PLACES for found in find(content.get(key), depth - 1)]
    unknown = {str(key): found for key in rest if (found := find(content[key], depth - 1))}
    parts = {
        f"{key}.{name}": tensor
        for key, states in unknown.items()
        for name, tensor in states[0].items()
    }
    whole = [parts] if len(unknown) > 1 else []
    return known + [state for states in unknown.values() for state in states] + whole


def unwrapped(state: Mapping[str, Tensor]) -> State:
    """Without the parts of names that DataParallel, torch.compile and FSDP add."""
    names = {name: name for name in state}
    for wrapper in _WRAPPERS:
        names = {name: new.replace(wrapper, "") for name, new in names.items()}
    while names and all(new.startswith("module.") for new in names.values()):
        names = {name: new.removeprefix("module.") for name, new in names.items()}
    return {new: state[name] for name, new in names.items()}


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Name and shape of each weight of a model."""
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def best(found: Sequence[State], wanted: Mapping[str, torch.Size]) -> State:
    """Of several states the one of which most fits, as `aligned`; of equals the first."""
    return max((aligned(state, wanted) for state in found), key=lambda state: _fit(state, wanted))


def aligned(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> State:
    """The weights under the names that a model has for them.

    A trainer may hold the model in an attribute (``model.``, ``net.``), beside its teacher or its
    loss; then the part of the weights that fits best is taken, without that prefix. Or the model
    may have such an attribute and the file not.

    Args:
        state: one of those that `find` gives.
        wanted: name and shape of each weight of the model.
    """
    inner = [
        {
            name.removeprefix(prefix): tensor
            for name, tensor in state.items()
            if name.startswith(prefix)
        }
        for prefix in _prefixes(state, wanted)
    ]
    outer = [
        {prefix + name: tensor for name, tensor in state.items()}
        for prefix in _prefixes(wanted, state)
    ]
    return max([dict(state), *inner, *outer], key=lambda found: _fit(found, wanted))


def _fit(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> int:
    return sum(name in state and state[name].shape == wanted[name] for name in wanted)


def _prefixes(longer: Iterable[str], shorter: Iterable[str]) -> list[str]:
    """What stands before the first names of ``shorter`` in ``longer``, the shortest first."""
    firsts = list(shorter)[:_MOST]
    names = list(longer)
    return sorted(
        {name[: -len(first)] for first in firsts for name in names if name.endswith(f".{first}")},
        key=lambda prefix: (len(prefix), prefix),
    )


def problem(model: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Why a model cannot take weights, in words; None if it can.

    Args:
        model: the model.
        state: as `aligned` gives it.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not (missing or unexpected or shapes):
        return None
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {len(own)} tensors are missing: {_some(missing)}")
    if unexpected:
        parts.append(f"{len(unexpected)} are not its own: {_some(unexpected)}")
    if shapes:
        pairs = [
            f"{name} is {list(state[name].shape)}, not {list(own[name].shape)}" for name in shapes
        ]
        parts.append(f"{len(shapes)} have other shapes (size mismatch): {_some(pairs)}")
    same = len(own) - len(missing) - len(shapes)
    return f"{'; '.join(parts)}; {_reason(own, state, missing, unexpected, shapes, same)}"


def _reason(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Sequence[str],
    same: int,
) -> str:
    known = classes_in(own, state)
    if known is not None and not missing and not unexpected:
        mine, theirs = known
        return (
            f"it has probably another number of classes: {theirs} in the file, {mine} in the "
            f"model; set its num_classes to {theirs}, or give weights of {mine} classes"
        )
    first = next(iter(own))
    if shapes == [first] and own[first].ndim == 4:
        return (
            f"it takes probably another number of channels: {state[first].shape[1]} in the file, "
            f"{own[first].shape[1]} in the model"
        )
    if shapes and not missing and not unexpected:
        return "it has probably other widths or another input size: check the model's args"
    if same * 2 >= len(own):
        return "it is probably a variant of this model: check the model's name and args"
    return "it is probably another architecture: check the model's name"


def classes_in(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """The number of classes of a model and of weights that differ in nothing else.

    Args:
        own: the model's own weights.
        state: weights under the same names.

    Returns:
        Both numbers; None if they are the same, or more than the last layers differ.
    """
    common = [name for name in own if name in state]
    differ = [name for name in common if own[name].shape != state[name].shape]
    if not differ or len(differ) * 2 > len(own):
        return None
    pairs = []
    for name in differ:
        mine, theirs = own[name].shape, state[name].shape
        if len(mine) != len(theirs) or not mine or mine[1:] != theirs[1:]:
            return None
        pairs.append((mine[0], theirs[0]))
    fewest = min(pairs)
    # A detector's boxes are four a class.
    same = all(mine * fewest[1] == theirs * fewest[0] for mine, theirs in pairs)
    return fewest if same else None


def broken(model: nn.Module) -> str | None:
    """The first tensor of a model that holds NaN, or a weight that holds infinity, in words."""
    learnt = {name for name, _ in model.named_parameters()}
    tensors = {
        name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()
    }
    # A mask may be a buffer of minus infinity.
    wrong = [
        (~torch.isfinite(tensor) if name in learnt else torch.isnan(tensor)).any()
        for name, tensor in tensors.items()
    ]
    flags = torch.stack(wrong).tolist() if wrong else []  # waits once for a GPU
    bad = [name for name, flag in zip(tensors, flags, strict=True) if flag]
    if not bad:
        return None
    if len(bad) == 1:
        return f"{bad[0]} holds NaN or infinity"
    return f"{bad[0]} and {len(bad) - 1} more tensors hold NaN or infinity"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
