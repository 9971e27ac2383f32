"""Writes an ELF object file that holds data under one symbol, for a linker.

An assembler's ``.incbin`` would do the same; a machine that only builds libraries has none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

MACHINES = {"x86_64": 62, "aarch64": 183}
"""ELF's number of each machine whose objects can be written, by the first part of the triple."""

ALIGNMENT = 64
"""Bytes; TVM's kernels expect as much of a tensor."""

# System V ABI, 64 bit: file header, section header, symbol.
_FILE, _SECTION, _SYMBOL = "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IBBHQQ"
_PROGBITS, _SYMTAB, _STRTAB = 1, 2, 3
_ALLOC, _LARGE = 2, 0x10000000
_GLOBAL_OBJECT, _HIDDEN = (1 << 4) | 1, 2


def write_data(
    path: Path, machine: str, symbol: str, parts: Sequence[memoryview | bytes]
) -> list[int]:
    """Writes a relocatable object file with ``parts`` one after the other, read-only.

    Args:
        path: the file to write.
        machine: one of `MACHINES`.
        symbol: the name of the first byte; hidden, so that it stays inside the linked library.
        parts: buffers of bytes; each begins at a multiple of `ALIGNMENT`.

    Returns:
        the offset of each part from ``symbol``.
    """
    offsets, size = [], 0
    for part in parts:
        size += -size % ALIGNMENT
        offsets.append(size)
        size += len(part)
    # On x86-64 a library's code reaches 2 GB; linkers put a large section behind what it reaches.
    data = (".lrodata", _ALLOC | _LARGE) if machine == "x86_64" else (".rodata", _ALLOC)
    names = ["", data[0], ".symtab", ".strtab", ".shstrtab", ".note.GNU-stack"]
    starts, text = [], b""
    for name in names:
        starts.append(len(text))
        text += name.encode() + b"\0"
    strings = b"\0" + symbol.encode() + b"\0"
    symbols = bytes(24) + struct.pack(_SYMBOL, 1, _GLOBAL_OBJECT, _HIDDEN, 1, 0, size)
    begin = ALIGNMENT
    table = begin + size + -size % 8
    places = [table, table + len(symbols), table + len(symbols) + len(strings)]
    headers = places[2] + len(text)
    headers += -headers % 8
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (starts[1], _PROGBITS, data[1], 0, begin, size, 0, 0, ALIGNMENT, 0),
        (starts[2], _SYMTAB, 0, 0, places[0], len(symbols), 3, 1, 8, 24),
        (starts[3], _STRTAB, 0, 0, places[1], len(strings), 0, 0, 1, 0),
        (starts[4], _STRTAB, 0, 0, places[2], len(text), 0, 0, 1, 0),
        (starts[5], _PROGBITS, 0, 0, headers, 0, 0, 0, 1, 0),
    ]
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack(
        _FILE, ident, 1, MACHINES[machine], 1, 0, 0, headers, 0, 64, 0, 0, 64, len(sections), 4
    )
    with path.open("wb") as stream:
        stream.write(header)
        for offset, part in zip(offsets, parts, strict=True):
            stream.seek(begin + offset)
            stream.write(part)
        for place, content in zip(places, (symbols, strings, text), strict=True):
            stream.seek(place)
            stream.write(content)
        stream.seek(headers)
        for section in sections:
            stream.write(struct.pack(_SECTION, *section))
    return offsets
