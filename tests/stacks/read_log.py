"""Prints how many records upstream's own reader finds in an AutoScheduler log."""

from __future__ import annotations

import sys

from tvmkd.tuning import tuner_backend

tuner_backend.of("relay").import_compiler()

from tvm.auto_scheduler import ApplyHistoryBest, load_records  # noqa: E402

found = list(load_records(sys.argv[1]))
assert ApplyHistoryBest(sys.argv[1]).best_by_targetkey
print(len(found))
