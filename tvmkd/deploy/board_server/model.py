"""A model: its instances, a bounded queue, deadlines, restarts."""

import asyncio
import collections
import math
import time
from typing import Any, Deque, Dict, Optional

from .instance import Instance, Request
from .protocol import Fault, say
from .statistics import Service, Statistics


class Model:
    """A model: its instances, a bounded queue, deadlines, restarts."""

    def __init__(self, path: str, name: str, options: Any) -> None:
        self.path, self.name, self.options = path, name, options
        self.many, self.cpus = options.instances, options.cpus
        self.threads = options.threads or len(self.cpus[:: self.many])
        self.statistics, self.service = Statistics(), Service()
        self.facts: Dict[str, Any] = {}
        self.waiting: Deque[Request] = collections.deque()
        self.instances = [Instance(self, number) for number in range(self.many)]
        self.loaded, self.failure, self.pause = False, "", 0.05
        self.label = "model %r version '1'" % name
        self.lesson: Any = None

    async def load(self) -> None:
        """Starts the instances, or starts them again."""
        for each in self.instances:
            each.stop()
        for request in self.waiting:
            request.refuse(Fault("unavailable", self.label + " is being loaded; ask again", 1))
        self.waiting.clear()
        self.facts, self.loaded = {}, False
        self.first: asyncio.Future[None] = asyncio.get_event_loop().create_future()
        for each in self.instances:
            each.start()
        await self.first
        self.loaded = True

    async def drain(self, seconds: float) -> None:
        """Waits for what was accepted, and ends the instances."""
        self.loaded = False
        end = time.monotonic() + seconds
        while (
            self.waiting or any(each.busy for each in self.instances)
        ) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        for request in [*self.waiting, *(each.request for each in self.instances)]:
            if request is not None:
                request.refuse(Fault("stopping", self.label + " is being stopped", 1))
        self.waiting.clear()
        for instance_ in self.instances:
            instance_.stop()

    @property
    def ready(self) -> bool:
        """True if requests are taken."""
        return self.loaded and any(each.ready for each in self.instances)

    def expected(self) -> float:
        """Seconds until a request that comes now is done."""
        now, high = time.monotonic(), self.service.high
        busy = [each for each in self.instances if each.busy]
        if any(each.ready and not each.busy for each in self.instances):
            return high
        elapsed = sum(min(now - each.asked, high) for each in busy)
        return self.service.finish(len(self.waiting), elapsed, max(1, len(busy)))

    def retry(self) -> int:
        """Seconds after which another attempt may succeed."""
        return min(3600, max(1, math.ceil(self.expected())))

    def late(self) -> str:
        """Why a request that comes now would miss its deadline."""
        why, more = "%d requests wait" % len(self.waiting), "send fewer, or allow more time"
        expected_ms = 1e3 * self.expected()
        if any(each.ready and not each.busy for each in self.instances):
            why, more = "a call alone takes about %.2f ms" % expected_ms, "allow more time"
        elif not self.waiting:
            why = "no instance is free, and a call would take about %.2f ms" % expected_ms
        return "%s: %s, so this one would miss its deadline; %s" % (self.label, why, more)

    def submit(self, request: Request) -> None:
        """Takes a request, or raises Fault at once."""
        now = time.monotonic()
        if request.deadline and request.deadline < now + self.expected():
            raise Fault("late", self.late(), self.retry())
        request.queued = now
        idle = [each for each in self.instances if each.ready and not each.busy]
        if idle:
            idle[0].run(request)
            return
        if len(self.waiting) >= self.options.queue:
            raise Fault("queue_full", "%s: the queue is full (%d requests)"
                        % (self.label, self.options.queue), self.retry())  # fmt: skip
        if request.deadline:
            request.timer = asyncio.get_event_loop().call_later(
                request.deadline - now, self.expire, request)  # fmt: skip
        self.waiting.append(request)

    def expire(self, request: Request) -> None:
        """A deadline has passed before an instance was free."""
        if request in self.waiting:
            self.waiting.remove(request)
        self.statistics.deadline_misses += 1
        text = self.label + ": the deadline passed before an instance was free"
        request.refuse(Fault("expired", text, self.retry()))

    def next(self) -> None:
        """Gives free instances what waits."""
        for each in self.instances:
            while self.waiting and each.ready and not each.busy:
                request = self.waiting.popleft()
                if request.timer is not None:
                    request.timer.cancel()
                if request.deadline and request.deadline < time.monotonic() + self.service.mean:
                    self.expire(request)
                elif not request.done.done():
                    each.run(request)

    def on_ready(self, instance_: Instance, facts: Dict[str, Any]) -> None:
        """An instance can compute."""
        run_s = facts.pop("run_s")
        if self.facts and facts != self.facts:
            instance_.kill("the library was replaced by another; load the model again")
            return
        if run_s and not self.service.mean:
            self.service.add(run_s)
        self.facts, instance_.ready, self.failure = facts, True, ""
        if not self.first.done():
            self.first.set_result(None)
        self.next()

    def on_answer(self, instance_: Instance, request: Optional[Request], answer: Any) -> None:
        """An instance has run."""
        code, why, exit_taken, begun, ended = answer
        if request is not None and code:
            late = code == 5
            self.statistics.deadline_misses += late
            request.refuse(Fault("expired" if late else "failed", "%s: %s" % (self.label, why),
                                 self.retry() if late else 0))  # fmt: skip
        elif request is not None:
            shared = instance_.shared
            assert shared is not None
            outputs = [shared[each["place"] : each["place"] + each["bytes"]]
                       for each in self.facts["outputs"]]  # fmt: skip
            if not request.done.done():
                request.done.set_result((outputs, exit_taken))
            now = time.monotonic()
            self.service.add(now - request.asked)
            add = self.statistics.add
            add("queue", request.asked - request.queued)
            add("copy_in", request.copied - request.asked)
            add("compute", ended - begun)
            add("copy_out", now - ended)
            add("total", now - request.arrived)
            self.statistics.deadline_misses += bool(request.deadline) and now > request.deadline
        self.next()

    def on_death(self, instance_: Instance, request: Optional[Request], reason: str) -> None:
        """An instance has ended."""
        if request is not None:
            request.refuse(Fault("crashed", "%s: the instance crashed (%s) and is started again; "
                                 "send the request again" % (self.label, reason)))  # fmt: skip
        if not self.first.done():
            self.failure = reason
            self.first.set_exception(Fault("invalid", reason))
            return
        if not self.loaded:
            return
        say("%s: instance %d: %s; it is started again" % (self.label, instance_.number, reason))
        self.statistics.restarts += 1
        survived = time.monotonic() - instance_.started > 10
        self.pause = 0.05 if survived else min(5.0, 2 * self.pause)
        self.failure = self.failure if self.ready else reason
        asyncio.get_event_loop().call_later(self.pause, self.restart, instance_)

    def restart(self, instance_: Instance) -> None:
        """Starts an instance again, unless the model was unloaded meanwhile."""
        if self.loaded and instance_.process is None:
            instance_.start()
