"""The progress of a build: TensorRT's phases as one number, and a progress bar."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tvmkd.base import console
from tvmkd.tensorrt.log import Log

Report = Callable[[str, float], None]
"""Called with the phase's name and the share of the build that is done, 0 to 1."""


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Nested phases: each has a number of steps, and a step may contain phases."""

    def __init__(self) -> None:
        self._open: dict[str, _Phase] = {}
        self._best = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Starts a phase of ``steps`` steps inside the phase ``parent``."""
        self._open[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, number: int) -> None:
        """Ends step ``number`` (from 0) of a phase."""
        if name in self._open:
            self._open[name].done = number + 1

    def finish(self, name: str) -> None:
        """Ends a phase; the outermost phase is the whole build."""
        phase = self._open.pop(name, None)
        if phase is not None and phase.parent is None:
            # TensorRT does not always report the last steps.
            self._best = 1.0

    def share(self) -> float:
        """The share of the build that is done, 0 to 1; it never falls."""
        roots = [name for name, phase in self._open.items() if phase.parent not in self._open]
        if roots:
            self._best = max(self._best, self._of(roots[0]))
        return self._best

    def _of(self, name: str) -> float:
        phase = self._open[name]
        inner = sum(self._of(child) for child, it in self._open.items() if it.parent == name)
        return min((phase.done + min(inner, 1.0)) / phase.steps, 1.0)


def monitor(module: Any, report: Report, log: Log) -> Any:
    """An ``IProgressMonitor`` that calls ``report``; None in a generation without the class.

    An exception of ``report``, or Ctrl-C, is stored in ``log.stopped`` and ends the build.
    """
    if not hasattr(module, "IProgressMonitor"):
        return None
    phases = Phases()

    def tell(change: Callable[[], None], name: str) -> bool:
        try:
            change()
            report(name, phases.share())
        except BaseException as error:
            log.stopped = error
        return log.stopped is None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tell(lambda: phases.start(phase_name, parent_phase, num_steps), phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tell(lambda: phases.step(phase_name, step), phase_name)

        def phase_finish(self, phase_name: str) -> None:
            tell(lambda: phases.finish(phase_name), phase_name)

    return Monitor()


@contextlib.contextmanager
def watching(text: str, after: float = 2.0) -> Iterator[Report]:
    """Shows a progress bar if the block takes longer than ``after`` seconds.

    Without a terminal it prints one line instead.
    """
    if not console.console().is_terminal:
        timer = threading.Timer(after, console.say, [text])
        bar = None
    else:
        bar = console.progress(transient=True)
        task = bar.add_task(console.escape(text), total=None, note="")
        timer = threading.Timer(after, bar.start)

    def report(phase: str, share: float) -> None:
        if bar is not None:
            bar.update(task, total=100, completed=round(100 * share), note=console.escape(phase))

    timer.daemon = True
    timer.start()
    try:
        yield report
    finally:
        timer.cancel()
        timer.join()
        if bar is not None:
            bar.stop()
