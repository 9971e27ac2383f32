"""Ranges of activations for INT8, where TensorRT still finds them itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.api import Bindings

if TYPE_CHECKING:
    from tvmkd.tensorrt.cuda_runtime import CudaRuntime


def calibrator(
    bindings: Bindings, samples: Mapping[str, np.ndarray], batch: int, cuda: CudaRuntime
) -> Any:
    """An entropy calibrator (``IInt8EntropyCalibrator2``) that feeds whole batches of ``samples``.

    What goes wrong in it is kept in the log's ``stopped``: an exception that reaches TensorRT ends
    the process.

    Args:
        samples: each input's, as many of one as of another, first axis first.
        batch: how many samples TensorRT is given at once.

    Raises:
        InputError: fewer samples than one batch, or a different number for different inputs.
    """
    counts = {name: len(array) for name, array in samples.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"calibration: a different number of samples for each input: {counts}")
    rounds = next(iter(counts.values())) // batch
    if not rounds:
        raise InputError(f"calibration: {counts} samples make no batch of {batch}")
    module: Any = bindings.module
    log = bindings.log

    class Calibrator(module.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IInt8EntropyCalibrator2.__init__(self)
            self._stream = cuda.stream()
            self._places: dict[str, tuple[np.ndarray, int]] = {}
            self._round = 0

        def get_batch_size(self) -> int:
            return batch

        def get_batch(self, names: list[str]) -> list[int] | None:
            try:
                if self._round == rounds or log.stopped is not None:
                    return None
                part = slice(self._round * batch, (self._round + 1) * batch)
                self._round += 1
                return [self._send(name, samples[name][part]) for name in names]
            except BaseException as error:
                log.stopped = error
                return None

        def _send(self, name: str, array: np.ndarray) -> int:
            if name not in self._places:
                self._places[name] = (cuda.pin(array.nbytes), cuda.malloc(array.nbytes))
            pinned, address = self._places[name]
            pinned[:] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
            cuda.to_device(address, pinned, self._stream)
            # Its stream is not TensorRT's, and the pinned memory is filled again next time.
            cuda.synchronize(self._stream)
            return address

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            return None

        def release(self) -> None:
            """Gives its memory back, once the engine is built."""
            for pinned, address in self._places.values():
                cuda.free(address)
                cuda.unpin(pinned)
            self._places.clear()
            cuda.destroy_stream(self._stream)

    return Calibrator()
