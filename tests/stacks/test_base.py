from __future__ import annotations

from tvmkd.stacks import base, messages


def test_every_method_of_the_protocol_can_be_called_in_a_worker() -> None:
    found = [name for name in vars(base.Stack) if not name.startswith("_")]
    assert tuple(found) == base.METHODS
    # All but one have a request to read.
    assert set(base.METHODS) - set(messages.REQUESTS) == {"available"}
