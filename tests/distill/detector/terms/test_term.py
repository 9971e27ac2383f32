from __future__ import annotations

import pytest
from tiny_detectors import shared, shared_teacher, tiny
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.config.data import DETECTION_LOSSES
from tvmkd.distill.detector.terms import REGISTERED
from tvmkd.distill.detector.terms.pkd import PKD
from tvmkd.distill.detector.terms.term import MapTerm, adapter, pairs_or_raise
from tvmkd.models.detectors import ssdlite


def test_every_loss_of_the_config_is_registered() -> None:
    assert set(REGISTERED) == set(DETECTION_LOSSES)


def test_maps_of_as_many_cells_are_compared_through_adapters() -> None:
    term: MapTerm = PKD(shared(), shared_teacher())
    assert term.wanted == (0, 1, 2)
    convolutions = [one for one in term.adapters if isinstance(one, nn.Conv2d)]
    assert [one.out_channels for one in convolutions] == [64, 64, 64]
    assert all(one.kernel_size == (1, 1) for one in convolutions)
    # A coarser student meets the teacher's second map first.
    coarse = ssdlite(10, 64, finest=16, extras=0, scales=[0.2, 0.5, 0.9], width=0.25)
    assert PKD(coarse, shared_teacher()).wanted == (1, 2)


def test_equal_widths_need_no_adapter() -> None:
    assert isinstance(adapter(8, 8), nn.Identity)
    assert isinstance(adapter(8, 9), nn.Conv2d)


def test_maps_without_a_partner_are_refused() -> None:
    odd = tiny(size=96)  # 12, 6 and 3 cells a side; the teacher has 8, 4 and 2
    with pytest.raises(InputError, match=r"^mgd: no feature map of the student has as many cells"):
        pairs_or_raise(odd, shared_teacher(), "mgd")
