"""PyTorch in eager mode on the CPU, from a checkpoint of `tvmkd distill`.

This engine needs a checkpoint, not only an ONNX file: a module made from the graph would not be the
code that the model's author runs.

Options: ``model`` (a name that `tvmkd.models.build` accepts) and ``kwargs``, required if the file
contains only weights or the model is user code; ``search_in``, folders to search for that code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tvmkd.base.errors import InputError, MissingError
from tvmkd.bench.engines.base import Device, Engine, Inputs

if TYPE_CHECKING:
    import torch


class TorchEngine(Engine):
    """``module(*tensors)`` under ``torch.inference_mode``."""

    file = "checkpoint"
    device: ClassVar[Device | None] = "CPU"
    module: Callable[..., Any]

    def prepare(self, example: Inputs) -> None:
        """Builds the module and loads its weights."""
        self.module = self.ready(self.load())
        self.infer(example)

    def ready(self, module: torch.nn.Module) -> Any:
        """What is called of a loaded module."""
        return module

    def load(self) -> torch.nn.Module:
        """The checkpoint's module in evaluation mode.

        Raises:
            MissingError: torch is not installed, or no checkpoint was given.
            InputError: the file is not a checkpoint, or does not name its module.
        """
        if self.spec.path is None:
            raise MissingError(
                "PyTorch needs the module and its weights, which an ONNX file does not hold: "
                "give the checkpoint (--checkpoint CKPT)"
            )
        path = self.path()
        try:
            import torch
        except ImportError:
            raise MissingError("torch is not installed: pip install torch") from None
        torch.set_num_threads(self.threads)
        from tvmkd import models
        from tvmkd.models import checkpoint as files
        from tvmkd.models.reparameterize import fused
        from tvmkd.models.restore import restore

        spec, kwargs = self.spec.options.get("model"), self.spec.options.get("kwargs")
        content = files.read(path)
        shape = ""
        if isinstance(content, dict) and content.get("format") == files.FORMAT:
            saved = files.load(path)
            shape = saved.meta.get("input_shape", "")
            named = str(saved.model["spec"])
            if spec is None and not models.is_builtin(named):
                raise InputError(
                    f'{path}: was made by "{named}", and running it runs that code: '
                    f"if you trust it, name it (--model {named})"
                )
            spec, kwargs = spec or named, saved.model["kwargs"] if kwargs is None else kwargs
        elif spec is None:
            raise InputError(f"{path}: holds weights only; name their model (--model NAME)")
        # The weights are in the file, so nothing needs to be downloaded.
        kept = {key: value for key, value in (kwargs or {}).items() if key != "weights"}
        folders = [Path(folder) for folder in self.spec.options.get("search_in", ())]
        network = restore(path, spec, kept, folders).eval()
        # A fair peer runs what the ONNX file holds, not the branches of the training.
        sides = [int(side) for side in shape.split(",") if side]
        return fused(network, sides, spec) if sides else network

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function that runs the module on the arrays (no copy) and returns arrays."""
        import torch

        arrays = tuple(inputs.values())
        module, from_numpy, inference_mode = self.module, torch.from_numpy, torch.inference_mode

        def call() -> Any:
            with inference_mode():
                result = module(*[from_numpy(array) for array in arrays])
            return to_numpy(result)

        return call

    def facts(self) -> dict[str, Any]:
        """Version and threads."""
        import torch

        return {"version": str(torch.__version__), "intra_op_threads": torch.get_num_threads()}


def to_numpy(result: Any) -> Any:
    """Converts a module's output tensors to arrays, in the same container."""
    if hasattr(result, "numpy"):
        array: np.ndarray = result.numpy()
        return array
    if isinstance(result, dict):
        return {key: to_numpy(value) for key, value in result.items()}
    return [to_numpy(value) for value in result]
