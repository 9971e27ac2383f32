from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.early_exit import standalone
from tvmkd.runtime.standalone_program import Late

IMAGE = np.zeros((1, 1, 4, 4), np.float32)


class FakeLibrary:
    """An artifact that answers with the number of the exit."""

    def __init__(self, exits: Any, late: bool = False) -> None:
        self.manifest, self.path = SimpleNamespace(exits=exits), Path("out")
        self.calls: list[Any] = []
        self._late = late

    def run_until(self, arrays: Any, deadline: int | None = None) -> Any:
        self.calls.append(("until", deadline))
        if self._late and deadline is not None:
            raise Late("it would be late")
        return [np.array([[1.0]])], 1

    def run_exit(self, arrays: Any, number: int) -> Any:
        self.calls.append(("exit", number))
        return [np.array([[float(number)]])]


def test_it_is_called_as_the_pieces_are() -> None:
    library: Any = FakeLibrary({"thresholds": ["0.5", 0.75]})
    network = standalone.EarlyExitLibrary(library)
    assert network.thresholds == [0.5, 0.75]
    assert network(IMAGE) == (np.array([[1.0]]), 1)
    assert network.run_until(IMAGE, 7) == (np.array([[1.0]]), 1)
    assert library.calls == [("until", None), ("until", 7)]


def test_the_first_exit_is_always_reached() -> None:
    library: Any = FakeLibrary({"thresholds": [0.5]}, late=True)
    assert standalone.EarlyExitLibrary(library).run_until(IMAGE, 7) == (np.array([[0.0]]), 0)
    assert library.calls == [("until", 7), ("exit", 0)]


def test_an_artifact_without_exits() -> None:
    library: Any = FakeLibrary({})
    with pytest.raises(InputError, match=r"^out: has no early exits; load it with tvmkd\.load$"):
        standalone.EarlyExitLibrary(library)


def test_a_folder_of_pieces_or_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone.runtime, "load", lambda folder: f"pieces in {folder}")
    monkeypatch.setattr(
        standalone.artifact, "load", lambda folder: FakeLibrary({"thresholds": [0.5]})
    )
    assert standalone.load(tmp_path) == f"pieces in {tmp_path}"
    (tmp_path / "manifest.json").write_text("{}")
    assert isinstance(standalone.load(tmp_path), standalone.EarlyExitLibrary)
