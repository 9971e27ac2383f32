"""The trial of an interpreter: what it prints, and that wrong numbers end it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd.base import stack_registry
from tvmkd.stacks.relay import smoke

if INSIDE:
    import numpy as np
    from tvm.contrib import graph_executor


def test_packages_are_imported_before_tvm_and_printed_with_their_versions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[str] = []

    def add_one() -> dict[str, Any]:
        steps.append("tvm")
        return {"tvm": "0.16", "llvm": 15}

    packages = [("xgboost", "3.2"), ("NumPy", "1.26")]
    found = [SimpleNamespace(metadata={"Name": n}, version=v) for n, v in packages]
    monkeypatch.setattr(smoke, "add_one", add_one)
    monkeypatch.setattr(smoke, "fit", lambda: steps.append("fit"))
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", steps.append)
        patch.setattr(importlib.metadata, "distributions", lambda: found)
        smoke.main()
    needed = list(stack_registry.get("relay").packages)
    assert "xgboost" in needed
    assert steps == [*needed, "tvm", "fit"]
    out = capsys.readouterr().out
    assert out == ('{"tvm": "0.16", "llvm": 15, "packages": {"numpy": "1.26", "xgboost": "3.2"}}\n')


@inside("relay")
def test_the_relay_stack_adds_one_and_trains() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        smoke.main()
    found = json.loads(said.getvalue())
    assert found["tvm"].startswith("0.")
    assert found["llvm"] > 3
    assert "numpy" in found["packages"]


@inside("relay")
def test_wrong_numbers_end_it() -> None:
    class Wrong:
        def __init__(self, library: Any) -> None:
            pass

        def run(self, x: Any) -> None:
            self.x = x

        def get_output(self, number: int) -> Any:
            return SimpleNamespace(numpy=lambda: self.x + np.float32(1) * (self.x < 7))

    graph_executor.GraphModule = Wrong
    with pytest.raises(SystemExit, match="TVM computes something else than x"):
        smoke.add_one()
