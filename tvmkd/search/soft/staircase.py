"""Which channel counts are worth a choice: the steps of the target's staircase.

A kernel does not get faster with each channel that goes: vectors, tiles and threads want counts of
their own, and a narrower layer may even be slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tvmkd.search.soft.choices import Choice
from tvmkd.search.soft.differences import Predict, questions

SAVING = 0.002  # of the whole latency: a choice that can save less is none
MOST_OPTIONS = 5  # of a group
MOST_QUESTIONS = 400  # networks to ask about


def efficient(
    choices: Sequence[Choice], predict: Predict, tell: Callable[[], None] = lambda: None
) -> list[Choice]:
    """The choices that matter, with the options on the edges of the steps.

    Args:
        choices: with all channel counts in question.
        predict: the latency of a structure.
        tell: called after each question.
    """
    whole = predict({})
    found: list[tuple[float, Choice]] = []
    for choice in choices:
        times = [whole]
        for option in choice.options[1:]:
            times.append(predict({choice.name: option}))
            tell()
        kept = steps(choice.options, times)
        saved = whole - times[choice.options.index(kept[-1])]
        if len(kept) > 1 and saved >= SAVING * whole:
            found.append((saved, replace(choice, options=thinned(kept, MOST_OPTIONS))))
    return _affordable(choices, found)


def steps(options: Sequence[int], times: Sequence[float]) -> tuple[int, ...]:
    """Those options, given from most to least, that are faster than all that keep more."""
    kept, best = [options[0]], times[0]
    for option, time in zip(options[1:], times[1:], strict=True):
        if time < best:
            kept.append(option)
            best = time
    return tuple(kept)


def thinned(options: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many options, evenly spread, with the first and the last."""
    if len(options) <= most:
        return tuple(options)
    last = len(options) - 1
    return tuple(options[round(place * last / (most - 1))] for place in range(most))


def _affordable(choices: Sequence[Choice], found: list[tuple[float, Choice]]) -> list[Choice]:
    """The most useful choices, as many as there is time for."""
    order = {choice.name: place for place, choice in enumerate(choices)}
    found = sorted(found, key=lambda each: -each[0])
    some = [choice for _, choice in found]
    while questions(some) > MOST_QUESTIONS:
        some = some[: len(some) * 9 // 10]
    return sorted(some, key=lambda choice: order[choice.name])
