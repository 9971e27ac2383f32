"""Prepares batches ahead of time, in background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import torch

Step = Callable[[Any], Any]


def ahead(
    inputs: Iterable[Any], steps: Sequence[Step], most: int = 2
) -> Generator[Any, None, None]:
    """Yields the result of all steps for each input, in order, computed ahead of time.

    Each step has one thread, which processes the inputs in order, so a step may use a random
    generator that no other code uses. If the loop over the result may end early, close it
    (`contextlib.closing`): this ends each thread after its current input.

    Args:
        inputs: the inputs, read in the caller's thread.
        steps: at least one function, in order. An exception of a step is raised here, when its
            input's result is due.
        most: number of inputs that are processed or waiting, in addition to the caller's current
            one.
    """
    with ExitStack() as stack:
        threads: list[ThreadPoolExecutor] = []
        for _ in steps:
            # In a new thread torch ignores torch.set_num_threads and uses all cores, until
            # torch.get_num_threads is called in that thread.
            thread = ThreadPoolExecutor(1, "tvmkd-batch", torch.get_num_threads)
            stack.callback(thread.shutdown, cancel_futures=True)
            threads.append(thread)
        coming: deque[Future[Any]] = deque()
        for value in inputs:
            found: Future[Any] = Future()
            found.set_result(value)
            for step, thread in zip(steps, threads, strict=True):
                found = thread.submit(_after, found, step)
            coming.append(found)
            if len(coming) > most:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _after(before: Future[Any], step: Step) -> Any:
    return step(before.result())
