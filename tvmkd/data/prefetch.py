"""Prepares batches ahead of time, in threads beside the one that uses them."""

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
    """Yields each input after all the steps, as a plain loop would, computed ahead of time.

    Each step has a thread, which processes the inputs one by one and in order: a step may draw from
    a generator that nothing else draws from. Close the result (`contextlib.closing`) where the loop
    over it may end early: that ends the threads, each after its present input.

    Args:
        inputs: read in the caller's thread.
        steps: the first one first, at least one. An exception of a step is raised here, in its
            input's place.
        most: number of inputs that are processed or wait, besides the one that the caller has.
    """
    with ExitStack() as stack:
        threads: list[ThreadPoolExecutor] = []
        for _ in steps:
            # A convolution that comes first in a thread would use all cores whatever
            # torch.set_num_threads has said: only asking makes a new thread heed it.
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
