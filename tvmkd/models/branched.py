"""Branches for the training of any student, fused into its own convolutions afterwards.

As in MobileOne (Vasu et al., 2023, arXiv:2206.04040), ACNet (Ding et al., 2019, arXiv:1908.03930)
and RepVGG (Ding et al., 2021, arXiv:2101.03697) a convolution becomes a sum of parallel ones. The
sum keeps the student's own normalisation, as in OREPA (Hu et al., 2022, arXiv:2204.00826): its
statistics stay true when the branches are fused, so the student can be trained further.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tvmkd.base.errors import InputError

Kernel = tuple[Tensor, Tensor]
"""Weight ``[out, in / groups, height, width]`` and bias ``[out]``, float64."""


class BranchedConv(nn.Module):
    """Parallel convolutions whose outputs are added, each with a normalisation of its own.

    ``count`` convolutions like the given one; beside one of more than 1×1 also one of 1×1; and the
    input itself, where the shapes agree.

    Args:
        conv: the convolution, the first of them; see `can_branch`.
        norm: the normalisation that follows; it gets the bias when the branches are fused.
        count: number of convolutions like ``conv``, at least 1.
    """

    def __init__(self, conv: nn.Conv2d, norm: _BatchNorm, count: int) -> None:
        super().__init__()
        outputs = conv.out_channels
        self.convs = nn.ModuleList([conv])
        for _ in range(count - 1):
            twin = copy.deepcopy(conv)
            twin.reset_parameters()
            self.convs.append(twin)
        centred = _centred(conv)
        if centred and conv.kernel_size != (1, 1):
            self.convs.append(
                nn.Conv2d(
                    conv.in_channels,
                    outputs,
                    1,
                    (conv.stride[0], conv.stride[1]),
                    groups=conv.groups,
                    bias=False,
                ).to(conv.weight)
            )
        same = centred and conv.in_channels == outputs and conv.stride == (1, 1)
        self.identity = nn.BatchNorm2d(outputs).to(conv.weight) if same else None
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs).to(conv.weight) for _ in self.convs)
        self._after = [norm]  # in a list, because it is a part of another module

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, in, H, W]`` as the convolution does."""
        parts = [norm(conv(x)) for conv, norm in zip(self.convs, self.norms, strict=True)]
        if self.identity is not None:
            parts.append(self.identity(x))
        return torch.stack(parts).sum(0) if len(parts) > 2 else sum(parts[1:], parts[0])

    @torch.no_grad()
    def fused(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """What the sum needs as one convolution, in float64.

        Returns:
            its weight; its bias if the convolution has one; the running mean of the normalisation,
            which gets the bias otherwise: ``norm(y + bias)`` is what the normalisation gives for
            ``y`` with its mean less ``bias``.
        """
        first, mean = self.convs[0], self.norm.running_mean
        assert isinstance(first, nn.Conv2d)
        assert mean is not None
        kernels = [_folded(c, n) for c, n in zip(self.convs, self.norms, strict=True)]
        if self.identity is not None:
            kernels.append(_folded(_identity(first), self.identity))
        total = torch.zeros_like(first.weight, dtype=torch.float64)
        for weight, _ in kernels:
            gaps = [a - b for a, b in zip(total.shape[2:], weight.shape[2:], strict=True)]
            total += nn.functional.pad(
                weight, [side // 2 for gap in gaps[::-1] for side in [gap] * 2]
            )
        bias = torch.stack([one for _, one in kernels]).sum(0)
        if first.bias is not None:
            return total, bias, mean
        return total, None, mean.double() - bias

    @torch.no_grad()
    def merge(self) -> nn.Conv2d:
        """The first convolution, with the weights of the sum; the normalisation is changed too."""
        first, mean = self.convs[0], self.norm.running_mean
        assert isinstance(first, nn.Conv2d)
        assert mean is not None
        weight, bias, centre = self.fused()
        first.weight.copy_(weight)
        mean.copy_(centre)
        if bias is not None and first.bias is not None:
            first.bias.copy_(bias)
        return first

    @property
    def norm(self) -> _BatchNorm:
        """The normalisation that follows."""
        return self._after[0]


def add(network: nn.Module, shape: Sequence[int], count: int, seed: int) -> nn.Module:
    """Gives branches to each convolution of a network that a batch normalisation follows.

    Which does is seen by running the network. Convolutions that run more than once, are frozen or
    are of 1×1 pixel stay as they are.

    Args:
        network: changed in place.
        shape: shape of its input, batch first.
        count: of convolutions in place of one, besides those of 1×1 and the identity.
        seed: of the new weights.

    Returns:
        ``network``.

    Raises:
        InputError: there is none such.
    """
    pairs = _pairs(network, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for path, conv, norm in pairs:
            made = BranchedConv(conv, norm, count)
            if len(made.convs) > 1 or made.identity is not None:
                network.set_submodule(path, made.train(conv.training), strict=True)
    if not present(network):
        raise InputError(
            f"[student] reparam = {count}: {type(network).__name__} has no convolution that a "
            "batch normalisation follows: leave reparam out"
        )
    return network


def present(network: nn.Module) -> bool:
    """Whether a network has branches of `add`."""
    return any(isinstance(module, BranchedConv) for module in network.modules())


def disturbed(network: nn.Module) -> nn.Module:
    """A copy whose branches add constants, so that its outputs tell if fusing changes them.

    A new network's do not: what else reads a convolution's output, or shares its weights, would
    show after the training only.
    """
    made = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in made.modules():
            if isinstance(module, BranchedConv):
                for norm in (*module.norms, *filter(None, [module.identity])):
                    assert isinstance(norm, nn.BatchNorm2d)
                    nn.init.uniform_(norm.bias, -1.0, 1.0)
    return made


def merge(network: nn.Module) -> nn.Module:
    """Fuses all branches of `add` in place: the network is what it was built as, but trained."""
    found = [(path, m) for path, m in network.named_modules() if isinstance(m, BranchedConv)]
    for path, module in found:
        network.set_submodule(path, module.merge().train(module.training), strict=True)
    return network


@torch.no_grad()
def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """The ``state_dict`` of a network without the branches of `add`, which are fused in it.

    The network is not copied: while it is trained it may hold tensors that cannot be.
    """
    state: dict[str, Tensor] = network.state_dict()
    paths = {module: path for path, module in network.named_modules()}
    for module, path in paths.items():
        if not isinstance(module, BranchedConv):
            continue
        own, first = f"{path}.", f"{path}.convs.0."
        state = {
            name.replace(first, own, 1) if name.startswith(first) else name: tensor
            for name, tensor in state.items()
            if name.startswith(first) or not name.startswith(own)
        }
        weight, bias, mean = module.fused()
        fused = {f"{own}weight": weight, f"{own}bias": bias}
        fused[f"{paths[module.norm]}.running_mean"] = mean
        # In the type that they have in the network.
        state |= {n: tensor.to(state[n].dtype) for n, tensor in fused.items() if tensor is not None}
    return state


def _pairs(network: nn.Module, shape: Sequence[int]) -> list[tuple[str, nn.Conv2d, _BatchNorm]]:
    """Convolutions with the normalisation that takes their output, by the convolution's path."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    runs: dict[nn.Module, int] = {}
    found: dict[nn.Conv2d, _BatchNorm] = {}

    def after(module: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] = runs.get(module, 0) + 1
        made[id(output)] = module, output  # kept, so that no other tensor gets its id

    def before(module: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        runs[module] = runs.get(module, 0) + 1
        conv, output = made.get(id(inputs[0]), (None, None))
        if conv is not None and output is not None and output.shape[2:] != (1, 1):
            found[conv] = module

    hooks = []
    for module in network.modules():
        if type(module) is nn.Conv2d and _plain(module):
            hooks.append(module.register_forward_hook(after))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(before))
    mode = network.training
    weight = next(network.parameters())
    with torch.no_grad():
        network.eval()(torch.zeros(tuple(shape), device=weight.device))
    network.train(mode)
    for hook in hooks:
        hook.remove()
    return [
        (path, module, found[module])
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module in found
        if runs[module] == runs[found[module]] == 1
    ]


def _plain(conv: nn.Conv2d) -> bool:
    """Whether it is trained, and nobody listens to it or changes its weight."""
    hooked = conv._forward_hooks or conv._forward_pre_hooks or hasattr(conv, "parametrizations")
    return conv.weight.requires_grad and not hooked


def _centred(conv: nn.Conv2d) -> bool:
    """Whether the middle of the kernel lies on the pixel that a 1×1 convolution would take."""
    sides = zip(conv.kernel_size, conv.padding, conv.dilation, strict=False)
    return (
        not isinstance(conv.padding, str)
        and conv.padding_mode == "zeros"
        and all(k % 2 and pad == step * (k // 2) for k, pad, step in sides)
    )


def _folded(conv: nn.Module, norm: nn.Module) -> Kernel:
    """A convolution and its normalisation, with the statistics that it has, as one."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    return conv.weight.double() * scale[:, None, None, None], shift


def _identity(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution of 1×1 with the groups of another one, that gives its input."""
    made = nn.Conv2d(conv.out_channels, conv.out_channels, 1, groups=conv.groups, bias=False)
    made = made.to(conv.weight)
    nn.init.dirac_(made.weight, conv.groups)
    return made
