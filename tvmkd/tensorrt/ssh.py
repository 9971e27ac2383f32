"""Runs TensorRT on a board over ssh: sends the script `on_board` and calls it."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import ssh, wire
from tvmkd.base.errors import MissingError, WorkerDied
from tvmkd.tensorrt import on_board
from tvmkd.tensorrt.context import Tensor
from tvmkd.tensorrt.runner import Layer, Timing, fit

HELLO_SECONDS = 60.0
BUILD_SECONDS = 3600.0
RUN_SECONDS = 120.0


class RemoteEngine:
    """An engine on a board. Use as a context manager.

    Args:
        destination: ``USER@HOST``; keys and ports come from the user's SSH configuration.

    Attributes:
        facts: ``version`` of TensorRT, ``gpu``, ``compute_capability``, ``cuda`` and ``board``
            (with the names of `tvmkd.boards.facts`).

    Raises:
        MissingError: ssh is not installed or cannot connect, or the board has no Python, TensorRT,
            pycuda or GPU; says how to get it.
    """

    def __init__(self, destination: str) -> None:
        script = Path(on_board.__file__).read_text(encoding="utf-8")
        # The script is an argument, because stdin is for the requests.
        python = f"exec python3 -u -c {shlex.quote(script)}"
        self._child = wire.Child(ssh.command(destination, python))
        self._inputs: dict[str, Tensor] = {}
        try:
            self.facts: dict[str, Any] = self._child.call("hello", timeout=HELLO_SECONDS)
        except WorkerDied:
            said = self._child.log().strip().splitlines() or ["it ended"]
            self.close()
            raise MissingError(f"ssh {destination}: {said[-1].strip()}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process on the board."""
        self._child.close()

    def prepare(
        self,
        onnx: bytes,
        precision: str = "fp32",
        *,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        workspace_mib: int | None = None,
        rebuild: bool = False,
    ) -> dict[str, Any]:
        """Builds the engine on the board, or loads it from the board's cache.

        Args:
            onnx: the serialised model with its weights.
            precision: "fp32", "tf32", "fp16" or "int8" (for a model with QuantizeLinear).
            shapes: shapes of the inputs that have free sizes.
            workspace_mib: limit of a layer's temporary memory in MiB; None: TensorRT's default.
            rebuild: build even if the engine is in the cache.

        Returns:
            ``seconds`` (build or load), ``cached``, ``size_bytes``, ``layers``.

        Raises:
            InputError: TensorRT cannot parse the model, or cannot build an engine.
        """
        params = {
            "onnx": base64.b64encode(onnx).decode(),
            "precision": precision,
            "shapes": {name: list(shape) for name, shape in (shapes or {}).items()},
            "workspace_mib": workspace_mib,
            "rebuild": rebuild,
        }
        done: dict[str, Any] = self._child.call("prepare", params, timeout=BUILD_SECONDS)
        inputs = done.pop("inputs")
        self._inputs = {
            name: Tensor(name, np.dtype(dtype), (), True) for name, dtype in inputs.items()
        }
        return done

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once and returns the outputs by name, in the engine's order.

        Raises:
            InputError: a name, a dtype or a shape is not the engine's.
        """
        fitting = {
            name: fit(array, self._inputs[name]) if name in self._inputs else array
            for name, array in inputs.items()
        }
        params = {"inputs": {name: _packed(array) for name, array in fitting.items()}}
        outputs = self._child.call("run", params, timeout=RUN_SECONDS)
        return {output["name"]: _unpacked(output) for output in outputs}

    def time(self, count: int, limit_s: float) -> tuple[list[Timing], dict[str, Any]]:
        """Times runs on the inputs of the last `run`; returns them with the board's telemetry."""
        params = {"count": count, "limit_s": limit_s}
        done = self._child.call("time", params, timeout=limit_s * 3 + RUN_SECONDS)
        return [Timing(*run) for run in done["runs"]], done["telemetry"]

    def profile(self, count: int = 20) -> list[Layer]:
        """Each layer's median time on the inputs of the last `run`, in ``count`` separate runs."""
        found = self._child.call("profile", {"count": count}, timeout=RUN_SECONDS)
        return [Layer(name, ms) for name, ms in found]


def _packed(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "data": data}


def _unpacked(output: Mapping[str, Any]) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(output["data"]), np.dtype(output["dtype"]))
    return flat.reshape(output["shape"]).copy()
