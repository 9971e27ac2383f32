"""Links the objects of a library with the target's linker."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.errors import TvmkdError
from tvmkd.base.toolchain import linker_for


class Linker:
    """The linker that ``export_library`` calls.

    Args:
        toolchain: ``Target.to_dict()["toolchain"]``.
    """

    def __init__(self, toolchain: Mapping[str, Any]) -> None:
        self._command = linker_for(toolchain)
        self._triple = str(toolchain["triple"])
        self.output_format = "so"

    def get_target_triple(self) -> str:
        """The target triple; TVM asks for it if a library holds only regions of other engines."""
        return self._triple

    def __call__(
        self,
        output: str,
        objects: Sequence[str],
        aliases: Mapping[str, str] | None = None,
        **_: Any,
    ) -> None:
        """Links ``objects`` into the shared library ``output``.

        Args:
            aliases: more names of symbols in the objects, by the new name.

        Raises:
            TvmkdError: the linker failed; holds the last line of its message.
        """
        # gcc and cc pass an option on to the linker in this form.
        prefix = "" if "ld" in Path(self._command[0]).name or "ld.lld" in self._command else "-Wl,"
        more = [f"{prefix}--defsym={new}={old}" for new, old in (aliases or {}).items()]
        command = [*self._command, "-o", output, *objects, *more]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TvmkdError(f"linking failed ({command[0]}): {last}")
