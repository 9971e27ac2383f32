"""Whether an update is kept, from counts of held-back and new examples."""

import math
from typing import Any, Dict

SURE = 0.9
"""Probability of a class from which on a head is sure."""
CHANCE = 0.05
"""Level of the tests."""


def tail(trials: int, least: int, share: float) -> float:
    """The probability that of so many trials at least ``least`` succeed, each with ``share``.

    With 0.5 it is the one-sided exact sign test. Of two heads, whose trials are the examples that
    only one of them gets right, that is McNemar's test (Psychometrika, 1947).
    """
    if least <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    found, term, odds = 0.0, trials * math.log1p(-share), math.log(share / (1 - share))
    for number in range(trials + 1):
        if number >= least:
            found += math.exp(term)
        if number < trials:
            term += math.log((trials - number) / (number + 1)) + odds
    return found


def reason_against(found: Dict[str, Any], max_forgetting: float, max_contradiction: float) -> str:
    """Why an update is dropped; "": it is kept.

    Args:
        found: counts of examples. ``guard``, ``fresh``, ``new``: all that are held back: shipped,
            learned in earlier updates, of this one. ``guard_shipped``: right with the shipped head;
            ``NAME_before``, ``NAME_after``: with the present one, with the update's.
            ``old_won``, ``old_lost``: of the first two sets, right with the update's head only,
            with the present one only; ``new_won``, ``new_lost``: of the third. ``sure``: new ones
            of known classes about which the present head is sure; ``contradicted``: of these, with
            another label.
        max_forgetting, max_contradiction: see ``DEFAULTS``.
    """
    guard, fresh, new = found["guard"], found["fresh"], found["new"]
    loss, gain = found["old_lost"] - found["old_won"], found["new_after"] - found["new_before"]
    doubt = tail(found["sure"], found["contradicted"], max_contradiction)
    if doubt <= CHANCE:
        return "labels: %d of %d new examples contradict what the head is sure of" % (
            found["contradicted"], found["sure"])  # fmt: skip
    if found["guard_shipped"] - found["guard_after"] > max_forgetting * guard:
        return "forgets: %d of %d shipped held-back examples are right, %d were" % (
            found["guard_after"], guard, found["guard_shipped"])  # fmt: skip
    if found["fresh_before"] - found["fresh_after"] > max(1, max_forgetting * fresh):
        return "forgets: %d of %d learned held-back examples are right, %d were" % (
            found["fresh_after"], fresh, found["fresh_before"])  # fmt: skip
    if gain <= 0:
        return "no gain: %d of %d new held-back examples are right, %d were" % (
            found["new_after"], new, found["new_before"])  # fmt: skip
    luck = tail(found["new_won"] + found["new_lost"], found["new_won"], 0.5)
    harm = tail(found["old_won"] + found["old_lost"], found["old_lost"], 0.5)
    # Equal ones can differ by rounding.
    weak = luck > max(CHANCE, harm) * (1 + 1e-9)
    if max_forgetting < 1 and loss > 0 and (weak or gain * (guard + fresh) <= loss * new):
        return ("costs more than it gains: %d of %d old held-back examples, for %d of %d new ones"
                % (loss, guard + fresh, gain, new))  # fmt: skip
    return ""
