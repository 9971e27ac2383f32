from __future__ import annotations

import numpy as np

from tvmkd.base.exits import Rule
from tvmkd.stacks.standalone.exits import COPY, in_parts, members, tables
from tvmkd.stacks.standalone.graph import Call, Place, Storage, Tensor

FLOAT = np.dtype(np.float32)
X = Tensor(Storage(Place.INPUT, 0, 40), (1, 10), FLOAT)
OUT = Storage(Place.OUTPUT, 0, 40)


def value(number: int) -> Tensor:
    return Tensor(Storage(Place.ARENA, number, 40), (1, 10), FLOAT)


def call(name: str, *arguments: Tensor) -> Call:
    return Call(name, name, arguments)


def names(calls: tuple[Call, ...]) -> list[str]:
    return [each.kernel for each in calls]


A, B, C, D = (value(number) for number in range(4))


def test_each_part_has_what_its_exit_needs_and_no_more() -> None:
    # As a compiler may sort them: the trunk first, the exits' heads last.
    calls = [
        call("trunk0", X, A),
        call("trunk1", A, B),
        call("unused", X, value(9)),
        call("head1", B, D),
        call("head0", A, C),
    ]
    made, ends = in_parts(calls, [C, D])
    assert names(made) == ["trunk0", "head0", "trunk1", "head1"]
    assert ends == (2, 4)
    # Both heads write the one output.
    assert [made[index].arguments[-1].storage for index in (1, 3)] == [OUT, OUT]
    assert made[2].arguments == (A, B)


def test_logits_that_a_later_part_reads_are_copied() -> None:
    calls = [call("head0", X, A), call("more", A, B), call("head1", B, C)]
    made, ends = in_parts(calls, [A, C])
    assert names(made) == ["head0", "copy", "more", "head1"]
    assert made[1] == Call("copy", COPY, (A, Tensor(OUT, (1, 10), FLOAT)))
    assert ends == (2, 4)
    assert made[3].arguments[-1].storage == OUT


def test_a_kernel_of_two_exits_does_not_overwrite_the_first() -> None:
    made, ends = in_parts([call("both", X, A, B)], [A, B])
    assert names(made) == ["both", "copy"]
    assert [tensor.storage for tensor in made[0].arguments[1:]] == [OUT, B.storage]
    assert ends == (1, 2)


def test_one_result_for_two_exits_and_an_input_as_logits_are_copied() -> None:
    made, ends = in_parts([call("only", X, A)], [A, A, X])
    assert names(made) == ["only", "copy", "copy", "copy"]
    assert [each.arguments[0] for each in made[1:]] == [A, A, X]
    assert ends == (2, 3, 4)


def test_a_rule_is_written_exactly_and_no_more_than_there_is() -> None:
    assert tables(None) == members(None) == ""
    third = 1 / 3
    assert tables(Rule((third,))) == f"static const double thresholds[] = {{{third.hex()}}};\n"
    assert members(Rule((third,))) == "  .thresholds = thresholds,\n"
    both = Rule((0.5, 0.5), (1.0, 2.0, 3.0), ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))
    arrays = tables(both).splitlines()
    assert [line.count("0x") for line in arrays] == [2, 3, 8]
    assert members(both).splitlines()[1:] == [
        "  .temperatures = temperatures,",
        "  .exit_weights = exit_weights,",
    ]
