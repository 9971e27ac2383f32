from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_detectors import retina, tiny
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from tvmkd.distill.detector.losses import (
    Answers,
    DetectorDistillation,
    TeacherLoss,
    foreground,
    masks,
    pairs,
    presence_logit,
)
from tvmkd.distill.task import Batch
from tvmkd.models.detectors import BOX_WEIGHTS, Raw, retinanet, ssdlite

OFF = {"classification": 0.0, "boxes": 0.0, "features": 0.0}


def there(count: int = 2) -> list[Any]:
    return [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]])} for _ in range(count)]


def seen(box: tuple[float, ...], label: int = 4, sure: float = 8.0) -> Answers:
    """A teacher with a softmax that found one thing: a box in pixels of 64."""
    logits = torch.full((1, 1, 11), -8.0)
    logits[..., label] = sure
    return Answers(logits, torch.tensor([[box]]) / 64, [])


def only(term: str, **changes: Any) -> DetectorDistillation:
    network = tiny()
    return DetectorDistillation(network, network, **{**OFF, term: 1.0}, **changes)


def blank(network: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that say background everywhere, and offsets of nothing."""
    logits = torch.full((1, len(network.anchors), 11), -8.0)
    logits[..., 0] = 8.0
    return logits, torch.zeros(1, len(network.anchors), 4)


BOX = (10.0, 12.0, 30.0, 40.0)


@pytest.mark.parametrize("classes", [1, 10])
def test_a_retinanet_learns_the_columns_that_stand_for_classes(classes: int) -> None:
    """Its first is not used: whatever is in it changes nothing."""
    network = retina(classes=classes)
    loss = DetectorDistillation(network, network, features=0.0)
    logits = torch.randn(1, len(network.anchors), classes + 1) - 3
    offsets = torch.zeros(1, len(network.anchors), 4)
    boxes = network.anchors[None].clamp(0, 64) / 64
    answers = Answers(logits[..., 1:].clone(), boxes, [])
    found = []
    for unused in (-9.0, 9.0):
        logits[..., 0] = unused
        found.append(float(loss(Raw(logits, offsets, []), answers, there(1))))
    assert found[0] == found[1]
    logits[..., 1:] = -9.0
    assert float(loss(Raw(logits, offsets, []), answers, there(1))) > found[0]


def test_anchors_are_matched_with_what_was_found_there() -> None:
    loss = only("boxes")
    sure, _, offsets = loss.match(seen(BOX))
    overlap = box_iou(loss.anchors, torch.tensor([BOX]))[:, 0]
    assert torch.equal(sure[0] > 0, overlap >= 0.5)
    assert 2 < int((sure > 0).sum()) < 60
    boxes = BoxCoder(BOX_WEIGHTS["softmax"]).decode_single(offsets[0], loss.anchors)
    assert torch.allclose(boxes, torch.tensor(BOX).expand_as(boxes), atol=1e-3)


def test_of_two_things_in_one_place_the_surer_counts() -> None:
    one, other = seen(BOX, label=4, sure=2.0), seen(BOX, label=7, sure=9.0)
    both = Answers(torch.cat([one.logits, other.logits], 1), torch.cat([one.boxes] * 2, 1), [])
    loss = only("classification")
    sure, hidden, _ = loss.match(both)
    assert (hidden[0][sure[0] > 0].argmax(-1) == 6).all()


def test_what_the_teacher_is_not_sure_of_is_no_answer() -> None:
    """Also where nothing is left, and where the sure answer is not the first."""
    doubt, sure = seen(BOX, label=0), seen((34.0, 30.0, 60.0, 62.0))
    loss = only("boxes")
    assert not loss.match(doubt)[0].any()
    logits = torch.cat([doubt.logits, sure.logits], 1)
    both = Answers(logits, torch.cat([doubt.boxes, sure.boxes], 1), [])
    for mine, other in zip(loss.match(both), loss.match(sure), strict=True):
        assert torch.equal(mine, other)


def test_a_student_that_agrees_has_nothing_to_learn() -> None:
    wanted = seen(BOX)
    for term in ("classification", "boxes"):
        loss = only(term)
        sure, _, offsets = loss.match(wanted)
        logits, apart = blank(tiny())
        wrong = float(loss(Raw(logits, apart, []), wanted, []))
        logits[sure > 0] = wanted.logits[0, 0]
        right = float(
            loss(Raw(logits, torch.where(sure[..., None] > 0, offsets, apart), []), wanted, [])
        )
        assert right == pytest.approx(0, abs=1e-3)
        assert wrong > 0.5


def test_features_that_differ_by_a_scale_are_the_same() -> None:
    loss = only("features")
    for adapter in loss.adapters:
        torch.nn.init.dirac_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
    network = tiny()
    maps = [torch.randn(2, *feature.shape[1:]) for feature in network.look(network.blank)]
    logits, offsets = (part.expand(2, -1, -1) for part in blank(network))
    places = [place for _, (place, _) in loss.pairs]
    wanted = [3 * maps[place] + 1 for place in places]
    answers = Answers(seen(BOX).logits.expand(2, -1, -1), seen(BOX).boxes.expand(2, -1, -1), wanted)
    assert float(loss(Raw(logits, offsets, maps), answers, there())) == pytest.approx(0, abs=1e-3)
    shuffled = Answers(answers.logits, answers.boxes, [part.flip(0) for part in wanted])
    assert float(loss(Raw(logits, offsets, maps), shuffled, there())) > 0.5


def test_what_the_teacher_does_not_see_hardly_counts() -> None:
    """Foreground weighting: classes that are wrong where nothing is cost next to nothing."""
    loss, wanted = only("classification"), seen(BOX)
    sure, _, _ = loss.match(wanted)

    def of(places: torch.Tensor) -> float:
        logits, offsets = blank(tiny())
        logits[sure > 0] = wanted.logits[0, 0]
        logits[0, places, 1:] = logits[0, places, 1:].flip(-1)
        return float(loss(Raw(logits, offsets, []), wanted, []))

    assert of(torch.nonzero(sure[0] > 0)[:1, 0]) > 0.5
    assert of(torch.nonzero(sure[0] == 0)[:, 0]) < 1e-3


def test_the_loss_on_classes_by_hand() -> None:
    """KL of softmaxes at temperature 2, times 2², weighted by how sure the teacher is."""
    loss = only("classification", temperature=2.0)
    mine, other = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[2.0, 0.0]]])
    p = 1 / (1 + math.exp(-1.0))
    kl = p * math.log(p) + (1 - p) * math.log(1 - p) + math.log(2)
    found = loss._classes(mine, other, torch.tensor([[0.5]]))
    assert float(found) == pytest.approx(0.5 * 4 * kl, rel=1e-4)


def test_the_loss_on_presence_by_hand() -> None:
    """Cross entropy of a student at one half, weighted by its squared distance."""
    loss = only("classification")
    logits = torch.tensor([[[0.0, 0.0]]])  # background and one class
    found = loss._presence(logits, torch.tensor([[0.9]]))
    assert float(found) == pytest.approx(0.4**2 * math.log(2), rel=1e-4)


def test_the_loss_on_boxes_by_hand() -> None:
    """Smooth L1, quadratic below 0.1, summed over the corners of each anchor, then the mean."""
    loss, wanted = only("boxes"), seen(BOX)
    sure, _, offsets = loss.match(wanted)
    off = offsets + torch.tensor([0.05, 0.0, 0.0, 1.0])
    off[sure == 0] += 9.0  # the teacher found nothing there
    found = loss(Raw(blank(tiny())[0], off, []), wanted, there(1))
    assert float(found) == pytest.approx(0.05**2 / 2 / 0.1 + 1.0 - 0.1 / 2, rel=1e-4)


def test_a_box_without_a_side_counts_as_one_pixel() -> None:
    loss = only("boxes")
    for box in ((10.0, 12.0, 10.0, 12.0), (10.0, 12.0, 4.0, 12.5)):
        _, _, offsets = loss.match(seen(box))
        boxes = BoxCoder(BOX_WEIGHTS["softmax"]).decode_single(offsets[0], loss.anchors)
        wanted = torch.tensor([10.0, 12.0, 11.0, 13.0]).expand_as(boxes)
        assert torch.allclose(boxes, wanted, atol=1e-3)


def test_the_terms_add_up_with_their_weights() -> None:
    network, outputs = tiny(), blank(tiny())
    maps = [torch.randn(1, *each.shape[1:]) for each in network.look(network.blank)]
    one = seen(BOX)
    answers = Answers(one.logits, one.boxes, [each.flip(-1) for each in maps])

    def of(loss: DetectorDistillation) -> float:
        for adapter in loss.adapters:
            torch.nn.init.dirac_(adapter.weight)
            torch.nn.init.zeros_(adapter.bias)
        return float(loss(Raw(*outputs, maps), answers, there(1)))

    parts = [of(only(term)) for term in OFF]
    assert min(parts) > 0.1
    weighted = DetectorDistillation(network, network, classification=2.0, boxes=3.0, features=0.5)
    assert of(weighted) == pytest.approx(2 * parts[0] + 3 * parts[1] + 0.5 * parts[2], rel=1e-4)
    plain = DetectorDistillation(network, network)
    assert of(plain) == pytest.approx(sum(parts), rel=1e-4)
    assert plain.temperature == 2.0


def test_the_whole_loss_asks_the_teacher_about_this_view_of_the_images() -> None:
    network, distillation = tiny(), only("boxes")
    asked: list[Any] = []

    def ask(*given: Any) -> Answers:
        asked.append(given)
        return seen(BOX)

    batch = Batch(torch.zeros(1, 3, 64, 64), there(1), torch.tensor([7]), 0.5, view=3)
    raw = Raw(*blank(network), [])
    found = TeacherLoss(lambda batch, output: torch.tensor(5.0), distillation, ask)(batch, raw)
    assert asked == [(batch.images, [7], 3)]
    wanted = 5 + float(distillation(raw, seen(BOX), there(1)))
    assert float(found) == pytest.approx(wanted)
    assert wanted > 5.1


def test_a_coarser_student_meets_the_right_maps() -> None:
    """Its first map has as many cells as the teacher's second one."""
    student = ssdlite(10, 64, finest=16, extras=0, scales=[0.2, 0.5, 0.9], width=0.25)
    loss = DetectorDistillation(student, retina(), **{**OFF, "features": 1.0})
    places = tuple(place for _, (place, _) in loss.pairs)
    assert places == (1, 2)
    answers = Answers(
        torch.zeros(1, 1, 10),
        torch.tensor([[[0.1, 0.1, 0.9, 0.9]]]),
        [torch.randn(1, 64, side, side) for side in (4, 2)],
        places,
    )
    with torch.no_grad():
        found = loss(student.eval().raw(torch.rand(1, 3, 64, 64)), answers, there(1))
    assert float(found) > 0.1


def test_further_losses_are_added_and_their_weights_saved() -> None:
    class More(torch.nn.Module):
        closed = False

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, output: Any, answers: Any, targets: Any, progress: float) -> Any:
            assert (len(targets), progress) == (1, 0.5)
            return self.weight

        def close(self) -> None:
            self.closed = True

    network, more = tiny(), More()
    batch = Batch(torch.zeros(1, 3, 64, 64), there(1), torch.tensor([7]), 0.5)
    raw = Raw(*blank(network), [])
    parts = (lambda batch, output: torch.tensor(5.0), only("features"), lambda *_: seen(BOX))
    loss, without = TeacherLoss(*parts, more), TeacherLoss(*parts)
    loss.distillation.pairs = []
    assert loss(batch, raw).item() == without(batch, raw).item() + 3 == 8
    state = {key: value.clone() for key, value in loss.state_dict().items()}
    assert "terms.weight" in state
    torch.nn.init.zeros_(more.weight)
    loss.load_state_dict(state)
    assert more.weight.item() == 3
    loss.close()
    without.close()
    assert more.closed


def test_a_checkpoint_of_the_distillation_alone_loads_too() -> None:
    old, inner = only("features"), only("features")
    whole = TeacherLoss(lambda batch, output: torch.tensor(0.0), inner, lambda *_: seen(BOX))
    for state in (old.state_dict(), {f"distillation.{k}": v for k, v in old.state_dict().items()}):
        for weight in inner.parameters():
            torch.nn.init.constant_(weight, 3.0)
        whole.load_state_dict(state)
        for found, wanted in zip(inner.parameters(), old.parameters(), strict=True):
            assert torch.equal(found, wanted)


def test_the_loss_on_features_by_hand() -> None:
    """Normalised over the batch, not by image; weight 1 in boxes and 0.1 outside."""
    loss = only("features")
    for adapter in loss.adapters:
        torch.nn.init.dirac_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
    network = tiny()
    torch.manual_seed(0)
    sizes = [f.shape[1:] for f in network.look(network.blank)]
    scale = torch.tensor([1.0, 5.0]).view(2, 1, 1, 1)  # images of different contrast
    mine = [torch.randn(2, *size) * scale for size in sizes]
    other = [torch.randn(2, *size) for size in sizes]
    answers = Answers(torch.empty(0), torch.empty(0), [other[at] for _, (at, _) in loss.pairs])
    losses = []
    for ((at, _), _), wanted in zip(loss.pairs, answers.features, strict=True):
        one, two = (
            (part - part.mean((0, 2, 3), keepdim=True)) / part.std((0, 2, 3), keepdim=True)
            for part in (mine[at], wanted)
        )
        side = one.shape[-1]
        weight = torch.full((2, side, side), 0.1)
        # The box is 8 to 40 and 8 to 48 of 64 pixels.
        weight[:, side // 8 : math.ceil(side * 0.75), side // 8 : math.ceil(side * 0.625)] = 1.0
        losses.append(float((weight * (one - two).pow(2).mean(1)).sum() / weight.sum()))
    answers = Answers(answers.logits, answers.boxes, list(answers.features))
    found = loss._features(Raw(torch.empty(0), torch.empty(0), mine), answers, there())
    assert float(found) == pytest.approx(sum(losses) / len(losses), rel=1e-3)


@pytest.mark.parametrize(("term", "reached"), [("classification", 0), ("boxes", 1)])
def test_each_term_reaches_the_output_that_it_is_about(term: str, reached: int) -> None:
    loss = only(term)
    outputs = [part.requires_grad_() for part in blank(tiny())]
    loss(Raw(*outputs, []), seen(BOX), there(1)).backward()
    moved = [part.grad is not None and bool(part.grad.any()) for part in outputs]
    assert moved == [reached == 0, reached == 1]


def test_the_sum_is_divided_by_how_much_the_teacher_found() -> None:
    """Two equal images cost what one costs."""
    for term in ("classification", "boxes"):
        loss, one = only(term), seen(BOX)
        two = Answers(one.logits.expand(2, -1, -1), one.boxes.expand(2, -1, -1), [])
        outputs = blank(tiny())
        both = [part.expand(2, -1, -1) for part in outputs]
        single = float(loss(Raw(*outputs, []), one, there(1)))
        assert float(loss(Raw(*both, []), two, there(2))) == pytest.approx(single, rel=1e-4)


def test_only_maps_of_as_many_cells_are_paired() -> None:
    student, teacher = tiny(), retinanet(10, 64)
    assert [(mine[0], other[0]) for mine, other in pairs(student, teacher)] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    larger = pairs(tiny(size=128), retinanet(10, 64))
    assert [(mine[0], other[0]) for mine, other in larger] == [(1, 0), (2, 1)]
    assert (teacher.training, student.training) == (True, False)


def test_masks_are_where_the_boxes_are() -> None:
    made = masks(there(1), 64, (8, 8))
    assert made.shape == (1, 8, 8)
    assert made[0, 1:6, 1:5].all()
    assert int(made.sum()) == 20
    # Cells that a box only touches count.
    inner: list[Any] = [{"boxes": torch.tensor([[9.0, 9.0, 39.0, 47.0]])}]
    assert torch.equal(masks(inner, 64, (8, 8)), made)
    wide = masks(there(1), 64, (4, 8))
    assert wide[0, 0:3, 1:5].all()
    assert int(wide.sum()) == 12


def test_presence_is_the_same_in_both_forms() -> None:
    logits = torch.randn(2, 5, 4)
    for softmax in (True, False):
        sure, classes = foreground(logits, softmax)
        assert torch.allclose(presence_logit(logits, softmax).sigmoid(), sure, atol=1e-6)
        assert classes.shape[-1] == (3 if softmax else 4)
