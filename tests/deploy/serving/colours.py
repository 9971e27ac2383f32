"""A model that knows red, green and blue, for tests of the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from running import make_toy

COMPILE = """
import sys
sys.modules["torch"] = None
import tvm
from tvm.script import ir as I, relax as R

@I.ir_module
class Module:
    @R.function
    def main(image: R.Tensor((1, 3, 16, 16), "float32")):
        with R.dataflow():
            means = R.mean(image, axis=[2, 3])
            scores = R.multiply(means, R.const(9.0, "float32"))
            R.output(scores)
        return scores

target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
tvm.compile(Module, target=target).export_library(sys.argv[1])
"""


def make_colours(folder: Path) -> Path:
    """An artifact: the mean of each channel, times nine, float32 1 x 3 x 16 x 16 -> 1 x 3."""
    library = folder.parent / "colours.so"
    script = library.with_suffix(".py")  # TVMScript reads its own source
    script.write_text(COMPILE, encoding="utf-8")
    subprocess.run([sys.executable, script, library], check=True, timeout=120)
    steps = {"color": "RGB", "scale": 1 / 255, "resize": [16, 16], "mean": [0.0] * 3,
             "std": [1.0] * 3, "layout": "NCHW"}  # fmt: skip
    return make_toy(
        folder,
        library,
        name="colours",
        inputs=[{"name": "image", "shape": [1, 3, 16, 16], "dtype": "float32"}],
        outputs=[{"name": "scores", "shape": [1, 3], "dtype": "float32"}],
        metadata={
            "classes": json.dumps(["red", "green", "blue"]),
            "preprocessing": json.dumps(steps),
            "metric": "test accuracy 1.0000",
        },
        check={"against": "onnxruntime fp32", "samples": 4, "max_error": 1e-7, "tolerance": 1e-3},
        coverage={"tasks": 2, "tuned": 2},
    )
