"""Puts the modules of `tvmkd.deploy.board_server` together into one file, ``serve.py``.

A board's own Python runs it: 3.6 or later, with nothing but the standard library. The file is text,
so that whoever installs it can read what it does.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from tvmkd.base.files import write_bytes
from tvmkd.base.version import __version__

SOURCES = Path(__file__).parent / "board_server"
ORDER = (
    *("protocol", "library", "statistics", "instance", "model", "codec", "connection", "board"),
    *("lesson", "metrics", "server", "main"),
)
"""A module comes after those that it imports."""
_HEAD = '''#!/usr/bin/env python3
"""Serves standalone libraries of tvmkd on a board: Python 3.6 or later, the standard library only.

    python3 serve.py LIB.so... [--name N] [--host H] [--http-port P] [--token-file F] ...

It speaks what `tvmkd serve` speaks: the Open Inference Protocol (KServe v2) over REST with binary
tensors, deadlines, /metrics. Each instance is a process of its own: a crash costs one request.
Where speed counts, take tvmkd-server, the same in C. Made by tvmkd {version}.
"""
'''


def text() -> str:
    """The content of ``serve.py``."""
    whole = joined(_HEAD.format(version=__version__), SOURCES, ORDER)
    return whole.replace('TVMKD_VERSION = "unknown"', f'TVMKD_VERSION = "{__version__}"')


def joined(head: str, folder: Path, order: Sequence[str]) -> str:
    """Modules as one file: what they import first, each import once.

    Args:
        head: comes before everything.
        folder: of the modules.
        order: their names; a module comes after those that it imports.
    """
    imports: set[str] = set()
    parts: list[str] = []
    for name in order:
        found, body = _split((folder / f"{name}.py").read_text(encoding="utf-8"))
        imports |= found
        parts.append(f"# {name}\n\n{body}")
    plain = sorted(line for line in imports if line.startswith("import "))
    others = sorted(imports.difference(plain))
    start = head + "\n" + "\n".join([*plain, *others])
    return start + "\n\n" + "\n\n\n".join(parts)


def write(path: Path) -> None:
    """Writes ``serve.py``.

    Raises:
        InputError: it cannot be written.
    """
    write_bytes(path, text().encode())
    path.chmod(0o755)


def _split(source: str) -> tuple[set[str], str]:
    """The imports of a module, one a line, and the rest without its docstring."""
    tree = ast.parse(source)
    lines = source.splitlines()
    imports: set[str] = set()
    gone: set[int] = set()
    for number, node in enumerate(tree.body):
        docstring = number == 0 and isinstance(node, ast.Expr)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            imports |= {f"from {node.module} import {alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imports |= {f"import {ast.unparse(alias)}" for alias in node.names}
        if docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
            gone |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    rest = [line for number, line in enumerate(lines, 1) if number not in gone]
    return imports, "\n".join(rest).strip("\n") + "\n"
