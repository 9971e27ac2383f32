"""The process of one instance: loads an artifact and runs it on shared memory.

Started by `tvmkd.deploy.serving.worker`; ends when the server ends, for whatever reason. Not an
instance of the server's own process, because artifacts are not thread-safe and may crash.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tvmkd.base.errors import TvmkdError
from tvmkd.base.manifest import Manifest
from tvmkd.base.prctl import die_with_parent
from tvmkd.base.text import reason
from tvmkd.deploy.serving.channel import HEAD, Channel
from tvmkd.deploy.serving.faults import RequestFault
from tvmkd.deploy.serving.tensors import Layout, Tensor, tensors

WARM_RUNS = 3


def main(text: str) -> int:
    """Serves until the server has gone.

    Args:
        text: JSON: the descriptors ``channel`` and ``control``, ``folder``, ``manifest`` (as the
            server has read it), ``most`` (bytes for tensors with free dimensions), ``cpus``,
            ``spin_us``.
    """
    given = json.loads(text)
    die_with_parent()
    # Ctrl-C, a stop by a service manager and a closed terminal may reach the whole group of
    # processes; the server ends its instances when they are done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=given["control"])
    try:
        if given["cpus"]:
            os.sched_setaffinity(0, given["cpus"])
        program = Program(given)
        program.warm()
    except (TvmkdError, OSError, RequestFault) as error:
        _tell(control, {"error": reason(error)})
        return 1
    except Exception as error:  # a library may raise what it likes
        _tell(control, {"error": f"{type(error).__name__}: {reason(error)}"})
        return 1
    _tell(control, {"ready": True, "run_ns": program.run_ns})
    program.serve(control.fileno(), given["spin_us"] * 1000)
    return 0


class Program:
    """An artifact over a channel.

    Args:
        given: as of `main`.

    Raises:
        TvmkdError: the artifact cannot be loaded, or was replaced meanwhile.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        import numpy as np

        from tvmkd.artifact import load

        folder = Path(given["folder"])
        expected = Manifest.model_validate(given["manifest"])
        self._artifact = load(folder)
        if self._artifact.manifest != expected:
            raise TvmkdError(f"{folder}: was replaced while it was loaded; load it again")
        where = str(folder)
        inputs, outputs = tensors(expected.inputs, where), tensors(expected.outputs, where)
        layout = Layout.of(inputs, outputs, HEAD, given["most"])
        self._channel = Channel(layout, given["channel"])
        self._np = np
        self._dtypes = [_dtype(tensor) for tensor in inputs]
        self._outputs = outputs
        self._fixed_inputs = self._inputs() if layout.fixed else None
        self._fixed_outputs: list[Any] | None = None
        if layout.fixed:
            self._fixed_outputs = [
                self._array(place, tensor.sizes, _dtype(tensor))
                for place, tensor in zip(layout.output_offsets, outputs, strict=True)
            ]
        self.run_ns = 0

    def _array(self, place: int, shape: tuple[int, ...], dtype: Any) -> Any:
        count = 1
        for size in shape:
            count *= size
        view = self._channel.view
        return self._np.frombuffer(view, dtype, count, place).reshape(shape)

    def _inputs(self) -> list[Any]:
        places, shapes = self._channel.input_places()
        return [
            self._array(place, shape, dtype)
            for place, shape, dtype in zip(places, shapes, self._dtypes, strict=True)
        ]

    def warm(self) -> None:
        """Runs the model a few times, so that the first request is no slower than the others.

        A model with free dimensions is not run: which sizes fit is not known.
        """
        if self._fixed_inputs is None:
            return
        for _ in range(WARM_RUNS):
            begun = time.monotonic_ns()
            self._run()
            self.run_ns = time.monotonic_ns() - begun

    def serve(self, control: int, spin_ns: int) -> None:
        """Answers requests until the server has gone."""
        channel = self._channel
        answered, gap = time.monotonic_ns(), 2 * spin_ns
        # It looks for the next request only while requests come soon: not at 30 a second.
        while channel.wait(control, spin_ns if gap < 2 * spin_ns else 0):
            begun, error = time.monotonic_ns(), None
            gap = begun - answered
            ended = begun
            try:
                ended = self._run()
            except RequestFault as fault:
                error = fault.message
            except Exception as fault:  # whatever TVM raises costs this request only
                error = f"the model failed: {reason(fault)}"
            channel.reply(begun, ended, error)
            answered = time.monotonic_ns()

    def _run(self) -> int:
        """Computes and writes the outputs; returns when the run ended, ns."""
        inputs = self._fixed_inputs if self._fixed_inputs is not None else self._inputs()
        results = self._artifact.run(inputs)
        ended = time.monotonic_ns()
        if self._fixed_outputs is not None:
            for place, result in zip(self._fixed_outputs, results, strict=True):
                place[...] = result
            return ended
        places = self._channel.output_places([result.shape for result in results])
        for at, result, tensor in zip(places, results, self._outputs, strict=True):
            self._array(at, result.shape, _dtype(tensor))[...] = result
        return ended


def _dtype(tensor: Tensor) -> Any:
    import numpy as np

    if tensor.dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(tensor.dtype)


def _tell(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the server has gone
        control.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
