from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detectors import blank, shared, shared_teacher, tiny

from tvmkd.base.errors import InputError
from tvmkd.config.data import DetectionLoss
from tvmkd.distill.detector.losses import Answers
from tvmkd.distill.detector.terms.total import Terms, identity

CODE = """
import torch

class Own(torch.nn.Module):
    def __init__(self, student, teacher, start=1.0):
        super().__init__()
        self.wanted = (1,)
        self.weight = torch.nn.Parameter(torch.tensor(start))

    def forward(self, seen):
        assert list(seen.maps) == [1]
        return self.weight

def plain(seen, factor):
    return factor * seen.maps[0].mean() + 0 * seen.output.logits.sum()

class Two:
    def __init__(self, student):
        pass

def of_two(one, other):
    return one

class Broken:
    def __init__(self, student, teacher):
        raise ValueError("no such thing")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own_terms.py").write_text(CODE)
    return tmp_path


def section(loss: str, **more: Any) -> DetectionLoss:
    return DetectionLoss.model_validate({"loss": loss, **more})


def terms(folder: Path, *sections: DetectionLoss) -> Terms:
    return Terms(sections, shared(), shared_teacher(), [folder])


ANSWERS = Answers(torch.empty(0), torch.empty(0), [torch.full((1, 2, 2, 2), 3.0)], (0,))


def test_weights_and_schedules_by_hand(folder: Path) -> None:
    args = {"factor": 2.0}
    made = terms(
        folder,
        section("own_terms:plain", args=args, weight=0.5),
        section("own_terms:plain", args=args, schedule="ramp"),
    )
    assert made.wanted == (0, 1, 2)
    answers = Answers(ANSWERS.logits, ANSWERS.boxes, ANSWERS.features * 3)
    for progress, wanted in ((0.0, 3.0), (0.1, 6.0), (0.9, 9.0)):
        assert float(made(blank(), answers, [], progress)) == pytest.approx(wanted)


def test_a_class_has_weights_that_are_trained(folder: Path) -> None:
    made = terms(folder, section("own_terms:Own", args={"start": 4.0}, weight=2.0))
    assert made.wanted == (1,)
    assert list(made.state_dict()) == ["losses.0.weight"]
    answers = Answers(ANSWERS.logits, ANSWERS.boxes, ANSWERS.features, (1,))
    found = made(blank(), answers, [], 0.0)
    assert float(found) == 8.0
    found.backward()
    assert made.losses[0].weight.grad == 2.0


def test_registered_losses_add_up_and_are_closed(folder: Path) -> None:
    student, teacher = tiny(), shared_teacher()
    sections = [section(name) for name in ("pkd", "crosskd", "fgd", "mgd", "ld")]
    made = Terms(sections, student, teacher)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = teacher.raw(images).features
    logits, boxes = torch.zeros(2, 1, 10), torch.tensor([0.1, 0.1, 0.7, 0.7]).expand(2, 1, 4)
    answers = Answers(logits, boxes, [features[place] for place in made.wanted], made.wanted)
    targets: list[Any] = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]])}] * 2
    found = made(student.raw(images), answers, targets, 0.5)
    assert float(found) > 0.1
    found.backward()
    made.close()
    assert not any(module._forward_hooks for module in student.modules())


@pytest.mark.parametrize(
    ("loss", "args", "line"),
    [
        ("own_terms:Own", {"end": 1}, r'"own_terms:Own": TypeError: got an unexpected .*end'),
        ("own_terms:Two", {}, "TypeError: too many positional arguments"),
        ("own_terms:of_two", {}, "TypeError: missing a required argument: 'other'"),
        ("own_terms:Broken", {}, "ValueError: no such thing .*own_terms.py"),
        ("own_terms:nothing", {}, "own_terms has no nothing"),
        ("pkd", {"alpha": 1}, r'\[\[detection.losses\]\] loss "pkd": TypeError: .*alpha.$'),
        ("mgd", {"share": 2.0}, "mgd: share has to be"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    folder: Path, loss: str, args: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError, match=line):
        terms(folder, section(loss, args=args))


def test_a_loss_that_fails_leaves_no_hooks_of_the_others(folder: Path) -> None:
    student = tiny()
    with pytest.raises(InputError):
        Terms(
            [section("crosskd"), section("own_terms:Broken")], student, shared_teacher(), [folder]
        )
    assert not any(module._forward_hooks for module in student.modules())


def test_the_source_of_a_users_loss_is_part_of_the_identity(folder: Path) -> None:
    sections = [section("own_terms:plain", args={"factor": 1}), section("pkd")]
    before = identity(sections, [folder])
    assert before[0]["args"] == {"factor": 1}
    assert "code" not in before[1]
    (folder / "own_terms.py").write_text(CODE + "\n# changed\n")
    assert identity(sections, [folder])[0]["code"] != before[0]["code"]
