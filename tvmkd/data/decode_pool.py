"""Decodes many pictures at a time, in processes of their own or in threads."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import queue
import signal
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd.base.errors import InputError
from tvmkd.base.images import UnreadableImage
from tvmkd.data.pictures import Picture

Pixels = NDArray[np.uint8]
Decode = Callable[[Picture], Pixels]

CHUNK = 8  # pictures: what one worker is given at a time, or fewer if they are large
CHUNK_BYTES = 8 << 20
SLOTS = 3  # chunks of memory for each worker: one it fills, one that waits, one that is fetched


@dataclass(frozen=True)
class Pending:
    """Pictures that are being decoded.

    Attributes:
        pixels: uint8 ``[n, C, H, W]``, complete when the parts are done.
        parts: one for each chunk.
    """

    pixels: Pixels
    parts: list[Future[UnreadableImage | None]]


@dataclass(frozen=True)
class _Failure:
    """An `UnreadableImage` on its way between processes: exceptions of its kind do not pickle."""

    path: str
    reason: str

    def error(self) -> UnreadableImage:
        return UnreadableImage(Path(self.path), self.reason)


class DecodePool:
    """Decodes pictures of one size.

    Threads are quick to start, and enough for what is decoded once. Processes do not wait for the
    GIL, which the training loop needs. They are forked when they are first used, write into memory
    that they share with this process (an anonymous mapping: nothing is left behind, and no limit of
    ``/dev/shm`` applies), and end with this process, however it ends.

    Args:
        decode: from a picture to uint8 ``shape``.
        pictures: all that may be asked for.
        shape: of one decoded picture: ``(C, H, W)``.
        workers: how many decode at a time.
        processes: True: processes, where the system can fork. False: threads.
    """

    def __init__(
        self,
        decode: Decode,
        pictures: Sequence[Picture],
        shape: tuple[int, int, int],
        workers: int,
        *,
        processes: bool,
    ) -> None:
        self._decode, self._pictures, self._shape = decode, pictures, shape
        self._workers = workers
        self._chunk = max(1, min(CHUNK, CHUNK_BYTES // int(np.prod(shape))))
        self._forks = processes and "fork" in multiprocessing.get_all_start_methods()
        self._executor: Executor | None = None
        self._memory: Pixels = np.empty((0, self._chunk, *shape), np.uint8)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def start(self, places: Sequence[int]) -> Pending:
        """Has pictures decoded; waits while the workers are far behind.

        Args:
            places: of the pictures in ``pictures``.
        """
        pixels = np.empty((len(places), *self._shape), np.uint8)
        parts: list[Future[UnreadableImage | None]] = []
        try:
            executor = self._running()
            for first in range(0, len(places), self._chunk):
                chunk = list(places[first : first + self._chunk])
                target = pixels[first : first + len(chunk)]
                submit = self._submit_fork if self._forks else self._submit_thread
                parts.append(submit(executor, chunk, target))
        except BrokenProcessPool as error:
            parts.append(Future())
            parts[-1].set_exception(error)
        return Pending(pixels, parts)

    def finish(self, pending: Pending) -> Pixels:
        """The decoded pictures: uint8 ``[n, C, H, W]``.

        Raises:
            UnreadableImage: one is damaged.
            InputError: a process was killed.
        """
        try:
            for part in pending.parts:
                failure = part.result()
                if failure is not None:
                    raise failure
        except BrokenProcessPool:
            self.close()  # the next call starts new processes
            raise InputError(
                f"[data] workers: one of {self._workers} processes that decode images was killed, "
                "perhaps since memory ran out; run the same command again, with fewer workers"
            ) from None
        return pending.pixels

    def close(self) -> None:
        """Ends the workers; a later call starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def _running(self) -> Executor:
        with self._lock:
            if self._executor is None:
                self._executor = self._fork() if self._forks else self._threads()
                weakref.finalize(self, self._executor.shutdown, wait=False, cancel_futures=True)
            return self._executor

    def _threads(self) -> Executor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="tvmkd-decode")

    def _fork(self) -> Executor:
        count = SLOTS * self._workers
        shape = (count, self._chunk, *self._shape)
        shared = mmap.mmap(-1, int(np.prod(shape)))
        self._memory = np.frombuffer(shared, np.uint8).reshape(shape)
        self._free = queue.SimpleQueue()
        for slot in range(count):
            self._free.put(slot)
        facts = (os.getpid(), self._decode, self._pictures, self._memory)
        context = multiprocessing.get_context("fork")
        executor = ProcessPoolExecutor(self._workers, context, _begin, facts)
        # Forks all of them at once. What they inherit is not pickled.
        executor.submit(os.getpid)
        return executor

    def _submit_thread(
        self, executor: Executor, chunk: list[int], target: Pixels
    ) -> Future[UnreadableImage | None]:
        def work() -> UnreadableImage | None:
            return _fill(self._decode, self._pictures, chunk, target)

        return executor.submit(work)

    def _submit_fork(
        self, executor: Executor, chunk: list[int], target: Pixels
    ) -> Future[UnreadableImage | None]:
        memory, free = self._memory, self._free
        slot = free.get()
        done: Future[UnreadableImage | None] = Future()

        def fetch(found: Future[_Failure | None]) -> None:
            try:
                failure = found.result()
                target[:] = memory[slot, : len(target)]
                done.set_result(None if failure is None else failure.error())
            except BaseException as error:  # whatever a worker may raise
                done.set_exception(error)
            finally:
                free.put(slot)

        try:
            executor.submit(_work, slot, chunk).add_done_callback(fetch)
        except BaseException:
            free.put(slot)
            raise
        return done


def _fill(
    decode: Decode, pictures: Sequence[Picture], chunk: Sequence[int], target: Pixels
) -> UnreadableImage | None:
    """Decodes pictures into ``target``; returns the error of the first that is damaged."""
    for place, index in enumerate(chunk):
        try:
            target[place] = decode(pictures[index])
        except UnreadableImage as error:
            return error
    return None


# In a worker process.

_inherited: dict[str, Any] = {}


def _begin(parent: int, decode: Decode, pictures: Sequence[Picture], memory: Pixels) -> None:
    # Ctrl-C reaches the whole group of processes: the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _inherited.update(decode=decode, pictures=pictures, memory=memory)


def _end_with(parent: int) -> None:
    # PR_SET_PDEATHSIG would also strike when the thread that forked ends.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(slot: int, chunk: list[int]) -> _Failure | None:
    target = _inherited["memory"][slot, : len(chunk)]
    error = _fill(_inherited["decode"], _inherited["pictures"], chunk, target)
    return None if error is None else _Failure(str(error.path), error.reason)
