"""The rooms of the house, from the ground up, and what Python files import from which.

``ROOMS`` is the one table: `test_architecture` holds the imports and CONTRIBUTING.md against it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Room:
    """One row of the table.

    Attributes:
        places: packages or modules below ``tvmkd/``.
        holds: what lives there, for CONTRIBUTING.md.
        heavy: heavy libraries that its modules may import, for CONTRIBUTING.md.
    """

    places: tuple[str, ...]
    holds: str
    heavy: str = "–"


ROOMS = (
    Room(
        ("base",),
        "shared nouns with no dependency: errors, text, console, files, wire, machine, toolchain, "
        "manifest types",
    ),
    Room(("targets", "config"), "target files; the schema of `tvmkd.toml`", "pydantic"),
    Room(
        ("data",),
        "data sets: embedded, folders, VOC, COCO; camera, prefetching",
        "torch",
    ),
    Room(
        ("models",),
        "teachers, students, heads, exits; the registry; checkpoints",
        "torch",
    ),
    Room(
        ("export",),
        "PyTorch to ONNX; the checks that every ONNX file passes; QDQ; half precision",
        "torch, onnx",
    ),
    Room(("tensorrt",), "engines over every generation of TensorRT's API", "tensorrt, lazily"),
    Room(("byoc",), "regions of a model that another engine runs inside a TVM library", "lazily"),
    Room(
        ("runtime",),
        "what runs a compiled library, in this process or a subprocess",
        "tvm, when a library is loaded",
    ),
    Room(("artifact",), "the artifact folder: written, verified, loaded"),
    Room(("timing",), "statistics, timed loops, interleaving: the one timing harness", "numpy"),
    Room(
        ("boards",),
        "tracker, server, fleet, examination, telemetry, bundle, emulation",
        "tvm, in processes of their own",
    ),
    Room(
        ("tuning",),
        "sessions, records, the search loop, forkserver, board workers; knows no compiler",
        "tvm, in processes of their own",
    ),
    Room(
        ("stacks",),
        "one folder a compiler behind one protocol; client, worker, build, check",
        "tvm, in the worker only",
    ),
    Room(("bench",), "engines, comparison, verdict, gate", "engines, lazily"),
    Room(("report",), "the HTML pages"),
    Room(("suites",), "lists of networks that are compared one after the other", "torch, lazily"),
    Room(
        ("detection",),
        "runs a detector: input, decoding, suppression, timing, drawing",
        "numpy, Pillow",
    ),
    Room(("distill",), "training and distilling: tasks, the trainer, losses", "torch"),
    Room(
        ("prune", "quantize", "early_exit"),
        "making a trained network small",
        "torch",
    ),
    Room(
        ("search",),
        "latency tables, search spaces, studies, supernets: networks that are fast on the target",
        "torch, optuna, lazily",
    ),
    Room(
        ("deploy",),
        "from an artifact to a product: bundles, images, serving, running on time, watching",
        "lazily",
    ),
    Room(("stages",), "the stages of a run, one file each, and the run folder"),
    Room(("api",), "tune, build and compare as plain functions, re-exported from `tvmkd`"),
    Room(("host_checks",), "what `tvmkd doctor` looks at"),
    Room(("cli",), "click, one file a verb, thin"),
    Room(("", "__main__"), "the package itself: re-exports, loaded on first use"),
)


def modules() -> dict[str, Path]:
    """Every module of tvmkd, by its dotted name."""
    found = {}
    for path in sorted((ROOT / "tvmkd").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> list[tuple[str, int]]:
    """The modules of tvmkd that a file imports and the lines: lazy and TYPE_CHECKING ones too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.append((full if full in known else base, node.lineno))
    return [(target, line) for target, line in found if target.split(".")[0] == "tvmkd"]


def room_of(module: str) -> int | None:
    """The number of a module's room, None where it is in no room."""
    place = module.removeprefix("tvmkd").removeprefix(".").split(".")[0]
    return next((number for number, room in enumerate(ROOMS) if place in room.places), None)


def arrows() -> list[tuple[str, str, int]]:
    """Every import inside of tvmkd: importing module, imported one, line."""
    known = modules()
    return [
        (name, target, line)
        for name, path in known.items()
        for target, line in imports(name, path, known)
    ]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one module (Tarjan 1972), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted(found)


def table() -> str:
    """The table of CONTRIBUTING.md."""
    lines = ["| room | what lives there | heavy imports |", "|---|---|---|"]
    for room in ROOMS:
        places = ", ".join(
            f"`tvmkd/{place}/`" if (ROOT / "tvmkd" / place).is_dir() else f"`tvmkd/{place}.py`"
            for place in room.places
            if place
        )
        if "" in room.places:
            places = "`tvmkd/__init__.py`, `tvmkd/__main__.py`"
        lines.append(f"| {places} | {room.holds} | {room.heavy} |")
    return "\n".join(lines)
