"""Two requests are equal only if they are the same object, whatever they hold."""

from __future__ import annotations

import asyncio
from collections import deque

from tvmkd.deploy.serving.call import Request


def test_equal_requests_are_two_in_a_queue() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        first, second = (Request([b"same"], [(4,)], 1, 0, future) for _ in range(2))
        waiting = deque([first, second])
        waiting.remove(second)  # as the pool does at a deadline
        assert waiting[0] is first
        assert len({first, second}) == 2
        assert (first.gone, first.expiry) == (None, None), "nothing to ask, nothing to cancel"

    asyncio.run(main())
