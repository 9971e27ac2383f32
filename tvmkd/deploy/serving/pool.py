"""The instances of one version of a model: a bounded queue, deadlines, restarts."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from tvmkd.base import console
from tvmkd.deploy.serving.call import Request, Result
from tvmkd.deploy.serving.estimate import ServiceTime
from tvmkd.deploy.serving.faults import RequestFault
from tvmkd.deploy.serving.limits import Limits, share
from tvmkd.deploy.serving.statistics import Statistics
from tvmkd.deploy.serving.worker import Events, Program, Worker

FIRST_PAUSE, MOST_PAUSE = 0.05, 5.0
"""Seconds before a crashed instance is started again; doubled while it crashes at its start."""
SURVIVED = 10.0
"""Seconds after which a crash no longer counts as one at the start."""

MARGIN = 1 / 16
"""Of the time that a request has left: for its way here and back, which no estimate sees."""
MOST_LOOK_NS, LOOK_MORE_NS = 100_000, 50_000
"""Calls up to so long are waited for without sleep: for twice their time, and so long more."""


class Pool:
    """See the module.

    Args:
        program: what the instances run.
        limits: how many of what.
        label: for messages: ``model 'student' version '1'``.
        statistics: counts what happens.
    """

    def __init__(
        self, program: Program, limits: Limits, label: str, statistics: Statistics
    ) -> None:
        self.program, self.limits, self.label = program, limits, label
        self.statistics = statistics
        self.service = ServiceTime()
        self.waiting: deque[Request] = deque()
        self.failure: str | None = None
        """Why no instance can be started; None: they can."""
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._draining = False
        self._empty = asyncio.Event()
        self._pause = FIRST_PAUSE
        self._compute_ns = 0.0
        self._started: dict[Worker, float] = {}
        self._restarts: set[asyncio.TimerHandle] = set()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clock: asyncio.TimerHandle | None = None
        events = Events(self._on_ready, self._on_done, self._on_died)
        self.workers = [
            Worker(program, number, *share(limits, number), events)
            for number in range(limits.instances)
        ]

    async def start(self) -> None:
        """Starts the instances and returns when one of them is ready.

        Raises:
            RequestFault: the first one could not be started.
        """
        for worker in self.workers:
            self._start(worker)
        self._watch()
        try:
            await self._first
        except BaseException:
            await self.close()
            raise

    @property
    def ready(self) -> bool:
        """True if a request would be taken, or could be when the queue is shorter."""
        return not self._draining and bool(self._idle or self._busy)

    @property
    def ready_workers(self) -> int:
        """Instances that can compute."""
        return len(self._idle) + len(self._busy)

    def submit(self, request: Request) -> None:
        """Takes a request, or refuses it at once; its future gets the result.

        Raises:
            RequestFault: it would be late, or the queue is full, or the pool ends.
        """
        now = time.monotonic_ns()
        if self._draining:
            raise RequestFault("unavailable", f"{self.label} is being unloaded; ask again", 1)
        left = (request.deadline_ns - now) * (1 - MARGIN)
        if request.deadline_ns and left < self._expected(now):
            raise RequestFault("late", self._late(now), self._retry_after())
        request.queued_ns = now
        if self._idle:
            worker = self._idle.pop()
            self._hand_over(worker, request)
            if 0 < self._compute_ns < MOST_LOOK_NS and self.program.spin_us:
                worker.look(2 * int(self._compute_ns) + LOOK_MORE_NS)
            return
        if len(self.waiting) >= self.limits.queue:
            raise RequestFault(
                "queue_full", f"{self.label}: the queue is full ({self.limits.queue} requests)",
                self._retry_after(),
            )  # fmt: skip
        if request.deadline_ns:
            loop = asyncio.get_running_loop()
            delay = (request.deadline_ns - now) / 1e9
            request.expiry = loop.call_later(delay, self._expire, request)
        self.waiting.append(request)

    def _late(self, now: int) -> str:
        """Why a request that comes now would miss its deadline."""
        why, more = f"{len(self.waiting)} requests wait", "send fewer, or allow more time"
        milliseconds = self._expected(now) / 1e6
        if self._idle:
            why, more = f"a call alone takes about {milliseconds:.2f} ms", "allow more time"
        elif not self.waiting:
            why = f"no instance is free, and a call would take about {milliseconds:.2f} ms"
        return f"{self.label}: {why}, so this one would miss its deadline; {more}"

    def _expected(self, now: int) -> float:
        """Nanoseconds until a request that comes now is done."""
        if self._idle:
            return self.service.high
        elapsed = sum(min(now - worker.asked_ns, self.service.high) for worker in self._busy)
        return self.service.finish(len(self.waiting), elapsed, max(1, len(self._busy)))

    def _retry_after(self) -> int:
        return max(1, math.ceil(self._expected(time.monotonic_ns()) / 1e9))

    def _hand_over(self, worker: Worker, request: Request) -> None:
        try:
            worker.run(request)
        except RequestFault as fault:
            self._idle.append(worker)
            _fail(request, fault)
            return
        self._busy.add(worker)

    def _next(self, worker: Worker) -> None:
        """Gives a free worker the first waiting request that can still be done in time."""
        now, least = time.monotonic_ns(), self.service.mean
        while self.waiting:
            request = self.waiting.popleft()
            if request.future.done():
                continue
            if request.expiry is not None:
                request.expiry.cancel()
            if request.gone is not None and request.gone():
                _fail(request, RequestFault("slow_client", "the client has gone"))
                continue
            if request.deadline_ns and request.deadline_ns < now + least:
                self._fail_expired(request)
                continue
            self._hand_over(worker, request)
            if worker in self._busy:
                return
            self._idle.remove(worker)
        self._idle.append(worker)
        if not self._busy:
            self._empty.set()

    def _expire(self, request: Request) -> None:
        if not request.future.done():
            self.waiting.remove(request)
            self._fail_expired(request)

    def _fail_expired(self, request: Request) -> None:
        self.statistics.deadline_misses += 1
        text = f"{self.label}: the deadline passed before an instance was free"
        _fail(request, RequestFault("expired", text, self._retry_after()))

    def _on_done(self, worker: Worker, request: Request) -> None:
        begun, ended, _written, error = worker.channel.answer()
        self._busy.discard(worker)
        if error is not None:
            _fail(request, RequestFault("failed", f"{self.label}: {error}"))
        else:
            try:
                outputs, shapes = worker.channel.outputs()
            except (RequestFault, ValueError) as fault:
                _fail(request, RequestFault("failed", f"{self.label}: {fault}"))
            else:
                now = time.monotonic_ns()
                if not request.future.done():
                    request.future.set_result(Result(outputs, shapes))
                self.service.add(now - worker.asked_ns)
                longer = ended - begun - self._compute_ns
                # The usual time, which a few interrupted calls do not change.
                self._compute_ns += (0.02 if longer > 0 and self._compute_ns else 0.25) * longer
                self.statistics.served(
                    queue=worker.asked_ns - request.queued_ns,
                    copy_in=request.copied_ns - worker.asked_ns,
                    compute=ended - begun,
                    copy_out=now - ended,
                    total=now - request.arrived_ns,
                    late=bool(request.deadline_ns) and now > request.deadline_ns,
                )
        self._next(worker)

    def _start(self, worker: Worker) -> None:
        self._started[worker] = time.monotonic()
        worker.start()

    def _on_ready(self, worker: Worker, run_ns: int) -> None:
        self.failure = None
        if run_ns:
            self.service = self.service if self.service.mean else ServiceTime(run_ns)
        if not self._first.done():
            self._first.set_result(None)
        self._next(worker)

    def _on_died(self, worker: Worker, request: Request | None, reason: str) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        self._busy.discard(worker)
        if request is not None:
            text = f"{self.label}: the instance crashed ({reason}) and is started again"
            _fail(request, RequestFault("crashed", f"{text}; send the request again"))
        if not self._first.done():
            self._first.set_exception(RequestFault("failed", reason))
            return
        if self._draining:
            self._empty.set()
            return
        console.warn(f"{self.label}: instance {worker.number}: {reason}; it is started again")
        self.statistics.restarts += 1
        lived = time.monotonic() - self._started[worker]
        self._pause = FIRST_PAUSE if lived > SURVIVED else min(MOST_PAUSE, 2 * self._pause)
        if not self.ready:
            self.failure = reason
        loop = asyncio.get_running_loop()
        handle = loop.call_later(self._pause, self._start, worker)
        self._restarts.add(handle)

    def _watch(self) -> None:
        """Every second: kills what hangs."""
        limit = time.monotonic_ns() - int(self.limits.hang_s * 1e9)
        for worker in self._busy:
            if worker.asked_ns < limit:
                console.warn(f"{self.label}: instance {worker.number} hangs and is killed")
                worker.kill()
        self._clock = asyncio.get_running_loop().call_later(1.0, self._watch)

    async def drain(self, seconds: float) -> None:
        """Refuses new requests and waits until the accepted ones are done, at most ``seconds``."""
        self._draining = True
        if self._busy or self.waiting:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except asyncio.TimeoutError:
                console.warn(f"{self.label}: gave up waiting for its requests")

    async def close(self) -> None:
        """Ends the instances; requests that are left fail."""
        self._draining = True
        for handle in (*self._restarts, *filter(None, (self._clock,))):
            handle.cancel()
        left = [worker.request for worker in self._busy if worker.request is not None]
        for request in (*left, *self.waiting):
            _fail(request, RequestFault("stopping", f"{self.label} is being stopped", 1))
        self.waiting.clear()
        await asyncio.gather(*(worker.stop() for worker in self.workers))


def _fail(request: Request, fault: RequestFault) -> None:
    if request.expiry is not None:
        request.expiry.cancel()
    if not request.future.done():
        request.future.set_exception(fault)
