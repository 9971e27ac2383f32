from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.signatures import Signature, models_with, signature, stages_of

NETS = """
from torch import nn

def plain(size, *, units=3):
    return nn.Linear(size, units)

def anything(**kwargs):
    return nn.Linear(2, 2)

class Net(nn.Module):
    def __init__(self, width=1.0):
        super().__init__()

    @staticmethod
    def stages(blocks=(1, 2)):
        return len(blocks)
"""


def test_the_arguments_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "signed_nets.py").write_text(NETS)
    found = {name: signature(f"signed_nets:{name}") for name in ("plain", "anything", "Net")}
    assert found["plain"] == Signature(("size", "units"), False)
    assert found["anything"] == Signature((), True)
    assert found["Net"].names == ("width",)
    assert {"width", "multiple"} <= set(signature("depthwise").names)
    assert signature("torchvision:resnet18") == Signature((), True)
    with pytest.raises(InputError, match='did you mean "depthwise"'):
        signature("depthwize")
    args = {"blocks": (1, 2, 3), "width": 2}
    assert stages_of("signed_nets:Net", found["Net"], args) == 3
    with pytest.raises(InputError, match=r"those of signed_nets:plain are not; give their number"):
        stages_of("signed_nets:plain", found["plain"], {})


KNOWN = {
    "a": Signature(("width", "depth"), False),
    "b": Signature(("width",), False),
    "c": Signature((), True),
}


@pytest.mark.parametrize(
    ("argument", "only", "having"),
    [
        ("width", [], ["a", "b"]),
        ("depth", [], ["a"]),
        ("width_mult", [], ["c"]),
        ("width", ["b"], ["b"]),
        ("width", ["c"], ["c"]),
    ],
)
def test_the_models_that_a_parameter_applies_to(
    argument: str, only: list[str], having: list[str]
) -> None:
    assert models_with(argument, KNOWN, only) == having


def test_a_parameter_of_no_model() -> None:
    with pytest.raises(InputError, match='b has no argument depth; did you mean "width"'):
        models_with("depth", KNOWN, ["b"])
    some = {name: KNOWN[name] for name in ("a", "b")}
    with pytest.raises(InputError, match='a, b have no argument widht; did you mean "width"'):
        models_with("widht", some, [])
