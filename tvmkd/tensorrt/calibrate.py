"""INT8 calibration by TensorRT, in the generations that have calibrators."""

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

    An exception in it is stored in the log's ``stopped``, because one that reaches TensorRT's C++
    ends the process.

    Args:
        bindings: the TensorRT package.
        samples: for each input ``[N, ...]``, with the same N.
        batch: number of samples in a batch.
        cuda: the GPU.

    Raises:
        InputError: there are fewer samples than one batch, or inputs differ in their number.
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
            # TensorRT uses another stream, and the next batch overwrites the pinned memory.
            cuda.synchronize(self._stream)
            return address

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            return None

        def release(self) -> None:
            """Frees the memory; call it after the build."""
            for pinned, address in self._places.values():
                cuda.free(address)
                cuda.unpin(pinned)
            self._places.clear()
            cuda.destroy_stream(self._stream)

    return Calibrator()
