"""``tvmkd_learner.py``: one file of Python 3.6 and numpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import learner_heads
import numpy as np
from learner_heads import taught

from tvmkd.deploy import learner_file
from tvmkd.deploy.board_learner.learner import Learner

ALLOWED = {"hashlib", "math", "numpy", "os", "struct", "typing"}


def test_it_is_python_3_6_with_numpy() -> None:
    tree = ast.parse(learner_file.text(), feature_version=(3, 6))
    names = {
        *(a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names),
        *(str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)),
    }
    assert names <= ALLOWED
    assert {path.stem for path in learner_file.SOURCES.glob("*.py")} == {
        "__init__",
        *learner_file.ORDER,
    }


def test_no_two_modules_define_the_same_name() -> None:
    seen: set[str] = set()
    for node in ast.parse(learner_file.text()).body:
        defined = []
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined = [node.name]
        elif isinstance(node, ast.Assign):
            found = [each for target in node.targets for each in ast.walk(target)]
            defined = [each.id for each in found if isinstance(each, ast.Name)]
        assert not seen & set(defined)
        seen |= set(defined)


def test_the_file_learns_as_the_package_does(tmp_path: Path) -> None:
    path = learner_heads.written(tmp_path)
    (tmp_path / learner_file.NAME).write_text(learner_file.text())
    rows, labels = learner_heads.lesson("new")
    np.savez(tmp_path / "lesson.npz", rows=rows, labels=labels)
    code = (
        "import sys, numpy as np; from tvmkd_learner import Learner\n"
        "learner, given = Learner('head.bin'), np.load('lesson.npz')\n"
        "for row, label in zip(given['rows'], given['labels']): learner.add(row, int(label))\n"
        "learner.begin()\n"
        "while learner.step(100) in ('training', 'checking'): pass\n"
        "assert learner.phase == 'accepted' and 'tvmkd' not in sys.modules\n"
        "np.save('found.npy', learner.active[0])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    learner = Learner(path)
    assert taught(learner, "new") == "accepted"
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), learner.active[0])
