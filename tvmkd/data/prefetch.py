"""Work on batches that are not asked for yet, in threads beside the one that asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]


def ahead(
    inputs: Iterable[Tensor], steps: Sequence[Step], most: int = 2
) -> Generator[Tensor, None, None]:
    """Yields each input after all the steps, as a plain loop would, worked out ahead of time.

    Each step has a thread, which takes the inputs one by one and in order: a step may draw from a
    generator that nobody else draws from. Close what this returns (`contextlib.closing`) where the
    loop over it may end early: that ends the threads, each after the input that it is at.

    Args:
        inputs: read in the caller's thread.
        steps: the first one first, at least one. What one raises is raised here, at its input's
            turn.
        most: so many inputs are worked on or wait, beside the one that the caller has.
    """
    with ExitStack() as stack:
        threads: list[ThreadPoolExecutor] = []
        for _ in steps:
            # A convolution that comes first in a thread would use all cores whatever
            # torch.set_num_threads has said: only asking makes a new thread heed it.
            thread = ThreadPoolExecutor(1, "tvmkd-batch", torch.get_num_threads)
            stack.callback(thread.shutdown, cancel_futures=True)
            threads.append(thread)
        coming: deque[Future[Tensor]] = deque()
        for value in inputs:
            found: Future[Tensor] = Future()
            found.set_result(value)
            for step, thread in zip(steps, threads, strict=True):
                found = thread.submit(_after, found, step)
            coming.append(found)
            if len(coming) > most:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _after(before: Future[Tensor], step: Step) -> Tensor:
    return step(before.result())
