from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base import engine_registry
from tvmkd.base.errors import UsageError
from tvmkd.bench.engines.base import Engine

PACKAGE = Path(engine_registry.__file__).parents[1]
ELSEWHERE = {"tensorrt", "tensorrt-rtx", "onnxruntime", "torch", "tvm"}
"""Names that mean a package or a product as well."""


@pytest.mark.parametrize("name", engine_registry.ENGINES)
def test_every_name_is_an_engine(name: str) -> None:
    kind = engine_registry.load(name)
    assert issubclass(kind, Engine)
    there = kind.board_engine
    assert there is None or engine_registry.load(there).link is not None


def test_no_other_module_names_an_engine() -> None:
    """Beside the classes themselves, which name their counterpart on a board."""
    named = set(engine_registry.ENGINES) - ELSEWHERE
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "engine_registry.py" and path.parent.name != "engines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in named
    ]
    assert found == [], "take the name from tvmkd.base.engine_registry"


def test_a_run_names_engines_that_need_no_gpu() -> None:
    assert not any(engine_registry.load(name).needs_gpu() for name in engine_registry.RUN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onnxruntim", 'no engine "onnxruntim"; did you mean "onnxruntime"? (known: torch, '),
        ("onnxruntime:cuba", 'no engine "onnxruntime:cuba"; did you mean "onnxruntime:cuda"?'),
        ("tvm:relux", 'no engine "tvm:relux"; did you mean "tvm:relax"?'),
        ("mine.engines:", 'no engine "mine.engines:" (known'),
        ("mine..engines:Engine", 'no engine "mine..engines:Engine" (known'),
        ("", 'no engine "" (known'),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_one(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine_registry.check(name)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("or package.module:Class)")


def test_an_engine_of_one_s_own_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_engine.py").write_text("class Mine: pass\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert engine_registry.check("my_engine:Mine") == "my_engine:Mine"
    assert engine_registry.load("my_engine:Mine").__name__ == "Mine"
    with pytest.raises(UsageError, match=r'engine "my_engine:Other": cannot be imported: .*Other'):
        engine_registry.load("my_engine:Other")
    with pytest.raises(UsageError, match=r'engine "no\.such:Thing": cannot be imported'):
        engine_registry.load("no.such:Thing")


def test_names_and_classes_load_no_engine_s_library() -> None:
    code = (
        "import sys, tvmkd.base.engine_registry as r; r.check('tvm')\n"
        "assert not {'numpy', 'pydantic'} & set(sys.modules)\n"
        "[r.load(name) for name in r.ENGINES]\n"
        "heavy = {'torch', 'tvm', 'onnxruntime', 'onnx', 'tensorrt', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
