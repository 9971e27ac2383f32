"""What a study's results hold for: kept in it, so that another search does not continue it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError

if TYPE_CHECKING:
    import optuna

    from tvmkd.search.study.bench import Plan
    from tvmkd.search.study.goal import Goal

ATTRIBUTE = "made for"
FORMAT = 1


def fingerprint(plan: Plan, data: str, goal: Goal) -> dict[str, Any]:
    """The facts that results of a study depend on, JSON-safe and short.

    Args:
        plan: of the search.
        data: hash of the data, see `Task.sha256`.
        goal: of the study.
    """
    cfg, target = plan.cfg, plan.target
    # Without defaults: a newer tvmkd has more keys.
    plain: dict[str, Any] = {"mode": "json", "exclude_defaults": True}
    learning = cfg.model_dump(include={"data", "distill", "detection"}, **plain)
    learning["seed"] = cfg.project.seed
    parts = {"prune", "quantize", "early_exit", "export"}
    finishing = cfg.model_dump(include=parts, exclude={"export": {"allow_slow"}}, **plain)
    teacher = cfg.teacher.model_dump(**plain) if cfg.distill.loss != "ce" else None
    return {
        "format": FORMAT,
        "target": target.name,
        "target file": _short(target.to_dict()),
        "stack": cfg.tune.stack,
        "data": data[:16],
        "space": {name: values.model_dump(**plain) for name, values in plan.search.space.items()},
        "student": cfg.student.model_dump(**plain),
        "teacher": _short(teacher),
        "training": _short(learning),
        "finishing": _short(finishing) if any(finishing.values()) else None,
        "objective": goal.objective,
        "budget": goal.budget,
        "weights": [goal.alpha, goal.beta] if goal.objective == "weighted" else None,
    }


def claim(study: optuna.Study, facts: dict[str, Any], place: str) -> bool:
    """Marks a new study with the facts, or checks that an older one was made with the same.

    A study in which nothing was tried yet is a new one: its budget, or its space, was wrong.

    Args:
        study: Optuna's.
        facts: of this search.
        place: of the study, for the message.

    Returns:
        True if it was made with others, which are gone.

    Raises:
        InputError: they differ; says in what.
    """
    known = study.user_attrs.get(ATTRIBUTE)
    tried = study.get_trials(deepcopy=False)
    if known is None or (not tried and difference(known, facts) is not None):
        if tried:
            raise InputError(
                f"{place}: the study {study.study_name} is not of tvmkd search; give another "
                "[project] name, or another storage"
            )
        study.set_user_attr(ATTRIBUTE, facts)
        return known is not None
    found = difference(known, facts)
    if found is not None:
        raise InputError(
            f"{place}: the study {study.study_name} was made with {found}; give another [project] "
            "name and out to search anew, or put it back"
        )
    return False


def difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The first fact in which two searches differ, in words; None: they are alike."""
    if old.get("format") != new["format"]:
        return "another version of tvmkd"
    if old["space"] != new["space"]:
        return f"another space ({_of_spaces(old['space'], new['space'])})"
    for name, value in new.items():
        if old.get(name) == value:
            continue
        if name in ("target", "objective", "budget", "stack"):
            return f"{name} = {_text(old.get(name))}, and this one has {_text(value)}"
        return _WORDS.get(name, f"another {name}")
    return None


_WORDS = {
    "target file": "another content of the target's file",
    "data": "other data",
    "student": "another [student]",
    "teacher": "another [teacher]",
    "training": "other settings in [data], [distill], [detection] or [project] seed",
    "finishing": "other settings in [prune], [quantize], [early_exit] or [export]",
    "weights": "another alpha or beta",
}


def _of_spaces(old: dict[str, Any], new: dict[str, Any]) -> str:
    gone, more = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    if gone or more:
        return f"{(gone or more)[0]} is in {'that one' if gone else 'this one'} only"
    name = next(name for name in old if old[name] != new[name])
    return f"{name}: {_text(old[name])} there, {_text(new[name])} here"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
