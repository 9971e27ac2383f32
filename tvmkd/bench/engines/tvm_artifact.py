"""A compiled artifact: the folder that ``tvmkd build`` writes. Tuned and untuned are one engine."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvmkd.bench.engines.base import Engine, Inputs

if TYPE_CHECKING:
    from tvmkd.base.manifest import Manifest


class TvmEngine(Engine):
    """`tvmkd.load(folder)`, called as a user calls it. Threads come from ``TVM_NUM_THREADS``."""

    def prepare(self, example: Inputs) -> None:
        """Loads the artifact: its files' hashes and the machine are checked there."""
        del example
        # tvm_ffi imports torch where it finds it: 500 MB and seconds that this engine never uses.
        if "torch" not in sys.modules:
            sys.modules["torch"] = None  # type: ignore[assignment]
        from tvmkd import artifact

        self.artifact = artifact.load(self.path())

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """``artifact(*arrays)``."""
        return functools.partial(self.artifact, *inputs.values())

    def facts(self) -> dict[str, Any]:
        """Stack, version, target and how much of the model is tuned."""
        manifest = self.artifact.manifest
        return {
            "version": manifest.stack_version,
            "stack": manifest.stack,
            "target": manifest.target.get("name"),
            "coverage": manifest.coverage,
            "onnx_sha256": manifest.onnx_sha256,
            **spent(manifest),
        }


def spent(manifest: Manifest) -> dict[str, float | None]:
    """Seconds that building the artifact took, and the trials whose records it holds.

    None where the manifest does not tell: it is older, or its records came without their trials.
    """
    trials: list[Any] = [made.get("trial_seconds") for made in manifest.records if made.get("used")]
    return {
        "engine_build_seconds": manifest.coverage.get("build_seconds"),
        "tuning_seconds": None if None in trials or not trials else float(sum(trials)),
    }
