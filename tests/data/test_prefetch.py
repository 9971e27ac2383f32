from __future__ import annotations

import os
import signal
import threading
from contextlib import closing

import pytest
import torch

from tvmkd.data.prefetch import ahead

INPUTS = [torch.tensor([float(number)]) for number in range(20)]


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tvmkd-batch")]


class Noise:
    """A step whose results depend on the order in which it is called."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(5)
        self.seen: list[float] = []

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        self.seen.append(value.item())
        return value + torch.rand(1, generator=self.generator)


@pytest.mark.parametrize("most", [1, 2, 50])
def test_it_yields_what_a_plain_loop_yields(most):
    first, second = Noise(), Noise()
    plain = [second(first(value)) for value in INPUTS]
    assert torch.equal(torch.cat(list(ahead(INPUTS, [Noise(), Noise()], most))), torch.cat(plain))
    assert list(ahead([], [Noise()], most)) == []
    assert not ours()


def test_the_next_ones_are_worked_out_meanwhile_and_no_more_than_asked():
    done = threading.Semaphore(0)
    noise = Noise()

    def step(value: torch.Tensor) -> torch.Tensor:
        found = noise(value)
        done.release()
        return found

    with closing(ahead(INPUTS, [step], most=2)) as coming:
        next(coming)
        for _ in range(3):
            assert done.acquire(timeout=30)
        # Whatever was to come beside these three would have been handed in before the first.
        assert not done.acquire(timeout=0.05)
        assert noise.seen == [0.0, 1.0, 2.0]


class Broken(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1])
def test_an_exception_comes_with_its_own_type_when_it_is_its_turn(at):
    def breaks(value: torch.Tensor) -> torch.Tensor:
        if int(value) == 7:
            raise Broken("at seven")
        return value

    steps = [Noise(), Noise()]
    steps[at] = breaks
    got: list[torch.Tensor] = []
    with pytest.raises(Broken, match="at seven"):
        got.extend(ahead(INPUTS, steps))
    assert len(got) == 7
    assert not ours()


@pytest.mark.parametrize("ends", [None, ValueError, KeyboardInterrupt])
def test_a_loop_that_ends_early_leaves_no_thread(ends):
    noise = Noise()

    def loop() -> None:
        with closing(ahead(INPUTS, [noise, Noise()])) as coming:
            for position, _ in enumerate(coming):
                if position == 3:
                    assert len(ours()) == 2
                    if ends is not None:
                        raise ends
                    return

    if ends is None:
        loop()
        assert not ours()
    else:
        with pytest.raises(ends):
            loop()
        # pytest holds the traceback, and with it the loop's frame: nothing is left to its end.
        assert not ours()
    assert len(noise.seen) <= 6


def test_ctrl_c_while_it_waits():
    """The signal comes in the main thread, which waits for an input that is still worked on."""
    started, received, go_on = threading.Event(), threading.Event(), threading.Event()

    def interrupted(signum: int, frame: object) -> None:
        if not go_on.is_set():
            go_on.set()
            raise KeyboardInterrupt

    def step(value: torch.Tensor) -> torch.Tensor:
        if value.item() == 1:
            started.set()
            assert go_on.wait(30)
        return value

    def strike() -> None:
        # The first value may still be on its way when the second is worked on.
        received.wait(30)
        started.wait(30)
        # Python misses a signal that comes just before the main thread starts to wait.
        while not go_on.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            go_on.wait(0.1)

    before = signal.signal(signal.SIGINT, interrupted)
    striker = threading.Thread(target=strike)
    striker.start()
    got: list[torch.Tensor] = []

    def receive() -> None:
        for value in ahead(INPUTS, [step]):
            got.append(value)
            received.set()

    try:
        with pytest.raises(KeyboardInterrupt):
            receive()
    finally:
        signal.signal(signal.SIGINT, before)
        striker.join()
    assert [found.item() for found in got] == [0.0]
    assert not ours()


def test_its_threads_compute_with_as_many_threads_as_the_caller():
    """A convolution's sums depend on it."""

    def native(value: torch.Tensor) -> torch.Tensor:
        before = len(os.listdir("/proc/self/task"))
        torch.conv2d(value, torch.ones(64, 64, 3, 3))
        return torch.tensor(len(os.listdir("/proc/self/task")) - before)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (more,) = ahead([torch.ones(1, 64, 64, 64)], [native])
    finally:
        torch.set_num_threads(threads)
    assert more.item() == 0
