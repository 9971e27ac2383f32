"""Which checks an import makes of an ONNX file, in a process that has TVM."""

from __future__ import annotations

from pathlib import Path

import graphs
from in_relax import in_relax

SCRIPT = """
import importlib
from tvmkd.base.errors import InputError
checks = importlib.import_module("tvmkd.export.check")
good, strange = map(Path, sys.argv[1:])
info = checks.check(good)

def refuse(*_):
    raise AssertionError("checked again")

# A name that ONNX knows and Relax cannot import.
importer.supported = lambda: {"Conv"}
said = []
for path, given in ((good, checks.check(good)), (good, None)):
    try:
        importer.read(path, {}, given)
    except InputError as error:
        said.append(str(error))
importer.supported = lambda: {"Conv", "Relu", "Gemm", "GlobalAveragePool", "Flatten", "Reshape",
                              "Constant", "MatMul", "Add", "ReduceMean", "Clip"}
importer.check = refuse
read = importer.read(good, {}, info)
print(json.dumps([read.info == info, len(said), *{text.split(";")[0] for text in said}]))
"""


def test_a_file_that_was_checked_is_only_checked_for_operators_that_relax_lacks(
    tmp_path: Path,
) -> None:
    good = graphs.separable(tmp_path / "m.onnx")
    same, count, *messages = in_relax(SCRIPT, good, good)
    assert (same, count, len(messages)) == (True, 2, 1)
    assert str(good) in messages[0]
