"""A worker of a study: trial after trial, until there are enough; dead workers' trials as well."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvmkd.base import signals
from tvmkd.base.errors import InputError
from tvmkd.search.study import points
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.owners import (
    NAMELESS_SECONDS,
    SILENT_SECONDS,
    Listener,
    alive,
    beating,
    this_process,
)
from tvmkd.search.study.proposals import Proposals, hand_back, open_slots
from tvmkd.search.study.trial import carry_out

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from tvmkd.search.structure import Structure

WAIT_SECONDS = 0.25
"""Between two looks at the study, while others do the last trials."""
FIRST_FAILURES = 5
"""If so many trials have failed in the same way, and none has not, the search ends."""
LATER_FAILURES = 20
"""If the last so many trials have failed, the search ends."""
TOO_SLOW = 200
"""If the last so many networks were predicted to be too slow, the search ends."""
DEATHS = 3
"""A network during which so many processes died is a failed one."""


def work(bench: Bench) -> None:
    """Does trials until the study has as many as it should.

    Raises:
        InputError: all trials fail.
        KeyboardInterrupt: the trial that ran has been handed back, and will be continued.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    study, search = bench.study, bench.plan.search
    # What failed before this run may have been mended since.
    before = study.get_trials(deepcopy=False)
    forgiven = {trial.number for trial in before if trial.state == TrialState.FAIL}
    # A call with more trials looks on.
    seen = len(before)
    proposals = Proposals(study, bench.space, bench.goal, search.seed, search.trials, forgiven)
    listener = Listener()
    # This process may have been interrupted between two steps of an earlier call.
    adopt(bench, [each for each in before if _own(each)], listener, own=True)
    while True:
        trials = study.get_trials(deepcopy=False)
        adopt(bench, trials, listener)
        check_failures([each for each in trials if each.number not in forgiven])
        left, free = open_slots(trials, search.trials)
        if not left:
            return
        if all_too_slow(trials[seen:]):
            bench.note(
                f"warning: the last {TOO_SLOW} networks were predicted to be too slow: the search "
                f"ends {left} networks early; give a larger budget, or smaller networks in the "
                "space"
            )
            return
        if not free:
            bench.doing("waiting for the last trials")
            time.sleep(WAIT_SECONDS * random.uniform(0.5, 1.5))
            continue
        try:
            found = proposals.next()
            if found is None:
                bench.doing("no network is left to try")
                if any(points.active(each) for each in study.get_trials(deepcopy=False)):
                    time.sleep(WAIT_SECONDS)
                    continue
                check_failures(study.get_trials(deepcopy=False), ended=True)
                if bench.worker == 0:
                    bench.note(
                        f"warning: the space has no more networks: {search.trials - left} of "
                        f"{search.trials} were trained"
                    )
                return
            trial, structure = found
            one(bench, trial, structure)
        except UpdateFinishedTrialError:
            bench.note("warning: another worker has taken over this trial: this one was silent")
        bench.event("trial", {"worker": bench.worker})


def one(bench: Bench, trial: optuna.Trial, structure: Structure) -> None:
    """One trial, with a sign of life once a minute."""
    from optuna.trial import TrialState

    if trial.user_attrs.get(points.DEATHS, 0) >= DEATHS:
        trial.set_user_attr(points.ERROR, f"its process died {DEATHS} times while it worked on it")
        bench.study.tell(trial, state=TrialState.FAIL)
        return
    try:
        with beating(lambda number: trial.set_user_attr(points.BEAT, number)):
            carry_out(bench, trial, structure)
    except KeyboardInterrupt:
        # A second signal often follows the first: of a shell, or of what started the search.
        with signals.handled(dict.fromkeys(signals.ending(), signal.SIG_IGN)):
            frozen = bench.study.get_trials(deepcopy=False)[trial.number]
            if not frozen.state.is_finished():
                hand_back(bench.study, frozen, "interrupted")
        raise


def _own(trial: FrozenTrial) -> bool:
    """Whether a trial says that this process runs it."""
    return bool(trial.user_attrs.get(points.OWNER) == this_process().to_dict())


def adopt(
    bench: Bench, trials: Sequence[FrozenTrial], listener: Listener, *, own: bool = False
) -> None:
    """Hands back the trials of processes that are dead; with ``own`` also those of this one."""
    from optuna.trial import TrialState

    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        owner = trial.user_attrs.get(points.OWNER)
        lives = False if own else alive(owner)
        if lives is None:
            seconds = NAMELESS_SECONDS if owner is None else SILENT_SECONDS
            lives = not listener.silent(trial.number, trial.user_attrs.get(points.BEAT), seconds)
        if lives:
            continue
        why = "it was interrupted" if own else "its process died"
        if hand_back(bench.study, trial, why, died=not own):
            bench.note(f"trial {trial.number}: {why}; it is continued")


def all_too_slow(trials: Sequence[FrozenTrial]) -> bool:
    """Whether the last `TOO_SLOW` networks were not trained, because they cannot win."""
    last = _over(trials)[-TOO_SLOW:]
    return len(last) == TOO_SLOW and all(points.INFEASIBLE in each.user_attrs for each in last)


def _over(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials of networks that are finished."""
    return [
        each for each in trials if each.state.is_finished() and points.VOID not in each.user_attrs
    ]


def check_failures(trials: Sequence[FrozenTrial], *, ended: bool = False) -> None:
    """Ends a search whose trials all fail.

    Args:
        trials: of the study.
        ended: there are no other networks.

    Raises:
        InputError: they do; has the line of the first one.
    """
    from optuna.trial import TrialState

    over = _over(trials)
    failed = [each for each in over if each.state == TrialState.FAIL]
    if not failed:
        return
    lines = [str(each.user_attrs.get(points.ERROR, "")) for each in failed]
    if ended and len(failed) == len(over):
        raise InputError(f"all {len(failed)} networks of the space failed: {lines[0]}")
    alike = len({re.sub(r"\d+(\.\d+)?", "#", line) for line in lines[:FIRST_FAILURES]}) == 1
    if len(failed) == len(over) >= FIRST_FAILURES and alike:
        raise InputError(f"the first {FIRST_FAILURES} networks all failed: {lines[0]}")
    last = over[-LATER_FAILURES:]
    if len(last) == LATER_FAILURES and all(each.state == TrialState.FAIL for each in last):
        raise InputError(f"the last {LATER_FAILURES} networks all failed: {lines[-1]}")
