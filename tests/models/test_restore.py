from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision import models as torchvision

from tvmkd.base.errors import InputError
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.models.restore import restore


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_fine_tuned_torchvision_model(
    tmp_path: Path, wrapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    source = torchvision.squeezenet1_1(num_classes=5)
    state = source.state_dict()
    torch.save({"model": {f"module.{key}": state[key] for key in state}} if wrapped else state,
               tmp_path / "w.pt")  # fmt: skip
    found = restore(tmp_path / "w.pt", "torchvision:squeezenet1_1")
    assert torch.equal(found.get_parameter("classifier.1.weight"), source.classifier[1].weight)
    assert "has 5 classes, not 1000: num_classes set" in capsys.readouterr().err
    again = restore(tmp_path / "w.pt", "torchvision:squeezenet1_1", {"num_classes": 5})
    assert torch.equal(again.get_parameter("classifier.1.bias"), source.classifier[1].bias)
    with pytest.raises(InputError, match="5 in the file, 7 in the model; set its num_classes to 5"):
        restore(tmp_path / "w.pt", "torchvision:squeezenet1_1", {"num_classes": 7})


def test_a_student_of_other_classes(tmp_path: Path) -> None:
    args = {"stem": 8, "blocks": [[16, 1]]}
    torch.save(DepthwiseNet(**args, classes=3).state_dict(), tmp_path / "w.pt")
    assert restore(tmp_path / "w.pt", "depthwise", args)(torch.ones(1, 1, 8, 8)).shape == (1, 3)


def test_another_network_is_refused_as_it_is(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="another architecture"):
        restore(tmp_path / "w.pt", "depthwise", {"stem": 8, "blocks": [[16, 1]]})
