"""Puts the calls of a network with early exits into parts, one for each exit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tvmkd.base.exits import Rule
from tvmkd.stacks.standalone.graph import Call, Place, Storage, Tensor

LOGITS = "logits"
"""The name of such a library's only output."""

COPY = "tvmkd_rt_copy"
"""The runtime's kernel that copies a tensor."""


def in_parts(
    calls: Sequence[Call], outputs: Sequence[Tensor]
) -> tuple[tuple[Call, ...], tuple[int, ...]]:
    """Sorts calls so that each part computes what its exit needs, and no more.

    All exits give their logits in output 0: a part overwrites those of the one before.

    Args:
        calls: in an order of execution. A call that mentions a storage of the arena first writes
            it, all others read it.
        outputs: the logits of each exit.

    Returns:
        the calls, and for each exit how many of them lead to it.
    """
    part_of = _parts(calls, outputs)
    mentions: dict[Storage, set[int]] = {}
    for number, part in part_of.items():
        for tensor in calls[number].arguments:
            mentions.setdefault(tensor.storage, set()).add(part)
    given = [output.storage for output in outputs]
    made: list[Call] = []
    ends = []
    for part, output in enumerate(outputs):
        there = Storage(Place.OUTPUT, 0, output.storage.size)
        own = [calls[number] for number in sorted(part_of) if part_of[number] == part]
        # Another part would read what a third has overwritten, or overwrite what is to be read.
        alone = mentions.get(output.storage) == {part} and given.count(output.storage) == 1
        if alone and output.storage.place is Place.ARENA:
            own = [moved(call, {output.storage: there}) for call in own]
        else:
            target = Tensor(there, output.shape, output.dtype)
            own.append(Call("copy", COPY, (output, target)))
        made += own
        ends.append(len(made))
    return tuple(made), tuple(ends)


def _writers(calls: Sequence[Call]) -> dict[Storage, int]:
    found: dict[Storage, int] = {}
    for number, call in enumerate(calls):
        for tensor in call.arguments:
            if tensor.storage.place is Place.ARENA:
                found.setdefault(tensor.storage, number)
    return found


def _parts(calls: Sequence[Call], outputs: Sequence[Tensor]) -> dict[int, int]:
    """The first exit that needs a call, for each call that one needs."""
    writers = _writers(calls)
    found: dict[int, int] = {}
    for part, output in enumerate(outputs):
        wanted = [writers[output.storage]] if output.storage in writers else []
        while wanted:
            number = wanted.pop()
            if number not in found:
                found[number] = part
                read = {tensor.storage for tensor in calls[number].arguments}
                wanted += [writers[each] for each in read if each in writers]
    return found


def moved(call: Call, places: dict[Storage, Storage]) -> Call:
    """The call with other storages."""
    given = tuple(
        replace(each, storage=places.get(each.storage, each.storage)) for each in call.arguments
    )
    return replace(call, arguments=given)


def _arrays(rule: Rule | None) -> dict[str, Sequence[float]]:
    """The arrays of the description's members, those that there are."""
    found = {}
    if rule is not None:
        weights = [each for row in rule.weights for each in row]
        found = {
            "thresholds": rule.thresholds,
            "temperatures": rule.temperatures,
            "exit_weights": weights,
        }
    return {name: values for name, values in found.items() if values}


def tables(rule: Rule | None) -> str:
    """C arrays of a rule, with the exact numbers; empty without early exits."""
    return "".join(
        f"static const double {name}[] = {{{', '.join(float(each).hex() for each in values)}}};\n"
        for name, values in _arrays(rule).items()
    )


def members(rule: Rule | None) -> str:
    """The initialisers of a rule in the library's description."""
    return "".join(f"  .{name} = {name},\n" for name in _arrays(rule))


def output_of(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the library says of its output, from what the model says of its outputs."""
    return {**outputs[-1], "name": LOGITS}
