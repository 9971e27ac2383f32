"""What an interpreter's TVM is found to be, with modules in its place."""

from __future__ import annotations

import importlib
import importlib.util
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tvmkd.runtime import tvm_process
from tvmkd.stacks import probe as probing
from tvmkd.stacks.probe import probe

LLVM, CUDA, CODEGEN = "target.llvm_version_major", "target.build.cuda", "relax.ext.tensorrt"


class Interpreter:
    """Which modules there are, and which global functions their TVM has.

    Attributes:
        missing: a module whose import fails, and the name that the error carries.
        error: what the import of TVM fails with.
    """

    def __init__(self, *functions: str, file: str | None = "tvm/__init__.py") -> None:
        self.missing: dict[str, str | None] = {}
        self.error: BaseException | None = None
        self.imported: list[str] = []
        self.asked: list[tuple[str, bool]] = []
        self.tvm = ModuleType("tvm")
        self.tvm.__file__ = file
        vars(self.tvm).update(__version__="0.27.0", get_global_func=self._function)
        self._functions = functions

    def _function(self, name: str, allow_missing: bool = False) -> Any:
        self.asked.append((name, allow_missing))
        return (lambda: "17") if name in self._functions else None

    def import_module(self, name: str) -> Any:
        self.imported.append(name)
        if name in self.missing:
            raise ModuleNotFoundError("no module", name=self.missing[name])
        if self.error is not None:
            raise self.error
        return self.tvm

    def look(self, patch: pytest.MonkeyPatch, needed: tuple[str, ...] = ()) -> dict[str, Any]:
        """The answer; of the needed modules only ``numpy`` is there."""
        with patch.context() as inside:
            inside.setattr(importlib, "import_module", self.import_module)
            inside.setattr(
                importlib.util, "find_spec", lambda name: "a spec" if name == "numpy" else None
            )
            return probe("relax", list(needed), CODEGEN, False)


VERSION = list(sys.version_info[:2])


def test_everything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Interpreter(LLVM, CUDA, CODEGEN)
    assert made.look(monkeypatch) == {
        "python_version": VERSION,
        "absent": [],
        "tvm": "0.27.0",
        "llvm": 17,
        "cuda": True,
        "tensorrt": True,
    }
    assert made.imported == ["tvm", "tvm.relax"]
    # Without the second argument TVM raises where a function is missing.
    assert made.asked == [(LLVM, True), (CUDA, True), (CODEGEN, True)]


@pytest.mark.parametrize(
    ("functions", "built_with"),
    [
        ((), (None, False, False)),
        ((LLVM,), (17, False, False)),
        ((CUDA,), (None, True, False)),
        ((CODEGEN,), (None, False, True)),
    ],
)
def test_each_function_tells_what_tvm_was_built_with(
    monkeypatch: pytest.MonkeyPatch, functions: tuple[str, ...], built_with: tuple[Any, ...]
) -> None:
    found = Interpreter(*functions).look(monkeypatch)
    assert (found["llvm"], found["cuda"], found["tensorrt"]) == built_with


def test_modules_that_the_worker_needs_and_that_are_absent_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Interpreter().look(monkeypatch, ("psutil", "numpy", "onnx"))
    assert found["absent"] == ["psutil", "onnx"]


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("tvm", "tvm", "no tvm"),
        ("tvm.relax", "tvm.relax", "no stack"),
        ("tvm", "attr", "no module"),
        ("tvm.relax", "tvm.relay", "no module"),
        ("tvm", None, "no module"),
    ],
)
def test_a_missing_module_is_named_with_its_kind(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str | None, kind: str
) -> None:
    made = Interpreter(LLVM)
    made.missing = {module: name}
    found = made.look(monkeypatch)
    assert (found["kind"], found["problem"]) == (kind, name)
    assert ("tvm" in found) == (module == "tvm.relax"), "the version is known where TVM is"
    assert "llvm" not in found


def test_a_folder_of_that_name_is_no_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Interpreter(file=None).look(monkeypatch)
    assert (found["kind"], found["problem"]) == ("no tvm", "tvm")
    assert "tvm" not in found
    made = Interpreter()
    del made.tvm.__file__
    assert made.look(monkeypatch)["kind"] == "no tvm"


def test_a_tvm_without_version_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Interpreter(LLVM)
    del made.tvm.__version__
    found = made.look(monkeypatch)
    assert (found["tvm"], "kind" in found) == ("unknown", False)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError("\n libLLVM.so: cannot open \n more"), "OSError: libLLVM.so: cannot open "),
        (AttributeError("one"), "AttributeError: one"),
        (RuntimeError(""), "RuntimeError: "),
        (RuntimeError(" \n"), "RuntimeError: "),
    ],
)
def test_a_broken_tvm_is_named_with_its_first_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, problem: str
) -> None:
    made = Interpreter()
    made.error = error
    found = made.look(monkeypatch)
    assert (found["kind"], found["problem"]) == ("broken", problem)
    assert "tvm" not in found


def test_only_an_exception_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Interpreter()
    made.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        made.look(monkeypatch)


@pytest.mark.parametrize("without", [True, False])
def test_torch_is_kept_out_before_tvm_is_imported(
    monkeypatch: pytest.MonkeyPatch, without: bool
) -> None:
    made = Interpreter()
    order: list[list[str]] = []
    monkeypatch.setattr(tvm_process, "without_torch", lambda: order.append(list(made.imported)))
    monkeypatch.setattr(importlib, "import_module", made.import_module)
    probe("relax", [], CODEGEN, without)
    assert order == ([[]] if without else [])


def test_the_last_line_that_it_prints_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Interpreter(LLVM)
    monkeypatch.setattr(importlib, "import_module", made.import_module)
    question = {
        "stack": "relay",
        "needed": [],
        "tensorrt_codegen": "relay.ext",
        "without_torch": False,
    }
    monkeypatch.setattr(sys, "argv", ["-c", json.dumps(question)])
    runpy.run_path(str(Path(probing.__file__)), run_name="__main__")
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (answer["llvm"], answer["tensorrt"]) == (17, False)
    assert made.imported == ["tvm", "tvm.relay"]
    assert made.asked[-1] == ("relay.ext", True)
