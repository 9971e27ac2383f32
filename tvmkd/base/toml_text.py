"""Writes plain data as TOML that people read: one table a section, short tables in one line.

No TOML writer is among the requirements, and Python only reads the format (``tomllib``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 100
"""Inline tables and lists that are longer get lines of their own."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(data: Mapping[str, Any]) -> str:
    """The text of a file.

    Args:
        data: texts, numbers, truth values, lists and tables with text keys; a None is left out.

    Raises:
        TypeError: it has a value of another kind.
    """
    blocks = list(_table(data, ()))
    return "\n".join(block for block in blocks if block)


def _table(data: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    known = {name: value for name, value in data.items() if value is not None}
    own, later = [], []
    for name, value in known.items():
        if _own_tables(value, name, place):
            later.append((name, value))
        else:
            own.append(f"{_key(name)} = {_value(value, len(_key(name)) + 3)}\n")
    if place and (own or not later):
        own.insert(0, f"[{'.'.join(map(_key, place))}]\n")
    yield "".join(own)
    for name, value in later:
        path = (*place, name)
        if isinstance(value, Mapping):
            yield from _table(value, path)
            continue
        for item in value:
            head = f"[[{'.'.join(map(_key, path))}]]\n"
            lines = (f"{_key(k)} = {_value(v)}\n" for k, v in item.items() if v is not None)
            yield head + "".join(lines)


def _own_tables(value: Any, name: str, place: tuple[str, ...]) -> bool:
    """Whether a value becomes tables with headers, not a line of its section."""
    if isinstance(value, Mapping):
        return not place or len(_inline(value)) + len(name) + 3 > WIDTH
    tables = isinstance(value, list | tuple) and bool(value)
    return tables and all(isinstance(item, Mapping) for item in value)


def _value(value: Any, used: int = 0) -> str:
    text = _inline(value)
    if used + len(text) <= WIDTH or not isinstance(value, list | tuple):
        return text
    return "[\n" + "".join(f"    {_inline(item)},\n" for item in value) + "]"


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return repr(value)
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        items = [f"{_key(k)} = {_inline(v)}" for k, v in value.items() if v is not None]
        return "{ " + ", ".join(items) + " }" if items else "{}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "[" + ", ".join(map(_inline, value)) + "]"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # TOML's basic strings have JSON's escapes, and also forbid the one control character that JSON
    # leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
