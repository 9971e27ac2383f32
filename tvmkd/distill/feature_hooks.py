"""What a module in the middle of a network gives, reached by its path through a forward hook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.base.text import suggest


class Taps:
    """The latest outputs of some modules of a network.

    Hooks are on the network itself, so that they also work inside DistributedDataParallel.

    Args:
        network: stays as it is but for the hooks.
        paths: as ``network.named_modules()`` has them, for example ``"features.3"``.
        name: of the network, for messages.

    Raises:
        InputError: there is no module at a path (the nearest one is named).
    """

    def __init__(self, network: nn.Module, paths: Iterable[str], name: str) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._name = name
        modules = dict(network.named_modules())
        known = [path for path in modules if path]
        wanted = list(dict.fromkeys(paths))
        for path in wanted:
            if path not in known:
                hint = suggest(path, known) or f"; there are {', '.join(known[:8])}, ..."
                raise InputError(f'{name}: there is no module "{path}" in it{hint}')
        self._hooks = [modules[path].register_forward_hook(self._keep(path)) for path in wanted]

    def _keep(self, path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) and output else output
            if not isinstance(first, Tensor):
                kind = type(output).__name__
                raise InputError(f'{self._name}: module "{path}" gives {kind}, not a tensor')
            self.outputs[path] = first

        return hook

    def close(self) -> None:
        """Takes the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self.outputs.clear()
