"""The way of one message, top to bottom: in time? held? Then

    request transform
    -> retry( hedge( breaker( pick an instance -> settled first? -> call it ) ) ), or the fallback
    -> response transform,

and the reply.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import msgspec

from broker.messages import Envelope, Headers, Problem, Reply
from broker.problems import PROBLEM_TYPES, ProblemType
from dispatcher.attempt import NO_INSTANCE, TOO_LATE, Attempt, failed, responded
from dispatcher.call_end import BROKEN_OFF, OVERTAKEN, CallEnd, Load, Verdict, of_error, of_status
from dispatcher.listener import DispatcherListener
from dispatcher.policies.fallback import Fallback
from dispatcher.policies.hedging import hedged
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.memory import Memory
from dispatcher.policies.retry import SHORTEST_CALL, Retry
from dispatcher.route_rules import NO_RULES, RouteRules
from dispatcher.service_discovery import Instance, ServiceDiscovery
from dispatcher.settle import Answered, Expired, Held, Outcome, Work
from dispatcher.transformation.transformation import Transformation
from dispatcher.upstream import Caller, UpstreamError, UpstreamRequest

logger = logging.getLogger(__name__)


class Pipeline:
    """What is done with each message of one service, and in which order.

    ``rules`` are those of its routes, by label; ``memory`` is what its policies know from earlier
    calls, ``limiter`` among it. ``fall_back_to`` is the pipeline of the service that is called
    instead of this one while its breaker is open. ``now`` is Unix seconds, ``monotonic`` measures
    durations.
    """

    def __init__(
        self,
        client: Caller,
        discovery: ServiceDiscovery,
        balancer: Balancer,
        memory: Memory,
        retry: Retry,
        transformation: Transformation,
        *,
        rules: Mapping[str, RouteRules],
        listener: DispatcherListener,
        fall_back_to: "Pipeline | None" = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        service = memory.service
        self._client = client
        self._discovery = discovery
        self._balancer = balancer
        self._name = service.name
        self._timeout = service.timeout
        self._rules = rules
        self.limiter = memory.limiter
        self._breaker = memory.breaker
        self._budget = memory.budget
        self._last_good = memory.last_good
        self._retry = retry
        self._transformation = transformation
        options = service.circuit_breaker
        self._fallback = Fallback(options, memory.last_good, listener) if options else None
        self._fall_back_to = fall_back_to
        self._listener = listener
        self._now = now
        self._monotonic = monotonic

    async def handle(self, work: Work) -> Outcome:
        """Take one message from its turn to its outcome."""
        envelope = work.envelope
        taken_at = self._now()
        if taken_at >= envelope.deadline:
            return Expired()
        rules = self._rules.get(envelope.route, NO_RULES)
        if rules.when_open == "hold" and not self.admits:
            return Held()
        if work.shaped_by is not self._transformation:  # else it was held, and is ready to go
            outgoing = await self._transformation.request(envelope)
            if isinstance(outgoing, Problem):
                return Answered(_reply(work, Attempt(None, outgoing), taken_at))
            work.outgoing, work.shaped_by = outgoing, self._transformation
        if self._now() >= envelope.deadline:  # a transform of a large body takes its time
            return Expired()
        last = await self.call(work, rules)
        if last is None:
            return Held()
        return Answered(_reply(work, await self._transformed(work, last), taken_at))

    def give_up(self, work: Work) -> Outcome:
        """End one that has waited in vain: its deadline is near, or has passed."""
        now = self._now()
        if now >= work.envelope.deadline:
            return Expired()
        return Answered(_reply(work, TOO_LATE, now))

    @property
    def admits(self) -> bool:
        """Whether a call could be made now."""
        return self._breaker is None or self._breaker.permits

    # --- retry ----------------------------------------------------------------------------------

    async def call(self, work: Work, rules: RouteRules) -> Attempt | None:
        """Call until it goes well, or once more would be no good; None to have it held."""
        tried: list[str] = []
        last: Attempt | None = None
        self._budget.count()
        while True:
            if rules.hedge is None or not work.envelope.idempotent:
                attempt = await self._guarded(work, rules, tried)
            else:
                attempt = await self._hedged(work, rules, tried)
            if attempt is None:
                return await self._refused(work, rules, last)
            last = attempt
            retries_left = work.retries < work.envelope.retry_count
            if not retries_left or not self._retry.wanted(last, work.envelope, rules.retry_on):
                return last
            if not self.admits:
                work.retries += 1  # the next call is one, here after a while or at another service
                return await self._refused(work, rules, last)
            wait = self._wait(work, last)
            if wait is None:
                return last
            await self._retry.sleep(wait)
            if not self._in_time(work.envelope):  # a busy process sleeps longer than asked for
                return last

    def _in_time(self, envelope: Envelope) -> bool:
        """Whether a call that is made now could be answered in time."""
        return self._now() + SHORTEST_CALL <= envelope.deadline

    def _wait(self, work: Work, last: Attempt) -> float | None:
        """Seconds until the next try, which is counted; None where time or budget forbid it."""
        envelope = work.envelope
        wait = self._retry.delay(work.retries, last, envelope.deadline)
        if wait is None:
            return None
        if not self._within_budget():
            return None
        work.retries += 1
        self._listener.retried(self._name)
        return wait

    def _within_budget(self) -> bool:
        """Whether a call more than those asked for may be made; counted if so."""
        if self._budget.take():
            return True
        self._listener.retry_budget_exhausted(self._name)
        return False

    # --- hedge ----------------------------------------------------------------------------------

    async def _hedged(self, work: Work, rules: RouteRules, tried: list[str]) -> Attempt | None:
        """Call, and where that takes long, call another instance too."""
        assert rules.hedge is not None  # noqa: S101 -- or it is not called

        def more() -> Coroutine[Any, Any, Attempt | None] | None:
            if not self._may_hedge(work.envelope, tried):
                return None
            self._listener.hedged(self._name)
            return self._guarded(work, rules, tried)

        return await hedged(self._guarded(work, rules, tried), more, rules.hedge)

    def _may_hedge(self, envelope: Envelope, tried: list[str]) -> bool:
        """Whether there is an instance to ask, the time for it, and the budget."""
        if all(instance.name in tried for instance in self._discovery.instances):
            return False
        if not self._in_time(envelope) or not self.admits:
            return False
        return self._within_budget()

    # --- breaker --------------------------------------------------------------------------------

    async def _guarded(self, work: Work, rules: RouteRules, tried: list[str]) -> Attempt | None:
        """Call if the breaker allows it, and tell it how that went; None where it does not."""
        breaker = self._breaker
        if breaker is None:
            return await self._try_once(work, rules, tried)
        permit = breaker.acquire()
        if permit is None:
            return None
        began = self._monotonic()
        try:
            attempt = await self._try_once(work, rules, tried)
        except BaseException:
            breaker.released(permit, self._monotonic() - began)
            raise
        if attempt.verdict is Verdict.SUCCESS:
            breaker.succeeded(permit, attempt.upstream_ms / 1000)
            if self._last_good is not None and attempt.response is not None:
                self._last_good.keep(work.envelope, attempt.response)
        elif attempt.verdict is Verdict.FAILURE:
            breaker.failed(permit, attempt.upstream_ms / 1000)
        else:
            breaker.released(permit)
        return attempt

    async def _refused(self, work: Work, rules: RouteRules, last: Attempt | None) -> Attempt | None:
        """What becomes of a call that the breaker did not allow: as ``when_open`` says."""
        if rules.when_open == "hold" and not work.settled:
            return None
        assert self._breaker is not None  # noqa: S101 -- it refused
        retry_after = self._breaker.retry_after
        if rules.when_open == "fallback" and self._fallback is not None:
            other = (
                partial(self._fall_back_to.stand_in, work, rules) if self._fall_back_to else None
            )
            answer = await self._fallback.answer(work.envelope, retry_after, other)
            if answer is not None:
                return answer
        return last or _circuit_open(retry_after)

    async def stand_in(self, work: Work, rules: RouteRules) -> Attempt | None:
        """Call for a message of a service that falls back to this one; None without a free slot.

        It does not wait for one: the outage of one service must not become a queue at another,
        whose own messages come first.
        """
        if not self.limiter.admit():
            self._listener.fallback_refused(self._name)
            return None
        try:
            return await self.call(work, rules)
        finally:
            self.limiter.leave()

    # --- pick, and call -------------------------------------------------------------------------

    async def _try_once(self, work: Work, rules: RouteRules, tried: list[str]) -> Attempt:
        """Pick an instance, another than those tried if there is one, and call it."""
        remaining = work.envelope.deadline - self._now()
        if remaining < SHORTEST_CALL:
            return TOO_LATE
        instance = self._balancer.pick(self._discovery.instances, tried)
        if instance is None:
            return NO_INSTANCE
        tried.append(instance.name)
        work.calls += 1
        if not work.envelope.idempotent:
            work.settle_before_call()
        return await self._call(instance, work, rules, remaining)

    async def _call(
        self, instance: Instance, work: Work, rules: RouteRules, remaining: float
    ) -> Attempt:
        """Call it, and tell whoever learns from how calls end."""
        envelope = work.outgoing
        timeout = min(self._timeout, remaining)
        request = UpstreamRequest(
            envelope.method,
            envelope.target,
            _headers(work, remaining),
            envelope.body,
            self._within_budget if envelope.idempotent else None,
        )
        end = BROKEN_OFF
        number = work.calls
        self._balancer.began(instance)
        self.limiter.began()
        began = self._monotonic()
        try:
            response = await self._client.call(instance.address, request, timeout)
            end = of_status(response.status)
        except UpstreamError as error:
            fields = {"request_id": envelope.id}
            logger.warning("call to %s failed: %s", instance.name, error, extra=fields)
            work.sent |= error.sent
            # A client may leave a service less time than it can do with: no fault of the service.
            patient = timeout >= min(self._timeout, rules.timeout) / 2
            end = of_error(error, patient=patient)
            seconds = self._monotonic() - began
            return failed(error, instance.name, seconds * 1000, end.service)
        except asyncio.CancelledError:
            if work.calls > number:  # a hedge was made meanwhile
                end = OVERTAKEN
            raise
        finally:
            seconds = self._monotonic() - began
            self._learn(instance, envelope.route, end, seconds)
        work.sent = True
        return responded(response, instance.name, seconds * 1000, end.service)

    def _learn(self, instance: Instance, route: str, end: CallEnd, seconds: float) -> None:
        """Whoever decides by how calls end hears how one did."""
        self._balancer.ended(instance, end.instance, seconds)
        self.limiter.ended(route, seconds, end.load)
        if end.load is Load.DROPPED:
            self._listener.dropped(self._name)
        self._listener.called(self._name, seconds)

    # --- response transform ---------------------------------------------------------------------

    async def _transformed(self, work: Work, last: Attempt) -> Attempt:
        """The last attempt with its response in the shape that clients were promised."""
        if last.response is None or last.configured:
            return last
        answer = await self._transformation.response(work.outgoing, last.response)
        if answer is last.response:
            return last
        if isinstance(answer, Problem):
            return msgspec.structs.replace(last, response=None, problem=answer)
        return msgspec.structs.replace(last, response=answer)


def _headers(work: Work, remaining: float) -> Headers:
    """The headers to forward, how long the upstream has, and the number of the attempt.

    Copies of the message that were lost with their dispatchers count as one attempt each.
    """
    envelope = work.outgoing
    return (
        *envelope.headers,
        (b"X-Request-Deadline-Ms", b"%d" % (remaining * 1000)),
        (b"X-Request-Attempt", b"%d" % (envelope.attempt - 1 + work.calls)),
    )


def _circuit_open(retry_after: float) -> Attempt:
    problem = Problem(
        ProblemType.CIRCUIT_OPEN.slug,
        "The service has failed too often and is not called for now.",
        "no",
        max(1, math.ceil(retry_after)),
    )
    return Attempt(None, problem, verdict=Verdict.UNKNOWN)


def _reply(work: Work, last: Attempt, taken_at: float) -> Reply:
    """The last attempt as a reply."""
    envelope = work.envelope
    queue_ms = max(0.0, taken_at - envelope.published_at) * 1000  # clocks may differ a little
    response = last.response
    if response is None:
        assert last.problem is not None  # noqa: S101 -- one of the two is always there
        problem = last.problem
        if work.sent and problem.executed == "no":  # an earlier attempt may have been
            problem = msgspec.structs.replace(problem, executed="unknown")
        return Reply(
            id=envelope.id,
            status=PROBLEM_TYPES[problem.type].status,
            problem=problem,
            queue_ms=queue_ms,
            upstream_ms=last.upstream_ms,
            attempts=work.calls,
            instance=last.instance,
        )
    return Reply(
        id=envelope.id,
        status=response.status,
        reason=response.reason,
        headers=response.headers,
        body=response.body,
        queue_ms=queue_ms,
        upstream_ms=last.upstream_ms,
        attempts=work.calls,
        instance=last.instance,
    )
