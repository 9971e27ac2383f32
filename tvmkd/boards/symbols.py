"""Which glibc and libstdc++ a library needs, and whether a board has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tvmkd.base.errors import InputError

# glibc and the newest symbol versions of the libstdc++ that is shipped with it: CentOS 7, Ubuntu
# 18.04 (JetPack 4), Debian 10, Ubuntu 20.04 (JetPack 5), Ubuntu 22.04 (JetPack 6), Ubuntu 24.04.
_LIBSTDCXX = {
    "2.17": {"GLIBCXX": "3.4.19", "CXXABI": "1.3.7"},
    "2.27": {"GLIBCXX": "3.4.25", "CXXABI": "1.3.11"},
    "2.28": {"GLIBCXX": "3.4.25", "CXXABI": "1.3.11"},
    "2.31": {"GLIBCXX": "3.4.28", "CXXABI": "1.3.12"},
    "2.35": {"GLIBCXX": "3.4.30", "CXXABI": "1.3.13"},
    "2.39": {"GLIBCXX": "3.4.33", "CXXABI": "1.3.15"},
}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def limits(glibc: str) -> dict[str, str]:
    """The newest symbol version of each kind that a system with this glibc has.

    Raises:
        InputError: the glibc is older than any that is known.
    """
    known = [version for version in _LIBSTDCXX if _number(version) <= _number(glibc)]
    if not known:
        raise InputError(f"glibc {glibc}: nothing is known of systems older than glibc 2.17")
    return {"GLIBC": glibc, **_LIBSTDCXX[max(known, key=_number)]}


def needed(library: Path) -> dict[str, str]:
    """The newest version of each kind (``GLIBC``, ``GLIBCXX``, ``CXXABI``) that a library needs.

    Raises:
        InputError: not an ELF file.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    found: dict[str, str] = {}
    try:
        with library.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".gnu.version_r")
            for _, versions in section.iter_versions() if section is not None else ():
                for version in versions:
                    match = re.fullmatch(r"(GLIBC|GLIBCXX|CXXABI)_([0-9.]+)", version.name)
                    if match is None:
                        continue
                    kind, number = match.groups()
                    if kind not in found or _number(number) > _number(found[kind]):
                        found[kind] = number
    except (OSError, ELFError) as error:
        raise InputError(f"{library}: not an ELF library: {error}") from None
    return found


def check(libraries: Iterable[Path], glibc: str) -> dict[str, dict[str, str]]:
    """Checks that a system with this glibc can load the libraries.

    Returns:
        the needs of each library, by its name.

    Raises:
        InputError: one needs something newer; the message names it, its need and what there is.
    """
    most = limits(glibc)
    found = {}
    for library in libraries:
        found[library.name] = needed(library)
        for kind, number in found[library.name].items():
            if _number(number) > _number(most[kind]):
                raise InputError(
                    f"{library}: needs {kind}_{number} and a system with glibc {glibc} has "
                    f"{kind}_{most[kind]} at most; it would not load on the board"
                )
    return found
