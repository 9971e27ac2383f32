from __future__ import annotations

import numpy as np

from tvmkd.distill import label_order


def test_the_order_is_that_of_most_right_answers() -> None:
    """Output 0 is given for class 1, 1 for 2, 2 for 0, with one wrong answer."""
    labels = np.array([1, 1, 2, 2, 0, 0, 0])
    answers = np.array([0, 0, 1, 1, 2, 2, 1])
    order = label_order.best(labels, answers, 3)
    assert order.tolist() == [1, 2, 0]
    assert (order[answers] == labels).tolist() == [True] * 6 + [False]


def test_classes_that_are_never_answered_stay() -> None:
    assert label_order.best(np.array([3, 3]), np.array([3, 3]), 5).tolist() == [0, 1, 2, 3, 4]
    order = label_order.best(np.array([1, 2]), np.array([2, 1]), 5)
    assert order.tolist() == [0, 2, 1, 3, 4]


def test_the_text_names_a_few() -> None:
    names = ["ant", "bee", "cat", "dog", "eel"]
    assert label_order.text(np.array([1, 0, 2, 3, 4]), names) == (
        'output 0 is "bee", output 1 is "ant"'
    )
    assert label_order.text(np.array([1, 2, 3, 4, 0]), names).endswith('"dog" and 2 more')
