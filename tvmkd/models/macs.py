"""The size of a model: multiply-accumulates and parameters."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

_ATEN = torch.ops.aten


def macs(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass, counted on the executed operators.

    Includes convolutions, matrix products, recurrent layers and attention, as in the literature:
    of attention all products, also those of a fused operator and a weighted sum that is written
    as a product and a sum. Not additions, activations, normalisation and softmax.

    Args:
        shape: shape of the only input (float32), including the batch.
    """
    # Counted on a copy on the CPU: the model's mode, device and buffers do not change.
    twin = copy.deepcopy(model).to("cpu").eval()
    rest = _Products()
    with _written_out(), FlopCounterMode(display=False) as counter, rest, torch.no_grad():
        twin(torch.zeros(tuple(shape)))
    return int(counter.get_total_flops()) // 2 + rest.count


def parameters(model: nn.Module) -> int:
    """The number of trainable weights."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


@contextlib.contextmanager
def _written_out() -> Iterator[None]:
    """Makes PyTorch run fused layers as plain operators: the counter does not know the fused."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TF32 on GPUs of Intel
            with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what the counter of PyTorch leaves out.

    Products of a matrix or a vector with a vector; and products of elements that a sum follows at
    once, as in the weighted sums of separable or gathered attention.

    Attributes:
        count: multiply-accumulates so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self._product: Tensor | None = None  # of the last operator, if it multiplied

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operator and counts it."""
        del types
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is _ATEN.mv or packet is _ATEN.dot:
            self.count += args[0].numel()
        elif packet is _ATEN.addmv:
            self.count += args[1].numel()
        elif packet is _ATEN.sum and self._product is not None and args[0] is self._product:
            self.count += args[0].numel()
        multiplied = packet is _ATEN.mul and isinstance(args[1], Tensor) and args[1].numel() > 1
        self._product = result if multiplied else None
        return result
