from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tvmkd import artifact, targets
from tvmkd.base.errors import InputError
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.search.watch.artifacts import Artifacts

HOST = targets.load("host")


def net(width: int = 8) -> nn.Module:
    return DepthwiseNet(stem=8, blocks=[(width, 1)]).eval()


def artifacts(folder: Path, **changes: Any) -> Artifacts:
    given = {
        "target": HOST,
        "stack": "relax",
        "records": [],
        "shape": (1, 1, 8, 8),
        "code": None,
        **changes,
    }
    return Artifacts(folder, **given)


def test_a_structure_is_the_same_whatever_the_weights(tmp_path: Path) -> None:
    made = artifacts(tmp_path)
    torch.manual_seed(0)
    first = made.structure(net())
    torch.manual_seed(1)
    assert made.structure(net()) == first
    assert made.structure(net(16)) != first
    skipping = net()
    skipping.set_submodule("features.3", nn.Identity(), strict=True)
    assert made.structure(skipping) != first


@pytest.mark.parametrize(
    "change",
    [{"shape": (2, 1, 8, 8)}, {"target": targets.load("jetson-nano")}, {"code": "other"}],
)
def test_what_else_decides_the_time_is_part_of_it(tmp_path: Path, change: Any) -> None:
    plain, other = artifacts(tmp_path), artifacts(tmp_path, **change)
    assert plain.structure(net()) != other.structure(net())


def test_a_structure_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(onnx: Path, target: Any, records: Any, out: Path, **options: Any) -> None:
        assert onnx.read_text() == "a model"
        assert (records, options) == ([Path("records")], {"stack": "relax"})
        out.mkdir()
        built.append(out)

    def export(network: Any, out: Path, shape: Any) -> Path:
        out.write_text("a model")
        return out

    monkeypatch.setattr("tvmkd.stacks.compile.build", build)
    monkeypatch.setattr("tvmkd.export.export", export)
    monkeypatch.setattr(artifact, "read", lambda folder: SimpleNamespace(folder=folder))
    made = artifacts(tmp_path / "watch", records=[Path("records")])
    first, manifest = made.of(net())
    again, _ = made.of(net())
    other, _ = made.of(net(16))
    assert built == [first, other]
    assert again == first == tmp_path / "watch" / made.structure(net()) / "artifact"
    assert manifest.folder == first  # type: ignore[attr-defined]
    assert [path.name for path in first.parent.iterdir()] == ["artifact"], "no ONNX file stays"


def test_a_network_that_cannot_be_exported_leaves_no_file(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no such thing")

    with pytest.raises(InputError, match="cannot be exported"):
        artifacts(tmp_path).of(Odd())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
