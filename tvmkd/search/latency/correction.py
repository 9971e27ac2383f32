"""What production has corrected a latency table by: ``feedback.json`` in its folder.

A correction is one factor for the whole table: a lower clock, a new driver or heat slow all kernels
down more or less alike; what does not is measured again.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text, write_json
from tvmkd.search.latency.feedback import LIMITS, Verdict
from tvmkd.search.latency.prediction import Prediction

FILE, SCHEMA = "feedback.json", 1
WIDEST = 1.25
"""A correction needs to know the ratio better: high end over low end of its interval."""


def factor(folder: Path) -> float:
    """What a table's predictions are multiplied by: 1.0, unless production has corrected them.

    Raises:
        InputError: the folder's ``feedback.json`` is damaged.
    """
    return float(_read(folder)["factor"])


def corrected(prediction: Prediction, factor: float) -> Prediction:
    """A prediction times a factor, all its parts included."""
    if factor == 1.0:
        return prediction
    return Prediction(
        prediction.seconds * factor,
        prediction.low * factor,
        prediction.high * factor,
        [replace(each, seconds=each.seconds * factor) for each in prediction.kernels],
        prediction.fixed * factor,
    )


def update(folder: Path, verdict: Verdict, source: str, model: str) -> float:
    """Corrects a table by what was seen; returns the new factor.

    Args:
        folder: the table's.
        verdict: against the predictions with the present factor.
        source: where the times come from.
        model: what they are of.

    Raises:
        InputError: the ratio is not known well enough, or the file is damaged or cannot be written.
    """
    if verdict.high / verdict.low > WIDEST:
        raise InputError(
            f"the ratio is between {verdict.low:.2f} and {verdict.high:.2f}, too uncertain to "
            "correct a table by it: give times of single calls"
        )
    known = _read(folder)
    new = known["factor"] * verdict.ratio
    entry = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "source": source,
        "model": model,
        "count": verdict.count,
        "ratio": verdict.ratio,
        "interval": [verdict.low, verdict.high],
    }
    entries = [*known["entries"], entry]
    write_json(folder / FILE, {"schema_version": SCHEMA, "factor": new, "entries": entries})
    return float(new)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    try:
        data = json.loads(read_text(path))
        if data["schema_version"] != SCHEMA:
            raise InputError(f"{path} has schema {data['schema_version']}; remove it")
        if not (LIMITS[0] / 10 < float(data["factor"]) < LIMITS[1] * 10):
            raise ValueError
        return {"factor": float(data["factor"]), "entries": list(data["entries"])}
    except FileNotFoundError:
        return {"factor": 1.0, "entries": []}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is damaged; remove it to use the table without corrections"
        ) from None
