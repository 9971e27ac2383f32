"""Helpers for messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` if one of ``known`` is similar to ``word``, else an empty string.

    The initials of ``word`` are similar to it: ``lr`` is the first guess for ``learning_rate``.
    """
    lowered = {name.lower(): name for name in known}
    initials = "".join(part[0] for part in re.split(r"[\W_]+", word.lower()) if part)
    if len(initials) > 1 and initials in lowered:
        return f'; did you mean "{lowered[initials]}"?'
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f'; did you mean "{lowered[close[0]]}"?' if close else ""


def suggest_or_own(word: str, known: Collection[str]) -> str:
    """As `suggest`, and if nothing is similar, what is known and that code of one's own is."""
    return suggest(word, known) or f"; known: {', '.join(known)}; or give module:callable"


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of an error's message, its class if empty.

    Without escape sequences; a line of more than ``limit`` characters ends at a word, with dots.
    """
    lines = _ESCAPES.sub("", str(error)).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = lines[0]
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + " ..."


def reason(error: BaseException, limit: int = 300) -> str:
    """The line of an error's message that says most; its class if there is none.

    That is the first line, but the last one where the message is a traceback of C++ (TVM's errors)
    or an error that came over RPC.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    forwarded = lines[0].startswith("Traceback") or lines[0].endswith("RPC call:")
    return lines[-1 if forwarded else 0][:limit]


def heading(text: str) -> str:
    """With a capital first, if the first word has none: ``mAP`` stays."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first == first.lower() else text


def listing(names: Iterable[str]) -> str:
    """``a, b, c``, or ``none`` for nothing."""
    return ", ".join(names) or "none"


def sizes(shape: Iterable[int | str]) -> str:
    """``1 x 3 x 32 x 32``, or ``a scalar``."""
    return " x ".join(map(str, shape)) or "a scalar"


def printable(name: str) -> str:
    """A file's name as text that every file format takes: bytes that are no UTF-8 become ``\\xe9``.

    Paths keep such bytes as surrogates, which open the file but cannot be encoded.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
