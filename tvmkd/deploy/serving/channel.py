"""One call at a time between the server and an instance: shared memory and two eventfds.

The server writes the inputs and signals one eventfd; the instance computes, writes the outputs and
signals the other. No byte of a tensor goes through a pipe. The order of writes needs no fence of
our own: reading and writing an eventfd takes a lock in the kernel.

To wake a core that sleeps takes up to 85 us in a virtual machine, so both sides may look for a
moment whether the other is done before they sleep. They look at a counter in the shared memory that
is written after the eventfd: whoever sees it finds the eventfd signalled.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import time
from collections.abc import Sequence

from tvmkd.deploy.serving.tensors import MOST_RANK, Layout, places_of

HEAD = 2048
"""Bytes at the start: times, status, the length of the message and the message."""
_TIMES = struct.Struct("=qqqii")
_ASKED, _ANSWERED = 5, 6
"""Places of the counters, in words of 8 bytes."""
_MESSAGE = 64
MOST_MESSAGE = HEAD - _MESSAGE
OK, FAILED = 0, 1


class Channel:
    """Both ends of the channel.

    Args:
        layout: where the tensors are.
        descriptors: the memory, the eventfds for requests and for answers; None: new ones.
    """

    def __init__(self, layout: Layout, descriptors: Sequence[int] | None = None) -> None:
        self.layout = layout
        if descriptors is None:
            memory = os.memfd_create("tvmkd-instance", os.MFD_CLOEXEC)
            os.ftruncate(memory, layout.size)
            flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
            descriptors = (memory, os.eventfd(0, flags), os.eventfd(0, flags))
        self.memory, self.asked, self.answered = descriptors
        self._map = mmap.mmap(self.memory, layout.size)
        self.view = memoryview(self._map)
        self._counters = self.view[:_MESSAGE].cast("q")
        self._number = 0
        self._shapes = None if layout.fixed else _Shapes(layout, self.view)
        if layout.fixed:
            self._output_ends = [
                (place, place + tensor.nbytes)
                for place, tensor in zip(layout.output_offsets, layout.outputs, strict=True)
            ]
            self._output_shapes = [tensor.sizes for tensor in layout.outputs]

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """To hand to the instance's process."""
        return self.memory, self.asked, self.answered

    def close(self) -> None:
        """Releases the memory and the descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        if self._shapes is not None:
            self._shapes.close()
        self._counters.release()
        self.view.release()
        self._map.close()

    # The server's side.

    def ask(self, inputs: Sequence[bytes | memoryview], shapes: Sequence[Sequence[int]]) -> int:
        """Writes the inputs and wakes the instance; returns the time after the copy, ns.

        Args:
            inputs: the bytes of each, as long as the layout or the shapes say.
            shapes: of the inputs.

        Raises:
            RequestFault: inputs with free dimensions do not fit in.
        """
        view = self.view
        places: Sequence[int] = self.layout.input_offsets
        if self._shapes is not None:
            sizes = [len(each) for each in inputs]
            places = places_of(sizes, places[0], self.layout.output_start) if places else ()
            self._shapes.write_inputs(shapes)
        for place, data in zip(places, inputs, strict=True):
            view[place : place + len(data)] = data
        copied = time.monotonic_ns()
        os.eventfd_write(self.asked, 1)
        self._number += 1
        self._counters[_ASKED] = self._number
        return copied

    def answers_within(self, nanoseconds: int) -> bool:
        """Looks for the answer so long, without sleeping. True: it is there."""
        counters, number, clock = self._counters, self._number, time.monotonic_ns
        limit = clock() + nanoseconds
        while counters[_ANSWERED] != number:
            if clock() > limit:
                return False
            os.sched_yield()
        return True

    def answer(self) -> tuple[int, int, int, str | None]:
        """When the run began, when it ended, when the outputs were written (ns); an error."""
        begun, ended, written, status, length = _TIMES.unpack_from(self.view)
        if status == OK:
            return begun, ended, written, None
        length = max(0, min(length, MOST_MESSAGE))
        text = bytes(self.view[_MESSAGE : _MESSAGE + length]).decode("utf-8", "replace")
        return begun, ended, written, text

    def outputs(self) -> tuple[list[bytes], list[tuple[int, ...]]]:
        """Copies of the outputs, and their shapes."""
        layout, view = self.layout, self.view
        if self._shapes is None:
            data = [bytes(view[first:last]) for first, last in self._output_ends]
            return data, self._output_shapes
        shapes = self._shapes.read_outputs()
        sizes = [_nbytes(s, t.itemsize) for s, t in zip(shapes, layout.outputs, strict=True)]
        places = places_of(sizes, layout.output_start, layout.output_end)
        data = [bytes(view[at : at + size]) for at, size in zip(places, sizes, strict=True)]
        return data, shapes

    # The instance's side.

    def wait(self, control: int, spin_ns: int) -> bool:
        """Waits for a request: briefly by polling, then asleep. False: the server has gone.

        Args:
            control: a descriptor that is readable when the server has gone.
            spin_ns: how long to poll.
        """
        counters, number, clock = self._counters, self._number + 1, time.monotonic_ns
        limit = clock() + spin_ns
        while counters[_ASKED] != number and clock() < limit:
            os.sched_yield()  # whoever is to send the request may need this CPU
        while True:
            try:
                os.eventfd_read(self.asked)
                self._number = number
                return True
            except BlockingIOError:
                pass
            ready = select.select([self.asked, control], [], [])[0]
            if control in ready:
                return False

    def input_places(self) -> tuple[Sequence[int], list[tuple[int, ...]]]:
        """Offsets and shapes of the inputs of the current request."""
        layout = self.layout
        if self._shapes is None:
            return layout.input_offsets, [tensor.sizes for tensor in layout.inputs]
        shapes = self._shapes.read_inputs()
        sizes = [_nbytes(s, t.itemsize) for s, t in zip(shapes, layout.inputs, strict=True)]
        start = layout.input_offsets[0] if layout.inputs else 0
        return places_of(sizes, start, layout.output_start), shapes

    def output_places(self, shapes: Sequence[Sequence[int]]) -> Sequence[int]:
        """Offsets for outputs of these shapes.

        Raises:
            RequestFault: they do not fit in.
        """
        layout = self.layout
        if self._shapes is None:
            return layout.output_offsets
        self._shapes.write_outputs(shapes)
        sizes = [_nbytes(s, t.itemsize) for s, t in zip(shapes, layout.outputs, strict=True)]
        return places_of(sizes, layout.output_start, layout.output_end)

    def reply(self, begun: int, ended: int, error: str | None = None) -> None:
        """Tells the server that the outputs, or an error, are there."""
        status, length = OK, 0
        if error is not None:
            text = error.encode("utf-8", "replace")[:MOST_MESSAGE]
            self.view[_MESSAGE : _MESSAGE + len(text)] = text
            status, length = FAILED, len(text)
        _TIMES.pack_into(self.view, 0, begun, ended, time.monotonic_ns(), status, length)
        os.eventfd_write(self.answered, 1)
        self._counters[_ANSWERED] = self._number


class _Shapes:
    """The shapes of models with free dimensions, in the shared memory."""

    def __init__(self, layout: Layout, view: memoryview) -> None:
        count = len(layout.inputs) + len(layout.outputs)
        end = layout.dims_offset + count * 8 * MOST_RANK
        self._dims = view[layout.dims_offset : end].cast("q")
        self._inputs = [len(tensor.shape) for tensor in layout.inputs]
        self._outputs = [len(tensor.shape) for tensor in layout.outputs]

    def close(self) -> None:
        self._dims.release()

    def _write(self, first: int, shapes: Sequence[Sequence[int]]) -> None:
        for number, shape in enumerate(shapes, first):
            for axis, size in enumerate(shape):
                self._dims[number * MOST_RANK + axis] = size

    def _read(self, first: int, ranks: Sequence[int]) -> list[tuple[int, ...]]:
        places = ((first + number) * MOST_RANK for number in range(len(ranks)))
        return [
            tuple(self._dims[place : place + rank])
            for place, rank in zip(places, ranks, strict=True)
        ]

    def write_inputs(self, shapes: Sequence[Sequence[int]]) -> None:
        self._write(0, shapes)

    def read_inputs(self) -> list[tuple[int, ...]]:
        return self._read(0, self._inputs)

    def write_outputs(self, shapes: Sequence[Sequence[int]]) -> None:
        self._write(len(self._inputs), shapes)

    def read_outputs(self) -> list[tuple[int, ...]]:
        return self._read(len(self._inputs), self._outputs)


def _nbytes(shape: Sequence[int], itemsize: int) -> int:
    count = itemsize
    for size in shape:
        count *= size
    return count
