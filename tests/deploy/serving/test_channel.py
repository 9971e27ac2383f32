"""Both ends of a channel: in this process, in a thread, and in a forked child that dies."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from fake_models import fault_of, layout, spec

from tvmkd.deploy.serving.channel import MOST_MESSAGE, Channel
from tvmkd.deploy.serving.tensors import Layout

FIXED = layout([spec("x"), spec("y", (2,), "int64")], [spec("a"), spec("b", (3,), "uint8")])
FREE = layout([spec("x", ("n", 4)), spec("y", ("n",), "int64")], [spec("a", ("n", 4)), spec("b")])
SECONDS = 20_000_000_000


@contextmanager
def ends(places: Layout) -> Iterator[tuple[Channel, Channel]]:
    """The server's end and the instance's."""
    server = Channel(places)
    instance = Channel(places, [os.dup(each) for each in server.descriptors])
    try:
        yield server, instance
    finally:
        instance.close()
        server.close()


@contextmanager
def control() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_call_from_end_to_end() -> None:
    x, y = bytes(range(16)), np.array([5, -6]).tobytes()
    with ends(FIXED) as (server, instance), control() as (_, theirs):
        for turn in range(3):
            given = [bytes(each ^ turn for each in x), y]
            assert server.ask(given, [(1, 4), (2,)]) > 0
            assert instance.wait(theirs.fileno(), 0)
            places, shapes = instance.input_places()
            assert shapes == [(1, 4), (2,)]
            found = [bytes(instance.view[at : at + 16]) for at in places]
            assert found == given
            one, two = instance.output_places([(1, 4), (3,)])
            instance.view[one : one + 16] = found[0][::-1]
            instance.view[two : two + 3] = bytes([turn, 8, 9])
            assert not server.answers_within(0), "not before the reply"
            instance.reply(100, 250)
            assert server.answers_within(0)
            assert os.eventfd_read(server.answered) == 1
            begun, ended, written, error = server.answer()
            assert (begun, ended, error) == (100, 250, None)
            assert written > 0
            outputs, sizes = server.outputs()
            assert outputs == [found[0][::-1], bytes([turn, 8, 9])]
            assert list(sizes) == [(1, 4), (3,)]


def test_outputs_are_copies() -> None:
    with ends(FIXED) as (server, instance):
        outputs, _ = server.outputs()
        (place, _) = instance.output_places([(1, 4), (3,)])
        instance.view[place : place + 16] = b"\xff" * 16
        assert outputs[0] == bytes(16)


def test_free_dimensions_change_with_each_call() -> None:
    rng = np.random.default_rng(0)
    with ends(FREE) as (server, instance), control() as (_, theirs):
        for rows in (1, 50, 0, 3):
            x = rng.standard_normal((rows, 4)).astype(np.float32)
            y = rng.integers(0, 9, rows)
            server.ask([x.tobytes(), memoryview(y.tobytes())], [x.shape, y.shape])
            assert instance.wait(theirs.fileno(), 0)
            places, shapes = instance.input_places()
            assert shapes == [(rows, 4), (rows,)]
            found = np.frombuffer(instance.view, np.int64, rows, places[1])
            np.testing.assert_array_equal(found, y)
            first = np.frombuffer(instance.view, np.float32, 4 * rows, places[0])
            doubled = (2 * first).tobytes()
            del found, first
            one, two = instance.output_places([(rows, 4), (1, 4)])
            instance.view[one : one + len(doubled)] = doubled
            instance.view[two : two + 16] = bytes(range(16))
            instance.reply(1, 2)
            outputs, sizes = server.outputs()
            assert sizes == [(rows, 4), (1, 4)]
            np.testing.assert_array_equal(
                np.frombuffer(outputs[0], np.float32).reshape(rows, 4), 2 * x
            )
            assert outputs[1] == bytes(range(16))


def test_tensors_that_do_not_fit_are_refused_and_the_channel_stays_usable() -> None:
    with ends(FREE) as (server, instance):
        large = fault_of(server.ask, [bytes(8000), b""], [(500, 4), (0,)])
        assert large.status == 413
        assert fault_of(instance.output_places, [(500, 4), (1, 4)]).status == 413
        with pytest.raises(BlockingIOError):
            os.eventfd_read(instance.asked)  # nobody was woken
        server.ask([bytes(16), bytes(8)], [(1, 4), (1,)])
        assert os.eventfd_read(instance.asked) == 1


@pytest.mark.parametrize("text", ["the model failed: é", "x" * 5000, "é" * 5000, ""])
def test_an_error_arrives_as_far_as_there_is_room(text: str) -> None:
    with ends(FIXED) as (server, instance):
        before = bytes(instance.view[FIXED.dims_offset :])
        instance.reply(3, 4, text)
        begun, ended, _, error = server.answer()
        assert (begun, ended) == (3, 4)
        assert error is not None
        whole = text.encode()[:MOST_MESSAGE].decode("utf-8", "replace")
        assert error == whole
        assert bytes(instance.view[FIXED.dims_offset :]) == before, "no tensor is overwritten"
        instance.reply(5, 6)
        assert server.answer()[3] is None, "an error does not stay"


@pytest.mark.parametrize("spin_ns", [0, 1_000_000])
def test_the_instance_ends_when_the_server_has_gone(spin_ns: int) -> None:
    with ends(FIXED) as (_, instance), control() as (ours, theirs):
        ours.close()
        assert not instance.wait(theirs.fileno(), spin_ns)


@pytest.mark.parametrize("spin_ns", [0, 100_000])
def test_an_instance_in_a_thread_answers_every_call_in_turn(spin_ns: int) -> None:
    with ends(FIXED) as (server, instance), control() as (ours, theirs):

        def serve() -> None:
            while instance.wait(theirs.fileno(), spin_ns):
                source, _ = instance.input_places()
                place, _ = instance.output_places([(1, 4), (3,)])
                data = bytes(instance.view[source[0] : source[0] + 16])
                instance.view[place : place + 16] = data
                instance.reply(1, 2)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            for number in range(200):
                data = number.to_bytes(2, "little") * 8
                server.ask([data, bytes(16)], [(1, 4), (2,)])
                assert server.answers_within(SECONDS)
                assert os.eventfd_read(server.answered) == 1, "seen by polling, so signalled"
                assert server.outputs()[0][0] == data
        finally:
            ours.close()
            thread.join(20)
        assert not thread.is_alive()


def test_what_a_child_wrote_before_it_died_can_be_read() -> None:
    with ends(FIXED) as (server, instance), control() as (_, theirs):
        server.ask([b"abcd" * 4, bytes(16)], [(1, 4), (2,)])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if instance.wait(theirs.fileno(), 0):
                    place, _ = instance.output_places([(1, 4), (3,)])
                    instance.view[place : place + 16] = b"wxyz" * 4
                    instance.reply(7, 8)
                    code = 0
            finally:
                os._exit(code)  # whatever happens, pytest goes on in one process
        assert os.waitpid(child, 0)[1] == 0
        assert server.answers_within(0)
        assert server.answer()[:2] == (7, 8)
        assert server.outputs()[0][0] == b"wxyz" * 4


def test_close_gives_every_descriptor_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for places in (FIXED, FREE):
        with ends(places) as (server, instance):
            assert len(set(server.descriptors + instance.descriptors)) == 6
    assert len(os.listdir("/proc/self/fd")) == before
