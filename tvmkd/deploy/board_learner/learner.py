"""Learns the last layer of a classifier from labelled examples, and takes back what does harm."""

import os
from typing import Any, Dict, Optional

import numpy as np

from .draws import Draws
from .examples import MAX_HALF, Examples
from .head_file import Head, LearnError, read_head, remove_head, write_head
from .step import gradient_of, softmax
from .verdict import SURE, reason_against

LEAST_HELD = 2
"""Held-back new examples below which no update begins."""
FEW = 40
"""Waiting examples from which on one in twenty is held back, whatever their classes."""
DEFAULTS: Dict[str, float] = {
    "batch": 32,
    "steps": 500,
    "pending": 512,
    "rate": 1.0,
    "momentum": 0.9,
    "temperature": 2.0,
    "distillation": 0.5,
    "max_forgetting": 0.05,
    "max_contradiction": 0.5,
}
"""What `Learner` can be told: examples a step; steps an update; new examples that wait at most;
learning rate as a share of the one at which gradient descent may diverge; momentum; temperature and
weight of the old head's soft targets; the share of the shipped held-back examples that may become
wrong, since the head was shipped (1: what happens to old ones does not count); the share that may
have another label, of new examples of known classes about which the present head is sure (1: labels
are always believed)."""
RANGES = {
    "batch": (1, 4096), "steps": (1, 10**6), "pending": (8, 1 << 16), "rate": (1e-6, 2),
    "momentum": (0, 0.999), "temperature": (0.1, 100), "distillation": (0, 1000),
    "max_forgetting": (0, 1), "max_contradiction": (0, 1),
}  # fmt: skip


class Learner:
    """A head that goes on learning.

    New examples are added; of each class every fifth is held back, beginning with the third; and
    as soon as `FEW` wait, the next one of a known class if fewer than one in twenty are. An update
    is begun, and goes on in `step`: minibatches of new and replayed examples with the old head's
    soft targets, then the comparison of both heads on held-back data (`reason_against`). The new
    head takes the place of the old one in one assignment, or is dropped together with the examples.

    Attributes:
        head, shipped: what is kept, and the shipped file, which is not changed.
        active: weights and bias that predict.
        taught: whether they are others than the shipped ones.
        phase, reason, report: of the last update; ``reason`` is why it was dropped.
        refused: why the state's file was not used.

    One thread may add, step and roll back; any thread may `predict` meanwhile.

    Args:
        path: the shipped ``head.bin``.
        state: the file of this board's state; None: nothing is kept. One that is damaged, or that
            another shipped head began, is not used: see ``refused``.
        options: in place of `DEFAULTS`.

    Raises:
        LearnError: the shipped file or an option cannot be used.
    """

    def __init__(self, path: str, state: Optional[str] = None, **options: float) -> None:
        for name, value in options.items():
            if name not in DEFAULTS:
                raise LearnError("%s: there is no such option of learning" % name)
            low, high = RANGES[name]
            if not low <= value <= high:
                raise LearnError("%s: has to be from %g to %g, not %g" % (name, low, high, value))
        self.options = dict(DEFAULTS, **options)
        self.shipped, self.path = read_head(path), state
        self.refused = ""
        head = read_head(path)
        head.origin = head.digest
        if state is not None and os.path.exists(state):
            try:
                head = read_head(state)
                if not head.continues(self.shipped):
                    raise LearnError(state + ": belongs to another shipped head")
            except LearnError as error:
                self.refused = "%s; the shipped head is used" % error
                head = read_head(path)
                head.origin = head.digest
        self.head, self.draws = head, Draws(head.random)
        self.active = (head.weights[: head.classes].copy(), head.bias[: head.classes].copy())
        self.taught = any(
            (ours != theirs).any()
            for ours, theirs in (
                (head.weights, self.shipped.weights),
                (head.bias, self.shipped.bias),
            )
        )
        self.new = Examples(int(self.options["pending"]), self.features, self.limit)
        self.held = np.zeros(len(self.new.labels), bool)
        self.phase, self.reason = "idle", ""
        self.report: Dict[str, Any] = {}
        rows, labels = self.shipped.guard.rows()
        self.guard_shipped = int((self.predict(rows, self.shipped).argmax(1) == labels).sum())

    @property
    def features(self) -> int:
        """Features of an example."""
        return int(self.head.weights.shape[1])

    @property
    def limit(self) -> int:
        """Classes at most."""
        return len(self.head.bias)

    @property
    def classes(self) -> int:
        """Classes that the head tells apart now."""
        return len(self.active[1])

    @property
    def wanted(self) -> int:
        """Classes that the head tells apart after the next update."""
        return max([self.classes, *(int(each) + 1 for each in self.new.labels[: self.new.count])])

    @property
    def held_count(self) -> int:
        """Waiting examples that are held back."""
        return int(self.held[: self.new.count].sum())

    @property
    def bytes(self) -> int:
        """Bytes of all arrays that are kept between updates and of those that an update needs."""
        kept = sum(part.nbytes for head in (self.head, self.shipped) for part in head.parts())
        new = self.new.features.nbytes + self.new.labels.nbytes + self.held.nbytes
        return int(kept + new + 4 * (self.head.weights.nbytes + self.head.bias.nbytes))

    def predict(self, rows: Any, head: Optional[Head] = None) -> Any:
        """Logits, float32 ``[rows, classes]``, of features ``[rows, features]``."""
        weights, bias = self.active
        if head is not None:
            weights, bias = head.weights[: head.classes], head.bias[: head.classes]
        return rows.dot(weights.T) + bias

    def add(self, row: Any, label: int) -> None:
        """Adds a labelled example.

        Args:
            row: its features.
            label: number of its class. New classes have the numbers after those that are known.

        Raises:
            LearnError: it cannot be used, an update runs, or too many wait.
        """
        row = np.asarray(row, np.float32).reshape(-1)
        if self.phase in ("training", "checking"):
            raise LearnError("an update runs; add examples when it is done")
        if len(row) != self.features:
            raise LearnError("an example has %d features, not %d" % (self.features, len(row)))
        if not np.isfinite(row).all() or np.abs(row).max() > MAX_HALF:
            raise LearnError("a feature is not finite, or beyond half precision (65504)")
        if not 0 <= label < self.limit:
            raise LearnError("label %d: there may be %d classes at most" % (label, self.limit))
        if self.new.count == len(self.new.labels):
            raise LearnError("%d examples wait; begin an update first" % self.new.count)
        # Of many classes none may come three times.
        few = self.new.count >= FEW and 20 * self.held_count < self.new.count
        held = self.new.seen[label] % 5 == 2 or (few and label < self.classes)
        self.held[self.new.count] = held
        self.new.seen[label] += 1
        self.new.append(row, label)
        self.head.added += 1

    def missing(self) -> str:
        """Why the waiting examples are not enough for an update; "": they are."""
        if self.held_count < LEAST_HELD:
            return "too few new examples: %d are held back of %d, and %d have to be" % (
                self.held_count, self.new.count, LEAST_HELD)  # fmt: skip
        wanted = self.wanted
        for label in range(self.classes, wanted):
            if not self.new.seen[label]:
                return ("class %d has no example, and class %d has: number new classes without gaps"
                        % (label, wanted - 1))  # fmt: skip
        return ""

    def begin(self) -> None:
        """Begins an update; `step` goes on with it.

        Raises:
            LearnError: one runs, or there are too few examples; if no more can be added, those that
                wait are dropped then.
        """
        if self.phase in ("training", "checking"):
            raise LearnError("an update runs already")
        missing = self.missing()
        if missing:
            if self.new.count == len(self.new.labels):
                missing += "; all that wait were dropped"
                self._forget()
            raise LearnError(missing)
        classes, (weights, bias) = self.wanted, self.active
        rows, labels = self.new.rows()
        learned = ~self.held[: self.new.count]
        self.fresh_rows, self.fresh_labels = rows[learned], labels[learned]
        self.old_rows, self.old_labels = self.head.replay.rows()
        every = np.concatenate([self.fresh_rows, self.old_rows]).astype(np.float64)
        # About the features' mean the loss is far better conditioned, and the rate needs no scale.
        self.mean = every.mean(axis=0).astype(np.float32)
        spread = float(((every - self.mean) ** 2).sum(axis=1).mean())
        self.rate = np.float32(self.options["rate"] / (1 + spread))
        self.weights = np.zeros((classes, self.features), np.float32)
        self.weights[: len(weights)] = weights
        self.bias = np.zeros(classes, np.float32)
        self.bias[: len(bias)] = bias
        self.bias += self.weights.dot(self.mean)
        self.speed = (np.zeros_like(self.weights), np.zeros_like(self.bias))
        # Every class counts the same, and once more if it is both new and replayed.
        kinds = [len(np.unique(each)) for each in (self.fresh_labels, self.old_labels)]
        size = int(self.options["batch"])
        self.replayed = min(size * kinds[1] // sum(kinds), size - 1)
        self.done, self.phase, self.reason = 0, "training", ""
        self.report = dict.fromkeys(("guard_after", "fresh_before", "fresh_after", "new_before",
                                     "new_after", "old_won", "old_lost", "new_won", "new_lost",
                                     "sure", "contradicted"), 0)  # fmt: skip

    def step(self, count: int = 1) -> str:
        """Goes on for ``count`` batches, and returns the phase.

        Returns:
            ``idle``, ``training``, ``checking``, ``accepted`` or ``rejected``; ``reason`` and
            ``report`` say more of the last two.

        Raises:
            OSError: the new head works, but its state cannot be written.
        """
        for _ in range(count):
            if self.phase == "training":
                self._train()
            elif self.phase == "checking":
                self._check()
        return self.phase

    def _train(self) -> None:
        size = int(self.options["batch"]) - self.replayed
        news = [self.draws.below(len(self.fresh_rows)) for _ in range(size)]
        replayed = [self.draws.below(len(self.old_rows)) for _ in range(self.replayed)]
        rows = np.concatenate([self.fresh_rows[news], self.old_rows[replayed]])
        labels = np.concatenate([self.fresh_labels[news], self.old_labels[replayed]])
        temperature = np.float32(self.options["temperature"])
        soft = softmax(self.predict(rows) / temperature)
        found = gradient_of(self.weights, self.bias, rows - self.mean, labels, soft,
                            float(temperature), self.options["distillation"])  # fmt: skip
        momentum = np.float32(self.options["momentum"])
        for value, speed, gradient in zip((self.weights, self.bias), self.speed, found):
            speed *= momentum
            speed += gradient
            value -= self.rate * speed
        self.done += 1
        if self.done == int(self.options["steps"]):
            self.bias -= self.weights.dot(self.mean)
            self.done, self.phase = 0, "checking"

    def _check(self) -> None:
        """Compares both heads on the next held-back examples."""
        size, place = int(self.options["batch"]), self.done
        sets = (("guard", self.shipped.guard, None), ("fresh", self.head.fresh, None),
                ("new", self.new, self.held))  # fmt: skip
        for name, examples, mask in sets:
            if place < examples.count:
                some = slice(place, min(place + size, examples.count))
                kept = slice(None) if mask is None else mask[some]
                self._compare(name, examples, some, kept)
                self.done += some.stop - some.start
                return
            place -= examples.count
        self._decide()

    def _compare(self, name: str, examples: Examples, some: slice, kept: Any) -> None:
        """Counts what both heads get right; of new examples, which ones contradict the present."""
        found, rows = self.report, examples.features[some].astype(np.float32)
        labels, logits = examples.labels[some], self.predict(rows)
        before = logits.argmax(axis=1) == labels
        after = (rows.dot(self.weights.T) + self.bias).argmax(axis=1) == labels
        if name == "new":
            apart = np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
            sure = (apart <= np.float32(1 / SURE)) & (labels < self.classes)
            found["sure"] += int(sure.sum())
            found["contradicted"] += int((sure & ~before).sum())
        before, after = before[kept], after[kept]
        found[name + "_after"] += int(after.sum())
        if name != "guard":
            found[name + "_before"] += int(before.sum())
        kind = "new" if name == "new" else "old"
        found[kind + "_won"] += int((after & ~before).sum())
        found[kind + "_lost"] += int((before & ~after).sum())

    def _decide(self) -> None:
        found = self.report
        found.update(guard_shipped=self.guard_shipped, guard=self.shipped.guard.count,
                     fresh=self.head.fresh.count, new=self.held_count)  # fmt: skip
        self.reason = "the weights are not finite"
        if np.isfinite(self.weights).all() and np.isfinite(self.bias).all():
            self.reason = reason_against(found, self.options["max_forgetting"],
                                         self.options["max_contradiction"])  # fmt: skip
        head = self.head
        if self.reason:
            head.rejected += 1
        else:
            head.updates += 1
            head.classes = len(self.bias)
            head.weights[: head.classes], head.bias[: head.classes] = self.weights, self.bias
            for number in range(self.new.count):
                memory = head.fresh if self.held[number] else head.replay
                row, label = self.new.features[number], int(self.new.labels[number])
                memory.offer(row, label, self.draws)
            self.active, self.taught = (self.weights, self.bias), True
        self._forget()
        self.phase = "rejected" if self.reason else "accepted"
        self.save()

    def _forget(self) -> None:
        """Drops the waiting examples."""
        self.new.count = 0
        self.new.seen[:] = 0
        self.phase = "idle"

    def rollback(self) -> None:
        """Goes back to the shipped head and its replay memory; a running update is dropped.

        A state that cannot be written, as on a full disk, is removed: without one, the shipped head
        works.

        Raises:
            OSError: the state can be neither written nor removed. The shipped head works, until the
                program starts again.
        """
        head, shipped = self.head, self.shipped
        head.classes = shipped.classes
        head.weights[...], head.bias[...] = shipped.weights, shipped.bias
        head.replay, head.fresh = shipped.replay.copy(), shipped.fresh.copy()
        head.rollbacks += 1
        self.active = (head.weights[: head.classes].copy(), head.bias[: head.classes].copy())
        self.taught = False
        self._forget()
        self.reason, self.report = "", {}
        try:
            self.save()
        except OSError:
            remove_head(str(self.path))

    def save(self) -> None:
        """Writes the state, if it is kept."""
        self.head.random = self.draws.state
        if self.path is not None:
            write_head(self.path, self.head)

    def status(self) -> Dict[str, Any]:
        """What there is to tell, fit for JSON."""
        head = self.head
        found: Dict[str, Any] = {"phase": self.phase, "reason": self.reason,
                                 "refused_state": self.refused}  # fmt: skip
        found.update(classes=self.classes, max_classes=self.limit, shipped_classes=head.shipped)
        found.update(pending=self.new.count, held_back=self.held_count, replay=head.replay.count)
        found.update(added=head.added, updates=head.updates, rejected=head.rejected,
                     rollbacks=head.rollbacks, bytes=self.bytes)  # fmt: skip
        found["checked"] = dict(self.report)
        return found
