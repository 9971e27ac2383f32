from __future__ import annotations

from pathlib import Path

import learner_heads
import numpy as np
import pytest
from learner_heads import FEATURES, accuracy, clusters, lesson, taught

from tvmkd.deploy.board_learner import learner as module
from tvmkd.deploy.board_learner.head_file import LearnError
from tvmkd.deploy.board_learner.learner import Learner


@pytest.fixture
def path(tmp_path: Path) -> str:
    return learner_heads.written(tmp_path)


def old() -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(200) % 4
    return clusters(labels, 9), labels


@pytest.mark.parametrize("kind", ["new", "moved"])
def test_it_learns_and_forgets_little(path: str, kind: str) -> None:
    learner = Learner(path)
    before = accuracy(learner, *lesson(kind, 200, 10))
    was = accuracy(learner, *old())
    assert taught(learner, kind) == "accepted"
    assert learner.taught
    assert accuracy(learner, *lesson(kind, 200, 10)) > max(0.82, before + 0.05)
    assert accuracy(learner, *old()) > was - 0.05
    assert learner.classes == (6 if kind == "new" else 4)
    status = learner.status()
    assert (status["updates"], status["rejected"], status["pending"]) == (1, 0, 0)
    assert status["checked"]["new_after"] > status["checked"]["new_before"]
    assert status["checked"]["new"] == learner.head.fresh.count == 12


def test_without_replay_and_soft_targets_it_forgets(path: str, tmp_path: Path) -> None:
    """And the guard takes that back."""
    (tmp_path / "bare").mkdir()
    bare = learner_heads.written(tmp_path / "bare", replay=0)
    assert taught(Learner(bare, distillation=0), "new") == "rejected"
    free = Learner(bare, distillation=0, max_forgetting=1)
    was = accuracy(free, *old())
    assert taught(free, "new") == "accepted"
    assert accuracy(free, *old()) < was - 0.15


def test_poisoned_labels_are_rolled_back(path: str, tmp_path: Path) -> None:
    learner = Learner(path, str(tmp_path / "state"))
    rows = clusters(np.arange(40) % 4, 11)
    before = learner.predict(rows)
    assert taught(learner, "poison") == "rejected"
    assert learner.reason.startswith("labels: ")
    np.testing.assert_array_equal(learner.predict(rows), before)
    assert not learner.taught
    assert learner.head.replay.seen.sum() == 60  # nothing of it is remembered
    believing = Learner(path, max_contradiction=1)
    assert taught(believing, "poison") == "rejected"
    assert believing.reason.startswith("forgets: ")
    assert taught(learner, "new") == "accepted"


def test_poison_among_new_classes(path: str) -> None:
    """What the new classes gain would pay for it."""
    learner = Learner(path, max_forgetting=0.3)
    for kind in ("new", "poison"):
        for row, label in zip(*lesson(kind), strict=True):
            learner.add(row, int(label))
    learner.begin()
    while learner.step(50) in ("training", "checking"):
        pass
    assert learner.reason.startswith("labels: ")
    found = learner.report
    assert found["new_won"] > 10 > found["old_lost"] - found["old_won"]
    assert 40 < found["contradicted"] <= found["sure"] <= 60
    assert learner.classes == 4


def test_small_poison_adds_up_to_what_is_allowed(path: str) -> None:
    """Forgetting counts from the shipped head, so that many updates cannot undo it bit by bit."""
    learner = Learner(path, max_forgetting=0.1, max_contradiction=1)
    for number in range(12):
        labels = np.concatenate([np.zeros(12, int), np.ones(3, int)])
        rows = clusters(np.zeros(15, int), 20 + number, shift=0.1 * number * learner_heads.MOVED)
        for row, label in zip(rows, labels, strict=True):
            learner.add(row, int(label))
        learner.begin()
        while learner.step(50) in ("training", "checking"):
            pass
    rows, labels = learner.shipped.guard.rows()
    right = (learner.predict(rows).argmax(axis=1) == labels).sum()
    assert learner.guard_shipped - right <= 4


def test_what_was_learned_before_is_guarded_too(path: str) -> None:
    learner = Learner(path, distillation=0, momentum=0.95, rate=2, max_contradiction=1)
    assert taught(learner, "new") == "accepted"
    rows, _ = lesson("new", 60, 12)
    for row in rows:
        learner.add(row, 4)  # class 5 is called 4 now
    learner.begin()
    while learner.step(50) in ("training", "checking"):
        pass
    assert learner.phase == "rejected"
    assert "learned held-back" in learner.reason


def test_nothing_to_gain(path: str) -> None:
    learner = Learner(path)
    rows, labels = clusters(np.arange(40) % 4, 5), np.arange(40) % 4
    sure = learner.predict(rows).argmax(axis=1) == labels
    for row, label in zip(rows[sure], labels[sure], strict=True):
        learner.add(row, int(label))
    learner.begin()
    while learner.step(50) in ("training", "checking"):
        pass
    assert learner.phase == "rejected"
    assert learner.reason.startswith("no gain: ")


def test_equal_seeds_learn_the_same(path: str) -> None:
    one, two = Learner(path), Learner(path)
    taught(one, "new")
    for row, label in zip(*lesson("new"), strict=True):
        two.add(row, int(label))
    two.begin()
    while two.step(1) in ("training", "checking"):
        pass
    np.testing.assert_array_equal(one.active[0], two.active[0])
    np.testing.assert_array_equal(one.head.replay.labels, two.head.replay.labels)


def test_the_state_is_kept(path: str, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    learner = Learner(path, state)
    taught(learner, "new")
    again = Learner(path, state)
    assert again.refused == ""
    assert again.taught
    assert again.classes == 6
    np.testing.assert_array_equal(again.active[0], learner.active[0])
    assert taught(again, "moved") == taught(learner, "moved") == "accepted"
    np.testing.assert_array_equal(again.active[0], learner.active[0])


def test_rollback(path: str, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    learner = Learner(path, state)
    taught(learner, "new")
    learner.rollback()
    for each in (learner, Learner(path, state)):
        assert not each.taught
        assert each.classes == 4
        np.testing.assert_array_equal(each.active[0], each.shipped.weights[:4])
        np.testing.assert_array_equal(each.head.replay.features, each.shipped.replay.features)
        assert (each.head.fresh.count, each.head.rollbacks, each.head.updates) == (0, 1, 1)
    assert taught(learner, "new") == "accepted"


def test_what_was_withdrawn_stays_away_if_nothing_can_be_written(path: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    learner = Learner(path, str(state))
    taught(learner, "new")
    (tmp_path / ".state.tmp").mkdir()
    learner.rollback()
    assert not learner.taught
    assert not Learner(path, str(state)).taught
    learner.rollback()  # with nothing to remove
    state.mkdir()
    with pytest.raises(IsADirectoryError):
        learner.rollback()


def test_rollback_while_it_learns(path: str) -> None:
    learner = Learner(path)
    for row, label in zip(*lesson("new"), strict=True):
        learner.add(row, int(label))
    learner.begin()
    learner.step(5)
    learner.rollback()
    assert learner.step(1000) == "idle"
    assert not learner.taught


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "folder"])
def test_a_damaged_state_is_refused(path: str, tmp_path: Path, damage: str) -> None:
    state = tmp_path / "state"
    taught(Learner(path, str(state)), "new")
    data = bytearray(state.read_bytes())
    if damage == "cut":
        state.write_bytes(data[:-5])
    elif damage == "flipped":
        data[500] ^= 4
        state.write_bytes(data)
    elif damage == "folder":
        state.unlink()
        state.mkdir()
    else:
        (tmp_path / "b").mkdir()
        taught(Learner(learner_heads.written(tmp_path / "b", seed=8), str(state)), "new")
    learner = Learner(path, str(state))
    assert learner.refused.endswith("; the shipped head is used")
    assert str(state) in learner.refused
    assert not learner.taught
    assert learner.classes == 4


def test_a_state_that_cannot_be_written(path: str, tmp_path: Path) -> None:
    """The head works all the same, and the caller hears of it."""
    learner = Learner(path, str(tmp_path / "none/state"))
    with pytest.raises(OSError, match="No such file"):
        taught(learner, "new")
    assert learner.phase == "accepted"
    assert learner.classes == 6


def test_examples_that_cannot_be_used(path: str) -> None:
    learner = Learner(path, pending=8)
    good = np.ones(FEATURES, np.float32)
    for row, label, said in (
        (good[:3], 0, "has 12 features, not 3"),
        (good * np.nan, 0, "not finite"),
        (good * 1e5, 0, "beyond half precision"),
        (good, 6, "label 6: there may be 6 classes at most"),
        (good, -1, "label -1"),
    ):
        with pytest.raises(LearnError, match=said):
            learner.add(row, label)
    with pytest.raises(LearnError, match="too few new examples: 0 are held back of 0"):
        learner.begin()
    for _ in range(8):
        learner.add(good, 5)
    with pytest.raises(LearnError, match="8 examples wait; begin an update first"):
        learner.add(good, 5)
    with pytest.raises(LearnError, match=r"class 4 has no example, .* wait were dropped"):
        learner.begin()
    learner.add(good, 4)
    assert (learner.status()["added"], learner.status()["pending"]) == (9, 1)


def test_many_classes_with_one_example_each(tmp_path: Path) -> None:
    """Some are held back all the same, so that an update can begin."""
    learner = Learner(learner_heads.many_classes(tmp_path), steps=1)
    for number in range(54):
        learner.add(np.ones(FEATURES), (number + 20) % 62)
    assert np.flatnonzero(learner.held).tolist() == [42, 43, 44]  # 60 and 61 are new
    learner.begin()
    assert learner.step(20) == "rejected"
    assert "no gain: " in learner.reason


def test_one_update_at_a_time(path: str) -> None:
    learner = Learner(path)
    rows, labels = lesson("moved")
    for row, label in zip(rows, labels, strict=True):
        learner.add(row, int(label))
    learner.begin()
    with pytest.raises(LearnError, match="an update runs already"):
        learner.begin()
    with pytest.raises(LearnError, match="an update runs; add examples when it is done"):
        learner.add(rows[0], 0)


@pytest.mark.parametrize("name", sorted(module.DEFAULTS))
def test_options_out_of_range(path: str, name: str) -> None:
    low, high = module.RANGES[name]
    for value in (low - 1, high * 2 + 1, float("nan")):
        with pytest.raises(LearnError, match=f"{name}: has to be from"):
            Learner(path, **{name: value})
    with pytest.raises(LearnError, match="there is no such option"):
        Learner(path, epochs=3)
