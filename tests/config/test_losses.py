from __future__ import annotations

import inspect

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.config import Distill
from tvmkd.config.losses import checked, defaults, unread
from tvmkd.distill.losses import REGISTERED


def test_losses_keep_the_sections_values_unless_their_paper_has_others() -> None:
    assert defaults("kd", False) == {} == defaults("mine:loss", True)
    assert defaults("dist", True) == defaults("dist", False)
    plain, dist = Distill(loss="dkd"), Distill(loss="dist", temperature=4.0)
    assert (plain.alpha, plain.beta, plain.temperature) == (0.1, 8.0, 4.0)
    assert (dist.alpha, dist.beta, dist.temperature) == (0.5, 2.0, 4.0)
    thick = Distill(loss="mlkd", standardize=True, alpha=0.2)
    assert (thick.alpha, thick.temperature) == (0.2, 2.0)
    assert Distill(loss="mse", standardize=True).alpha == 0.1


def test_what_a_loss_does_not_read_it_does_not_take() -> None:
    for name, loss in REGISTERED.items():
        taken = inspect.signature(loss).parameters
        assert unread(name) == {"beta", "temperature"} - set(taken)
    assert not unread("mine:loss")


def test_names() -> None:
    assert checked("mlkd") == "mlkd"
    assert checked("mine:loss") == "mine:loss"
    with pytest.raises(ValueError, match='there is no loss "nkdd"; did you mean "nkd"'):
        checked("nkdd")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"logits": [{"loss": "ce"}]}, "distill.logits.0.loss: ce has no teacher"),
        ({"logits": [{"loss": "dits"}]}, 'there is no loss "dits"; did you mean "dist"'),
        ({"logits": [{"loss": "kd", "weight": 0}]}, "distill.logits.0.weight"),
        ({"loss": "ce", "standardize": True}, "no teacher, and standardize needs one"),
        ({"loss": "ce", "loss_args": {"gamma": 1.0}}, "loss_args has no effect"),
    ],
)
def test_what_has_no_teacher_is_refused(section, message) -> None:
    with pytest.raises(InputError, match=message):
        config.parse({"project": {"name": "a"}, "distill": section})


def test_detectors_have_other_losses() -> None:
    data = {"dataset": "scenes", "image_size": 96}
    with pytest.raises(InputError, match=r"distill\.standardize is for classifiers"):
        config.parse({"project": {"name": "a"}, "data": data, "distill": {"standardize": True}})
