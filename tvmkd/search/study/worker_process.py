"""``python -m tvmkd.search.study.worker_process``: a worker of a study on this machine."""

from __future__ import annotations

from typing import Any

from tvmkd.base import prctl, wire
from tvmkd.base.wire import Event


def work(params: dict[str, Any], event: Event) -> None:
    """Does trials until there are enough; see `tvmkd.search.study.worker.work`.

    Args:
        params: ``plan``, a `tvmkd.search.study.bench.Plan` as plain data, and ``worker``, the
            worker's number.
        event: gets what happens.
    """
    from tvmkd.search.study.bench import Plan
    from tvmkd.search.study.opening import open_bench
    from tvmkd.search.study.storage import answering
    from tvmkd.search.study.worker import work as carry_out

    plan = Plan.from_dict(params["plan"])
    with answering(plan.search.storage):
        bench = open_bench(plan, event, params["worker"])
        try:
            carry_out(bench)
        finally:
            bench.close()


if __name__ == "__main__":
    prctl.die_with_parent()
    wire.serve({"work": work})
