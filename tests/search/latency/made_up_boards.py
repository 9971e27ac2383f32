"""Boards and a compiler made up for tests of latency tables: a network is a list of kernels."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.search.latency import reference, table
from tvmkd.search.latency.prediction import Kernel, Measured
from tvmkd.tuning import records
from tvmkd.tuning.session import open_session
from tvmkd.tuning.space import candidate_key

HOST = targets.load("host")
INSIDE, CALL = 1.2, 1e-6
"""What a kernel takes in a network over its time alone, and what a call of a network costs."""
FIXED = 2e-4
"""Seconds of the fixed network."""
BOARD = "127.0.0.1:9090"


class Names:
    """A network: the numbers of its kernels. Stands for an ``nn.Module``."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers


def kernel(number: int) -> Kernel:
    """The kernel of a number; half of them are of another kind."""
    work = 1e4 * (1 + number % 7) * 2 ** (number % 5)
    kind = ("conv2d", "depthwise")[number % 2]
    return Kernel(key(number), f"k{number}", kind, 1, 2 * work, {"work": work, "output_bytes": 1e3})


def key(number: int) -> str:
    """A task key."""
    return f"0x{number:016x}"


def seconds(number: int) -> float:
    """The time of a kernel alone."""
    return 1e-6 + kernel(number).flop * (1e-10 if number % 2 else 3e-10)


def write(numbers: Sequence[int], path: Path) -> Path:
    """An ONNX file whose nodes are the kernels."""
    names = ["x", *(f"t{place}" for place in range(len(numbers)))]
    nodes = [
        helper.make_node("Relu", [names[place]], [names[place + 1]], name=str(number))
        for place, number in enumerate(numbers)
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in (names[0], names[-1])]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:])), str(path))
    return path


def read(path: Path) -> list[int]:
    """The kernels of a file of `write`."""
    return [int(node.name) for node in onnx.load(str(path)).graph.node]


class Compiler:
    """Stands for the client of a compiler stack.

    Attributes:
        log: the boards' too.
        faults: raised when a network with this kernel is lowered, or built.
    """

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.faults: dict[tuple[str, int], Exception] = {}

    def _check(self, what: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            if (what, number) in self.faults:
                raise self.faults[what, number]

    def lower(self, info: Any, target: Any, dims: Any, *, features: bool) -> dict[str, Any]:
        """The tasks of a file."""
        numbers = read(info.path)
        self.log.append(("lower", tuple(numbers)))
        self._check("lower", numbers)
        tasks = [
            {
                "key": each.key,
                "name": each.name,
                "kind": each.kind,
                "weight": numbers.count(number),
                "flop": each.flop,
                "features": each.features,
            }
            for number, each in ((number, kernel(number)) for number in dict.fromkeys(numbers))
        ]
        return {"tasks": tasks}

    def build(
        self, info: Any, target: Any, folders: Any, out: Path, *, check: bool, dims: Any
    ) -> None:
        """An artifact that says which kernels it has."""
        numbers = read(info.path)
        self._check("build", numbers)
        out.mkdir()
        (out / "kernels.json").write_text(json.dumps(numbers))

    def close(self) -> None:
        """Nothing."""


class Boards:
    """Stands for `tvmkd.search.latency.target_boards.TargetBoards`.

    Attributes:
        log: what was done, in order.
        slow: what everything takes longer by.
        left: trials until the board goes away; None: it stays.
        bad: kernels of which no trial succeeds.
        fatal: kernels that end the session when a network with one is timed.
    """

    def __init__(self, log: list[Any], evaluator: str = "time") -> None:
        self.log, self.evaluator = log, evaluator
        self.slow: float = 1.0
        self.left: int | None = None
        self.bad: set[int] = set()
        self.fatal: set[int] = set()
        self.closed = False

    def tune(
        self,
        lowering: Any,
        models: Sequence[Any],
        folder: Path,
        weights: Mapping[str, float],
        *,
        trials: int,
        seed: int,
        on_event: Callable[[str, dict[str, Any]], None] | None,
    ) -> None:
        """One round of trials after the other, the kernel of the most weight first."""
        numbers = sorted((int(name, 16) for name in weights), key=lambda n: -weights[key(n)])
        inside = {number for model in models for number in read(model.path)}
        assert set(numbers) <= inside, "the files have these kernels"
        self.log.append(("tune", tuple(numbers), trials))
        made_for, stack = HOST.to_dict(), "relax"
        with open_session(folder, made_for, stack, evaluator=self.evaluator):
            for round_number in range(trials):
                self._trial(folder, numbers[round_number % len(numbers)], round_number)
                if on_event is not None:
                    on_event("trial", {})

    def _trial(self, folder: Path, number: int, round_number: int) -> None:
        if self.left is not None:
            if self.left == 0:
                raise MissingError("no board answers any more")
            self.left -= 1
        taken = None if number in self.bad else self.slow * seconds(number)
        trace = [number, time.monotonic_ns()]
        if taken is not None:
            place = len(records.read_lines(folder / records.WORKLOADS))
            records.append_line(folder / records.WORKLOADS, [str(number), "module"])
            line = [place, [trace, [taken], {}, []]]
            records.append_line(folder / records.RECORDS, line)
        facts = {"figure": taken, "t": time.time(), "board": BOARD, "wall": 0.1}
        line = {"task": key(number), "key": candidate_key(trace), **facts}
        records.append_line(folder / records.TRIALS, line)

    def measure(
        self,
        folder: Path,
        reference: Path | None = None,
        usual: Callable[[str], float | None] = lambda _: None,
        longest: float = 0.0,
    ) -> Measured:
        """The network's kernels and a call."""
        if not (folder / "kernels.json").exists():
            self.log.append("reference")
            numbers = []
        else:
            numbers = json.loads((folder / "kernels.json").read_text())
            self.log.append(("time", tuple(numbers)))
        if self.left == 0 or self.fatal & set(numbers):
            raise MissingError("the board at 127.0.0.1:9090 was lost")
        taken = CALL + INSIDE * sum(map(seconds, numbers))
        fixed = 0.0 if self.evaluator == "icount" else FIXED * self.slow
        return Measured(taken * self.slow, 0.01, fixed=fixed, board=BOARD, board_seconds=2.0)

    def close(self) -> None:
        """Nothing is open."""
        self.closed = True


class World:
    """A compiler and boards, and tables that use them."""

    def __init__(self, evaluator: str = "time") -> None:
        self.log: list[Any] = []
        self.compiler = Compiler(self.log)
        self.boards = Boards(self.log, evaluator)

    @contextlib.contextmanager
    def table(self, folder: Path, **options: Any) -> Iterator[table.LatencyTable]:
        """A table in a folder."""
        options = {"boards": self.boards, **options}
        with table.LatencyTable(folder, HOST, **options) as made:
            yield made

    def tuned(self) -> list[int]:
        """The kernels that trials were made of, in order."""
        return [n for entry in self.log if entry[0] == "tune" for n in entry[1]]

    def timed(self) -> list[tuple[int, ...]]:
        """The networks that were timed, in order."""
        return [entry[1] for entry in self.log if entry[0] == "time"]


def install(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Tables use the world's compiler, and files are used as they are."""
    from tvmkd.export import door
    from tvmkd.search.latency import skeleton
    from tvmkd.stacks import client

    def built(lowering: Any, folder: Path) -> None:
        folder.mkdir(parents=True)

    monkeypatch.setattr(client, "StackClient", lambda *_: world.compiler)
    monkeypatch.setattr(door, "admit", lambda path, *_: SimpleNamespace(path=path, assumptions=[]))
    monkeypatch.setattr(skeleton, "write", lambda model, shape, path: write(model.numbers, path))
    monkeypatch.setattr(reference, "build", built)
