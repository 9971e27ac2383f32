"""A head and what it remembers as a file: ``head.bin`` as it is shipped, and the state of a board.

Numbers are little-endian. The header is `HEADER`; then follow, each filled up with zeros to a
multiple of 8 bytes: weights float32 ``[limit, features]``, bias float32 ``[limit]``; of the replay
memory seen uint32 ``[limit]``, labels uint16 ``[room]``, features float16 ``[room, features]``; the
same of the shipped held-back examples and of the learned ones; at the end the SHA-256 of all that.
"""

import hashlib
import os
import struct
from typing import Any, List, Tuple

import numpy as np

from .examples import Examples

HEAD_MAGIC = b"TVMKDHD1"
HEADER = struct.Struct("<8s10I5Q32s32s")
"""Magic; features, classes, limit, shipped classes; room and count of the replay memory, of the
shipped held-back and of the learned held-back examples; state of the draws, examples added, updates
accepted, updates rejected, rollbacks; SHA-256 of the library's ONNX file; of a board's state the
SHA-256 at the end of the shipped file that it began with, otherwise zeros."""
DIGEST_BYTES = 32
MOST_FEATURES, MOST_CLASSES, MOST_EXAMPLES = 1 << 16, 1 << 12, 1 << 20


class LearnError(ValueError):
    """Something given cannot be used; one line says what."""


class Head:
    """The content of a file.

    Args:
        weights: float32 ``[classes, features]``.
        bias: float32 ``[classes]``.
        limit: classes at most.
        rooms: examples of the replay memory, of the shipped held-back and of the learned held-back
            ones.
        model: SHA-256 of the ONNX file that the library was built from, 32 bytes.
        seed: of the draws.

    Attributes:
        shipped: classes of the shipped head.
        replay, guard, fresh: `Examples`: learned from; held back, shipped; held back, learned.
        added, updates, rejected, rollbacks: counters.
        origin: 32 bytes, see `HEADER`.
        digest: the SHA-256 at the end of the file that this was read from.
    """

    def __init__(self, weights: Any, bias: Any, limit: int, rooms: Tuple[int, int, int],
                 model: bytes, seed: int) -> None:  # fmt: skip
        count, features = weights.shape
        self.classes = self.shipped = count
        self.weights = np.zeros((limit, features), np.float32)
        self.bias = np.zeros(limit, np.float32)
        self.weights[:count], self.bias[:count] = weights, bias
        self.replay, self.guard, self.fresh = [Examples(n, features, limit) for n in rooms]
        self.random, self.model = seed, model
        self.added = self.updates = self.rejected = self.rollbacks = 0
        self.origin = self.digest = bytes(DIGEST_BYTES)

    def parts(self) -> List[Any]:
        """The arrays of the file, in its order."""
        found = [self.weights, self.bias]
        for each in (self.replay, self.guard, self.fresh):
            found += [each.seen, each.labels, each.features]
        return found

    def continues(self, shipped: "Head") -> bool:
        """Whether this is the state of a board that began with a shipped head."""
        sizes = [[part.shape for part in head.parts()] for head in (self, shipped)]
        same = sizes[0] == sizes[1] and self.shipped == shipped.shipped
        return same and self.origin == shipped.digest


def head_bytes(head: Head) -> bytes:
    """The file of a head."""
    limit, features = head.weights.shape
    rooms = [n for each in (head.replay, head.guard, head.fresh)
             for n in (len(each.labels), each.count)]  # fmt: skip
    found = [HEADER.pack(HEAD_MAGIC, features, head.classes, limit, head.shipped, *rooms,
                         head.random, head.added, head.updates, head.rejected, head.rollbacks,
                         head.model, head.origin)]  # fmt: skip
    for part in head.parts():
        data = part.astype(part.dtype.newbyteorder("<")).tobytes()
        found += [data, bytes(-len(data) % 8)]
    whole = b"".join(found)
    return whole + hashlib.sha256(whole).digest()


def parse_head(data: bytes, where: str) -> Head:
    """The head in a file's content.

    Raises:
        LearnError: it is none, or it is damaged.
    """
    if len(data) < HEADER.size + DIGEST_BYTES or data[:8] != HEAD_MAGIC:
        raise LearnError("%s: is no head that tvmkd deploy learn-head wrote" % where)
    whole, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(whole).digest() != digest:
        raise LearnError("%s: is damaged: its SHA-256 is another; copy it again" % where)
    fields = HEADER.unpack_from(whole)
    features, classes, limit, shipped = fields[1:5]
    rooms, counts = fields[5:11:2], fields[6:11:2]
    fits = 0 < features <= MOST_FEATURES and 0 < shipped <= classes <= limit <= MOST_CLASSES
    if not fits or any(c > r or r > MOST_EXAMPLES for c, r in zip(counts, rooms)):
        raise LearnError("%s: is damaged: its sizes contradict each other" % where)
    sizes = [4 * limit * features, 4 * limit]
    for room in rooms:
        sizes += [4 * limit, 2 * room, 2 * room * features]
    if HEADER.size + sum(size + -size % 8 for size in sizes) != len(whole):
        raise LearnError("%s: is damaged: its length does not fit its sizes" % where)
    head = Head(np.zeros((shipped, features), np.float32), 0, limit, rooms, fields[16], fields[11])
    place = HEADER.size
    for part, size in zip(head.parts(), sizes):
        kind = part.dtype.newbyteorder("<")
        part[...] = np.frombuffer(whole, kind, part.size, place).reshape(part.shape)
        place += size + -size % 8
    head.classes, head.origin, head.digest = classes, fields[17], digest
    head.added, head.updates, head.rejected, head.rollbacks = fields[12:16]
    for memory, count in zip((head.replay, head.guard, head.fresh), counts):
        memory.count = count
        if (memory.labels[:count] >= classes).any():
            raise LearnError("%s: is damaged: a label is no class" % where)
    if not (np.isfinite(head.weights).all() and np.isfinite(head.bias).all()):
        raise LearnError("%s: is damaged: a weight is not finite" % where)
    return head


def read_head(path: str) -> Head:
    """Reads a file.

    Raises:
        LearnError: it cannot be read, is no head, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise LearnError("%s: cannot be read: %s" % (path, error.strerror))
    return parse_head(data, path)


def write_head(path: str, head: Head) -> None:
    """Writes a file: after a power cut the old one or the new one is there.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    folder, name = os.path.split(os.path.abspath(path))
    draft = os.path.join(folder, ".%s.tmp" % name)
    try:
        with open(draft, "wb") as file:
            file.write(head_bytes(head))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
    _keep(folder)


def remove_head(path: str) -> None:
    """Removes a file, if it is there, so that it stays away after a power cut.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    _keep(os.path.dirname(os.path.abspath(path)))


def _keep(folder: str) -> None:
    """Waits until the names in a folder are on its disk."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
