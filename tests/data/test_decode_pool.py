from __future__ import annotations

import ast
import gc
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from tvmkd.base.errors import InputError
from tvmkd.base.images import UnreadableImage
from tvmkd.data.decode_pool import CHUNK, CHUNK_BYTES, DecodePool
from tvmkd.data.prefetch import ahead

SHAPE = (1, 2, 2)
COUNT = 60
PICTURES = [Path(f"{number}.png") for number in range(COUNT)]


def decode(picture) -> np.ndarray:
    number = int(picture.stem)
    if number == 50:
        raise UnreadableImage(picture, "damaged")
    return np.full(SHAPE, number, np.uint8)


def pid_of(picture) -> np.ndarray:
    """The bytes of the id of the process that decodes."""
    return np.frombuffer(os.getpid().to_bytes(4, "big"), np.uint8).reshape(SHAPE)


def killed(picture) -> np.ndarray:
    if picture.stem == "20":
        os.kill(os.getpid(), signal.SIGKILL)
    return np.zeros(SHAPE, np.uint8)


def pids(pool: DecodePool, count: int = 8 * CHUNK) -> set[int]:
    found = pool.finish(pool.start([0] * count)).reshape(count, 4)
    return {int.from_bytes(bytes(row), "big") for row in found}


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("processes", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_pictures_come_in_order_whoever_decodes_them(workers: int, processes: bool) -> None:
    pool = DecodePool(decode, PICTURES, SHAPE, workers, processes=processes)
    order = [torch.randperm(50).tolist(), [7], [], [3, 3, 1]]
    with closing(ahead(order, [pool.start, pool.finish])) as coming:
        for wanted, found in zip(order, coming, strict=True):
            assert found.shape == (len(wanted), *SHAPE)
            assert found[:, 0, 1, 1].tolist() == wanted
    pool.close()


@pytest.mark.parametrize("processes", [True, False])
def test_a_damaged_picture_is_named_and_the_others_can_still_be_read(processes: bool) -> None:
    pool = DecodePool(decode, PICTURES, SHAPE, 2, processes=processes)
    with pytest.raises(UnreadableImage, match=r"50\.png.*damaged") as caught:
        pool.finish(pool.start(range(COUNT)))
    assert (caught.value.path, caught.value.reason) == (Path("50.png"), "damaged")
    assert pool.finish(pool.start([4]))[0, 0, 0, 0] == 4
    pool.close()


def test_processes_are_others_and_end_with_their_pool() -> None:
    pool = DecodePool(pid_of, PICTURES, SHAPE, 2, processes=True)
    found = pids(pool)
    assert os.getpid() not in found
    assert pids(pool) <= found or len(found) == 1  # no new ones for each batch
    del pool
    gc.collect()
    assert until(lambda: all(map(gone, found)))


def test_threads_are_in_this_process() -> None:
    pool = DecodePool(pid_of, PICTURES, SHAPE, 2, processes=False)
    assert pids(pool) == {os.getpid()}
    pool.close()


def test_a_worker_that_is_killed_is_told_at_once_and_replaced() -> None:
    pool = DecodePool(killed, PICTURES, SHAPE, 2, processes=True)

    def loop() -> None:
        order = [list(range(first, first + 10)) for first in range(0, COUNT, 10)]
        with closing(ahead(order, [pool.start, pool.finish])) as coming:
            list(coming)

    with pytest.raises(InputError, match=r"\[data\] workers: one of 2 processes .* was killed"):
        loop()
    assert len(pool.finish(pool.start([1, 2]))) == 2
    pool.close()


def test_more_batches_than_there_is_memory_for_wait() -> None:
    pool = DecodePool(decode, PICTURES, SHAPE, 1, processes=True)
    pending = [pool.start(list(range(48))) for _ in range(4)]
    for each in reversed(pending):
        assert pool.finish(each)[:, 0, 0, 0].tolist() == list(range(48))
    pool.close()


def test_large_pictures_are_given_out_one_by_one() -> None:
    side = int((CHUNK_BYTES / 2) ** 0.5)
    pool = DecodePool(decode, PICTURES, (1, side, side), 1, processes=False)
    assert [len(part) for part in (pool.start([1, 2, 3]).parts,)] == [2]
    pool.close()


def child(pipe: int) -> None:
    """A session of its own that decodes, tells its workers' ids and waits."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = DecodePool(pid_of, PICTURES, SHAPE, 2, processes=True)
    try:
        # In here: the parent interrupts as soon as it has read this.
        os.write(pipe, f"{pids(pool, 400)}\n".encode())
        time.sleep(60)
    except KeyboardInterrupt:
        os.write(pipe, b"interrupted")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(
    sent: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(writes)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as said:
        workers = ast.literal_eval(said.readline())
        # As a terminal does: to the whole group.
        (os.killpg if sent == signal.SIGINT else os.kill)(pid, sent)
        os.waitpid(pid, 0)
        assert workers
        assert until(lambda: all(map(gone, workers)))
        assert said.read() == ("interrupted" if sent == signal.SIGINT else "")
    assert capfd.readouterr().err == ""
