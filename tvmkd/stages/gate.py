"""The stage ``gate``: holds the comparison against what the config requires."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.stages.base import Stage
from tvmkd.stages.report import Report


class Gate(Stage):
    """Whether every requirement holds."""

    name = "gate"
    after = Report

    @property
    def _required(self) -> list[str]:
        return self.context.cfg.gate.require

    def check(self) -> list[str]:
        """Parses the requirements."""
        if self._required:
            from tvmkd.bench import gate

            for text in self._required:
                if gate.names_stream(gate.parse(text)):
                    raise InputError(
                        f"[gate] require {text!r}: a run has no stream; stream its artifact with "
                        "tvmkd stream --out, and check that with tvmkd gate"
                    )
        return []

    def inputs(self) -> dict[str, Any]:
        """The comparison and the requirements."""
        return {"comparison": self.context.hash(self.context.comparison), "require": self._required}

    def outputs(self) -> list[Path]:
        """None: the result is in the run's state."""
        return []

    def run(self) -> dict[str, Any]:
        """Returns ``passed`` and, for each requirement, a check."""
        from tvmkd.bench import gate
        from tvmkd.bench.schema import Comparison

        checks = gate.evaluate(Comparison.load(self.context.comparison), self._required)
        return {
            "passed": all(check.holds for check in checks),
            "checks": [dataclasses.asdict(check) for check in checks],
        }
