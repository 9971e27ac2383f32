"""ONNX Runtime's outputs for some samples, and how far rounding moves them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from tvmkd.base import tolerance
from tvmkd.base.agreement import Arrays, Output, Verdict, compare
from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import numpy_dtype, open_session, plain, run_within
from tvmkd.export.noisy import noisy
from tvmkd.export.outputs import OutputFacts, facts_of, sources
from tvmkd.export.samples import Sample
from tvmkd.export.widen import widen

if TYPE_CHECKING:
    import onnxruntime

SECONDS = 20.0
"""CPU time after which samples are left out that a model can do without."""


def _same(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


MAKERS: tuple[Callable[[onnx.ModelProto], onnx.ModelProto], ...] = (
    *(_same, noisy, widen),
    *(functools.partial(noisy, draw=number) for number in range(1, 5)),
)
"""Models whose outputs differ from those of ONNX Runtime's best only in rounding. One with noise
says how far all values of a channel move, not how far each of them does: of a hundred thousand
values, the noise is next to none at a few.
"""


class Runs:
    """Runs of a model in ONNX Runtime: the optimised one; others only where they decide.

    The others run the model as it stands, with noise, and in float64 if it can.

    Args:
        path: the ONNX file.
        model: the same, with or without its external weights; it is not kept.
        choices: for each sample a list of samples; the first that ONNX Runtime accepts is used.
        spare: more of them; left out once the runs have taken `SECONDS`.
        limit: seconds that one run may take; None: without end.

    Attributes:
        samples: those that ONNX Runtime accepts.
        reason: why it refused the last one that it refused; else empty.
        seconds: CPU time that drawing and running them took.

    Raises:
        InputError: ONNX Runtime cannot load the file.
        TimeoutError: a run took longer than ``limit``.
    """

    def __init__(
        self,
        path: Path,
        model: onnx.ModelProto,
        choices: Iterable[Sequence[Sample]],
        spare: Iterable[Sequence[Sample]] = (),
        limit: float | None = None,
    ) -> None:
        self._path = path
        self._facts = facts_of(model)
        given = {entry.name for entry in model.graph.input}
        self._given = given.intersection(sources(self._facts))
        self._extra = [name for name in sources(self._facts) if name not in given]
        self._makers = list(MAKERS)
        self.samples: list[Sample] = []
        self.reason = ""
        names = [fact.name for fact in self._facts]
        self._runs: dict[str, list[list[np.ndarray]]] = {name: [] for name in names}
        self._runs.update({name: [] for name in self._extra})
        session = open_session(path, threads=1, exact=True)
        begin = time.thread_time()  # with one thread, ONNX Runtime computes in this one
        for alternatives in choices:
            self._add(session, alternatives, limit)
        for alternatives in spare:
            if time.thread_time() - begin > SECONDS:
                break
            self._add(session, alternatives, limit)
        self.seconds = time.thread_time() - begin
        for name in self._given:
            self._runs[name] = [[sample[name]] for sample in self.samples]

    def require_samples(self) -> None:
        """Makes sure that ONNX Runtime accepts a sample.

        Raises:
            InputError: it accepts none.
        """
        if not self.samples:
            raise InputError(
                f"{self._path}: ONNX Runtime accepts none of the inputs ({self.reason}); give real "
                "ones with --inputs FILE.npz"
            )

    def _add(
        self,
        session: onnxruntime.InferenceSession,
        alternatives: Sequence[Sample],
        limit: float | None,
    ) -> None:
        for sample in alternatives:
            try:
                wanted = run_within(session, sample, limit)
            except TimeoutError:
                raise
            except Exception as error:  # its exceptions have no common base class
                self.reason = plain(error)
                continue
            self.samples.append(sample)
            found = dict(zip((fact.name for fact in self._facts), wanted, strict=True))
            for name, stored in self._runs.items():
                stored.append([found[name]] if name in found else [])
            return

    @property
    def outputs(self) -> list[Output]:
        """Each output with its runs up to now."""

        def pointed(fact: OutputFacts) -> Output | None:
            found = self._runs.get(fact.source, [])
            if not found or not all(found) or found[0][0].dtype.kind != "f":
                return None
            return Output(
                fact.source, found, tolerance.COMPILED[fact.precision], more=bool(self._makers)
            )

        return [
            Output(
                fact.name,
                self._runs[fact.name],
                tolerance.COMPILED[fact.precision],
                steps=int(fact.quantised),
                channels=fact.precision != "qdq",
                source=pointed(fact),
                axis=fact.axis,
                more=bool(self._makers),
            )
            for fact in self._facts
        ]

    def judge(
        self, found: Arrays, change: Callable[[Output], Output] = lambda output: output
    ) -> Verdict:
        """Compares outputs with the reference's; adds other runs until they agree.

        Args:
            found: output ``j`` of sample ``i`` as ``"i.j"``.
            change: what is asked of an output, in place of what fits its precision.
        """
        verdict = compare(list(map(change, self.outputs)), found)
        while not verdict.agrees and self._makers:
            self._more()
            verdict = compare(list(map(change, self.outputs)), found)
        return verdict

    def _more(self) -> None:
        """Runs the next of the other models that ONNX Runtime takes."""
        model = onnx.load(self._path, load_external_data=False)
        present = {entry.name for entry in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self._extra if name not in present
        )
        while self._makers:
            make = self._makers.pop(0)
            try:
                data = make(model).SerializeToString()
                session = open_session(data, threads=1, optimize=False, weights=self._path.parent)
            except (InputError, ValueError):  # protobuf: over 2 GB
                continue
            for number, sample in enumerate(self.samples):
                for name, value in _run(session, self._runs, sample).items():
                    self._runs[name][number].append(value)
            return


def _run(
    session: onnxruntime.InferenceSession, names: Iterable[str], sample: Sample
) -> dict[str, np.ndarray]:
    present = {entry.name for entry in session.get_outputs()}
    kinds = {entry.name: numpy_dtype(entry.type) for entry in session.get_inputs()}
    feed = {
        name: array.astype(kinds[name]) if array.dtype.kind == "f" else array
        for name, array in sample.items()
        if name in kinds
    }
    names = [name for name in names if name in present]
    try:
        found = session.run(names, feed)
    except Exception:  # the noise may make an index leave its range
        return {}
    return dict(zip(names, found, strict=True))
