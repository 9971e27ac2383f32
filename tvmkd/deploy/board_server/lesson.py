"""``--learn``: the server's side of a head that learns (tvmkd_learner.py; it needs numpy)."""

import asyncio
import importlib
import os
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from .protocol import Fault, say

TURN_S, REST_S = 0.002, 0.002
"""How long an update goes on at a time, and the least pause after it, for requests."""


def import_learner() -> Any:
    """The module ``tvmkd_learner``, from this file's folder.

    Raises:
        ImportError: it is not there, or numpy is missing.
    """
    place = os.path.dirname(os.path.abspath(__file__))
    if place not in sys.path:
        sys.path.append(place)  # not first: its files must not hide the standard library's
    return importlib.import_module("tvmkd_learner")


class Lesson:
    """A model's head that learns.

    Args:
        module: `import_learner`'s.
        path: its ``head.bin``.
        state: the file of this board's state; None: nothing is kept.
        after: new examples after which an update begins by itself; 0: only when asked.
        options: of ``Learner``.

    Raises:
        ValueError: the head cannot be used.
    """

    def __init__(self, module: Any, path: str, state: Optional[str], after: int,
                 options: Dict[str, float]) -> None:  # fmt: skip
        self.module, self.path, self.after = module, path, after
        self.learner = module.Learner(path, state, **options)
        self.sha256 = self.learner.shipped.model.hex()
        self.kept = state is not None
        self.failure = ""
        self.task: Optional[asyncio.Future[None]] = None
        if self.learner.refused:
            say(self.learner.refused)

    def fits(self, facts: Dict[str, Any]) -> bool:
        """Whether the head belongs to a library, from what the library says of itself."""
        return bool(facts.get("onnx_sha256") == self.sha256)

    def wrong(self, facts: Dict[str, Any]) -> str:
        """Why the library's outputs are not logits and features; "": they are."""
        outputs = facts["outputs"]
        sizes = [self.learner.head.shipped, self.learner.features]
        if [each["count"] for each in outputs] == sizes and all(
            each["datatype"] == "FP32" for each in outputs
        ):
            return ""
        return "its outputs are not %d logits and %d features in FP32" % tuple(sizes)

    def describe(self, facts: Dict[str, Any]) -> Dict[str, Any]:
        """A model's facts with the classes that there are now."""
        logits, count = dict(facts["outputs"][0]), self.learner.classes
        logits.update(shape=[1, count], count=count, bytes=4 * count)
        return dict(facts, outputs=[logits, *facts["outputs"][1:]])

    def row(self, outputs: List[bytes]) -> Any:
        """The features in a library's outputs."""
        return self.module.np.frombuffer(outputs[1], "<f4").reshape(1, -1)

    def answer(self, facts: Dict[str, Any], outputs: List[bytes]) -> Tuple[Dict[str, Any], Any]:
        """The outputs with this head's logits, and the facts that describe them."""
        if not self.learner.taught:
            return facts, outputs
        logits = self.learner.predict(self.row(outputs)).astype("<f4").tobytes()
        return self.describe(facts), [logits, *outputs[1:]]

    def add(self, outputs: List[bytes], label: int) -> None:
        """Adds a labelled example; begins an update if enough wait."""
        learner = self.learner
        if learner.phase in ("training", "checking"):
            raise Fault("unavailable", "an update runs; send the example again when it is done", 1)
        try:
            learner.add(self.row(outputs)[0], label)
        except ValueError as error:
            raise Fault("invalid", str(error))
        if self.after and learner.new.count >= self.after and not learner.missing():
            self.begin()

    def begin(self) -> None:
        """Begins an update, which goes on beside the requests."""
        try:
            self.learner.begin()
        except ValueError as error:
            raise Fault("invalid", str(error))
        self.task = asyncio.ensure_future(self.go_on())

    async def go_on(self) -> None:
        """Does an update, a little at a time."""
        phase = self.learner.phase
        while phase in ("training", "checking"):
            begun = time.monotonic()
            try:
                while phase in ("training", "checking") and time.monotonic() - begun < TURN_S:
                    phase = self.learner.step()
                if phase in ("accepted", "rejected"):  # written, whatever failed before
                    self.failure = ""
            except OSError as error:
                self.write_failed(error)
                phase = self.learner.phase
            await asyncio.sleep(max(REST_S, time.monotonic() - begun))
            phase = self.learner.phase
        if self.learner.reason:
            say("%s: an update was rolled back: %s" % (self.path, self.learner.reason))

    def rollback(self) -> None:
        """Goes back to the shipped head."""
        self.stop()
        try:
            self.learner.rollback()
        except OSError as error:
            self.write_failed(error)
            raise Fault("failed", "the shipped head works, but %s; remove it, or what was learned "
                        "comes back when serve.py starts again" % self.failure)  # fmt: skip
        self.failure = ""

    def stop(self) -> None:
        """Drops a running update: the server ends."""
        if self.task is not None:
            self.task.cancel()

    def write_failed(self, error: OSError) -> None:
        """The state cannot be kept."""
        self.failure = "the state cannot be written: %s" % error
        say("%s: %s" % (self.path, self.failure))

    def status(self) -> Dict[str, Any]:
        """For ``GET .../learn``."""
        return dict(self.learner.status(), kept=self.kept, failure=self.failure)

    def metrics(self) -> List[Tuple[str, str, str, Dict[str, str], float]]:
        """Name, kind, explanation, further labels and value of each sample."""
        head, learner = self.learner.head, self.learner
        updates = "Updates by their result."
        return [
            ("tvmkd_learn_examples_total", "counter", "Labelled examples.", {}, head.added),
            ("tvmkd_learn_updates_total", "counter", updates, {"result": "accepted"},
             head.updates),
            ("tvmkd_learn_updates_total", "counter", updates, {"result": "rejected"},
             head.rejected),
            ("tvmkd_learn_rollbacks_total", "counter", "Returns to the shipped head.", {},
             head.rollbacks),
            ("tvmkd_learn_pending_examples", "gauge", "Examples that wait for an update.", {},
             learner.new.count),
            ("tvmkd_learn_classes", "gauge", "Classes of the head.", {}, learner.classes),
            ("tvmkd_learn_state_failed", "gauge", "1 if the state could not be written.", {},
             bool(self.failure)),
        ]  # fmt: skip


def make_lessons(options: Any) -> List[Lesson]:
    """The heads of ``--learn``.

    Raises:
        ValueError: a head cannot be used.
        ImportError: ``tvmkd_learner.py`` or numpy is missing.
        OSError: the folder of the states cannot be used.
    """
    if not options.learn:
        return []
    module = import_learner()
    found = []
    if options.learn_state is not None:
        os.makedirs(options.learn_state, exist_ok=True)
    for path in options.learn:
        state = None
        if options.learn_state is not None:
            name = module.read_head(path).model.hex()[:16] + ".head"
            state = os.path.join(options.learn_state, name)
        limits = {name: getattr(options, name) for name in ("max_forgetting", "max_contradiction")}
        given = {name: value for name, value in limits.items() if value is not None}
        found.append(Lesson(module, path, state, options.learn_after, given))
    return found


def assign(lessons: List[Lesson], models: Dict[str, Any]) -> None:
    """Gives each head to the model that it belongs to.

    Raises:
        ValueError: it belongs to none, or the library has other outputs.
    """
    for lesson in lessons:
        owners = [model for model in models.values() if lesson.fits(model.facts)]
        if not owners:
            raise ValueError("%s: belongs to none of the libraries; it was made with the ONNX file "
                             "of SHA-256 %s" % (lesson.path, lesson.sha256))  # fmt: skip
        if owners[0].lesson is not None:
            raise ValueError("%s: its library has a head already" % lesson.path)
        wrong = lesson.wrong(owners[0].facts)
        if wrong:
            raise ValueError("%s: %s: %s" % (lesson.path, owners[0].label, wrong))
        owners[0].lesson = lesson
