"""The artifacts of a training's students: one for each structure, since weights take no time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from tvmkd import artifact
from tvmkd.base.manifest import Manifest

if TYPE_CHECKING:
    from tvmkd.targets import Target


class Artifacts:
    """Builds students without trials, with the kernels that are tuned already.

    Args:
        folder: gets an artifact for each structure; an intact one there is used.
        target: to build for.
        stack: the compiler stack.
        records: folders of tuning records.
        shape: of the input, batch first.
        code: identifies the user's code behind the student, if any.
    """

    def __init__(
        self,
        folder: Path,
        target: Target,
        stack: str,
        records: Sequence[Path],
        shape: Sequence[int],
        code: str | None = None,
    ) -> None:
        self._folder, self._target, self._stack = folder, target, stack
        self._records, self._shape, self._code = list(records), tuple(shape), code
        self._known: dict[str, Manifest] = {}

    def structure(self, network: nn.Module) -> str:
        """A hash of everything that decides a network's time: not of its weights."""
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        facts = (str(network), shapes, self._shape, self._target.to_dict(), self._stack, self._code)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def of(self, network: nn.Module) -> tuple[Path, Manifest]:
        """The artifact of a network's structure.

        Args:
            network: in evaluation mode, on the CPU.

        Raises:
            InputError: the network cannot be exported or compiled.
        """
        name = self.structure(network)
        place = self._folder / name
        if name not in self._known:
            # One of an earlier process may have been built with fewer records.
            self._known[name] = self._build(network, place)
        return place / "artifact", self._known[name]

    def _build(self, network: nn.Module, place: Path) -> Manifest:
        from tvmkd.export import export
        from tvmkd.stacks.compile import build

        place.mkdir(parents=True, exist_ok=True)
        onnx = export(network, place / "student.onnx", self._shape)
        try:
            build(onnx, self._target, self._records, place / "artifact", stack=self._stack)
        finally:
            for path in place.glob("student.onnx*"):
                path.unlink()
        return artifact.read(place / "artifact")
