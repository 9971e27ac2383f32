"""A classifier with early exits: branches on a base network."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.base.text import suggest


class Branch(nn.Module):
    """An exit: a separable convolution of stride 2, global average pooling, a dense layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps features ``[N, channels, H, W]`` to logits ``[N, classes]``."""
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits


class EarlyExitNet(nn.Module):
    """A network with a branch after some of its modules (BranchyNet, Teerapittayanon et al., 2016).

    The module returns the logits of its last exit, like the base network; afterwards
    ``branch_logits`` returns the logits of the branches for the same images.

    Args:
        base: the base network: a registered name or ``torchvision:NAME``.
        args: arguments of the base network.
        exits: paths of the modules that have a branch, as in ``named_modules()`` of the base, in
            execution order.
        classes: number of classes.
        shape: shape of one input, batch first: ``(1, C, H, W)``.

    Raises:
        InputError: the base is user code, a path has no module, the exits run in another order, or
            the output of one is not a feature map ``[N, C, H, W]``.
    """

    def __init__(
        self,
        base: str,
        args: Mapping[str, Any],
        exits: Sequence[str],
        classes: int,
        shape: Sequence[int],
    ) -> None:
        super().__init__()
        from tvmkd import models

        if not models.is_builtin(base):
            # The base may come from a checkpoint, and a file must not select the code that runs.
            raise InputError(f'early exit: "{base}" is not a model of tvmkd or torchvision')
        self.base = models.build(base, **args)
        self.exits = tuple(exits)
        self.features: list[Tensor] = []
        modules = dict(self.base.named_modules())
        known = [path for path in modules if path]
        for path in self.exits:
            if path not in known:
                hint = suggest(path, known) or f"; there are {', '.join(known[:8])}, ..."
                raise InputError(f'early exit: there is no module "{path}" in {base}{hint}')
            modules[path].register_forward_hook(functools.partial(self._keep, path))
        self._ran: list[str] = []
        self.branches = nn.ModuleList(
            Branch(width, classes) for width in self._widths(base, tuple(shape))
        )

    def _keep(self, path: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._ran.append(path)
        self.features.append(output)

    def _run(self, images: Tensor) -> Tensor:
        self.features, self._ran = [], []
        logits: Tensor = self.base(images)
        return logits

    def _widths(self, base: str, shape: tuple[int, ...]) -> list[int]:
        mode = self.base.training
        with torch.no_grad():
            self.base.eval()
            self._run(torch.zeros(shape))
        self.base.train(mode)
        if tuple(self._ran) != self.exits:
            raise InputError(
                f"early exit: {base} runs these modules in the order {', '.join(self._ran)}; name "
                "each that runs once, in that order"
            )
        for path, found in zip(self.exits, self.features, strict=True):
            if not isinstance(found, Tensor) or found.ndim != 4:
                kind = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise InputError(
                    f'early exit: "{path}" gives {kind}; a branch needs a feature map [N, C, H, W]'
                )
        return [found.shape[1] for found in self.features]

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, C, H, W]`` to the last exit's logits ``[N, classes]``."""
        return self._run(images)

    @property
    def branch_logits(self) -> list[Tensor]:
        """The logits of the branches in the last call: ``[N, classes]`` each."""
        return [branch(found) for branch, found in zip(self.branches, self.features, strict=True)]
