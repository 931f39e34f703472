"""One target of a plan: an attempt, and one more at the same place when that may help and its group's retry budget allows."""

import asyncio
from collections.abc import Awaitable, Callable

from fw_gateway import clock
from fw_gateway.attempt import NOT_SENT, Opened, Try, begin, held, run
from fw_gateway.config import MOST, Config, Endpoint
from fw_gateway.engine.gate import Gate
from fw_gateway.engine.journey import Journey
from fw_gateway.errors import DeadlineExceeded, GatewayError, Overloaded
from fw_gateway.state import Worlds, budget
from fw_gateway.state.health import CLOSED
from fw_gateway.state.limit import Limit
from fw_gateway.upstream import Route
from fw_gateway.values import Attempt, AttemptReason, Fault, Record
from fw_policies.flow import Failed, Open, Quiet
from fw_policies.model import Target

MAX_ATTEMPTS = 3
"""Attempts of one call that may fail."""
LEAST = 0.2
"""Seconds that must be left for another try to make sense."""
BUSY = Fault(Overloaded.error_type, "as many calls are under way there as it can take")
"""It was not asked: no failure of its own."""
PRIORITY = {"low": 1, "normal": 0, "high": -1}
"""A policy's word -> vLLM's number: lower goes first."""
_KEY = frozenset({"401", "403"})
"""What an upstream says of a key that it does not take: who has been given the same key says the same."""
_AGAIN = frozenset({"connection_error", "500", "502", "503", "504", "stream_interrupted"})


class Trying:
    """Tries targets."""

    def __init__(self, config: Config, worlds: Worlds, route: Callable[[Endpoint], Awaitable[Route]]) -> None:
        """`route` finds the way to an endpoint, starting what must be started first."""
        self._worlds = worlds
        self._route = route
        self._endpoints = {endpoint.target.deployment: endpoint for endpoint in config.endpoints}
        self._gates = {name: self._gate(endpoint) for name, endpoint in self._endpoints.items()}

    def _gate(self, endpoint: Endpoint) -> Gate:
        limit = endpoint.max_concurrency
        found = Limit(MOST if limit is None else limit, adaptive=limit is not None and endpoint.row.self_hosted)
        return Gate(found, self._worlds.deployments[endpoint.target.deployment])

    async def open(self, journey: Journey, ask: Open) -> Opened | Failed | Quiet:
        """One target: an attempt, and one more at the same place when that may help."""
        target, plan = ask.target, journey.record.plan
        if ask.cascade and _spent(journey.record):
            return Failed(target, Fault("budget_exceeded", "the run's budget is spent"), retryable=False)
        if ask.hedge and not self._may_hedge(target):
            return Quiet()
        refused = journey.fault if journey.tries and self._key_refused(journey, target) else None
        if refused is None and not ask.hedge:
            refused = self._refused(journey, ask)
        if refused is not None:
            return Failed(target, refused)
        again = not (plan is not None and plan.explored and target == plan.targets[0])  # one try, paid from its purse
        while True:
            left = journey.left()
            if left <= 0 or (journey.tries and left < LEAST):
                raise DeadlineExceeded("The deadline passed before an answer came.", hint="Raise x-request-timeout.")
            if journey.failed() >= MAX_ATTEMPTS:
                return Failed(target, journey.fault, retryable=False)
            found = await self._attempt(journey, ask)
            if isinstance(found, Opened):
                return found
            if found is not BUSY or not journey.tries:  # what an upstream said is worth more to the client
                journey.fault = found
            self._learn(journey, target, found)
            pause = self._pause(journey, target, found) if again and journey.failed() < MAX_ATTEMPTS else None
            again = False
            if pause is None or not self._worlds.budget(target).spend(clock.monotonic()):
                journey.spent = journey.spent or pause is not None
                return Failed(target, found, retryable=found.retryable)
            journey.backoff = pause
            await asyncio.sleep(pause)

    def _key_refused(self, journey: Journey, target: Target) -> bool:
        """Whether this call has seen the provider refuse the very key that this target would be asked with.

        401 is about the key, whatever is asked; 403 may be about the model, so another model may still be asked.
        """
        endpoint = self._endpoints[target.deployment]
        refusals = (one.attempt for one in journey.tries if one.attempt.error_type in _KEY)
        before = ((self._endpoints[one.target.deployment], one.error_type) for one in refusals)
        return any(
            _same_key(other, endpoint) and (said == "401" or _together(other.target, endpoint.target))
            for other, said in before
        )

    def _may_hedge(self, target: Target) -> bool:
        """Whether a second request may go there, beside one that is slow."""
        return self._well(target) and self._worlds.budget(target).hedge(clock.monotonic())

    def _refused(self, journey: Journey, ask: Open) -> Fault | None:
        """Why this target is not tried now: it rests, or its group has no retries left; None: it may be."""
        target, now = ask.target, clock.monotonic()
        circuit = self._worlds.deployments[target.deployment].circuit
        if not circuit.admit(now) and self._others(journey, target):
            resting = Fault(
                "connection_error", "the deployment rests after failing, and is being tried by another call"
            )
            if not journey.tries:
                journey.fault = resting
            return resting
        if journey.tries and not self._well(target) and not self._others(journey, target):
            journey.spent = True  # all of them rest: each call is tried once, and none is tried all around
            return journey.fault
        purse = self._worlds.budget(target)
        # An attempt's own target may carry the caller's name for the model (`fx-*`): the configured one says which group it is.
        before = [self._endpoints[one.attempt.target.deployment].target for one in journey.tries]
        if ask.cascade or not before or not any(_together(one, target) for one in before):
            purse.earn(now)
            return None
        last = journey.tries[-1].attempt
        if last.exception in NOT_SENT and last.target.deployment != target.deployment:
            return None  # nobody has had any work of it yet
        if purse.spend(now):
            return None
        journey.spent = True
        return journey.fault

    def _others(self, journey: Journey, target: Target) -> bool:
        """Whether anyone else in the plan is well: else what rests is tried all the same."""
        plan = journey.record.plan
        return any(self._well(one) for one in (plan.targets if plan is not None else ()) if one is not target)

    def _well(self, target: Target) -> bool:
        return self._worlds.deployments[target.deployment].circuit.state == CLOSED

    def _learn(self, journey: Journey, target: Target, fault: Fault) -> None:
        """What a fault says about its deployment beside its health: to be left alone for a while, or that its key is no good."""
        if fault.key:
            self._worlds.refused(target.deployment, fault.status or 0)
        elif fault.retry_after is not None or fault.status == 429:
            self._worlds.limited(target.deployment, fault.retry_after)
        if fault.retry_after is not None:
            soonest = journey.retry_after
            journey.retry_after = fault.retry_after if soonest is None else min(soonest, fault.retry_after)

    def _pause(self, journey: Journey, target: Target, fault: Fault) -> float | None:
        """Seconds to wait before the same target again; None: do not."""
        plan = journey.record.plan
        if fault.retry_after is not None:
            alone = plan is not None and len(plan.targets) == 1
            return budget.told(fault.retry_after, journey.left(), clock.uniform()) if alone else None
        if fault.error_type not in _AGAIN or not self._well(target):
            return None
        tried = {one.attempt.target.deployment for one in journey.tries}
        if any(
            _together(one, target) and one.deployment not in tried and self._well(one)
            for one in (plan.targets if plan is not None else ())
        ):
            return None  # its twin can be asked at once
        return min(budget.backoff(journey.failed() - 1, clock.uniform()), journey.left())

    async def _attempt(self, journey: Journey, ask: Open) -> Opened | Fault:
        target, call = ask.target, journey.record.call
        endpoint = self._endpoints[target.deployment]
        try:
            route = await self._route(endpoint)
        except GatewayError as error:
            return Fault("connection_error", f"{error.message} {error.hint}".strip(), exception=type(error).__name__)
        if not await self._gates[target.deployment].enter(journey.left()):
            return BUSY
        previous: Attempt | None = None
        reason: AttemptReason = "initial"
        if journey.tries:
            previous, reason = _after(journey, ask)
        one = begin(
            call,
            target,
            route,
            self._worlds.deployments[target.deployment],
            number=len(journey.tries) + 1,
            reason=reason if call.shadow is None else "shadow",
        )
        if previous is not None:
            one.attempt.follows, one.attempt.trigger = previous.number, previous.error_type
            one.attempt.backoff, journey.backoff = journey.backoff, 0.0
        journey.tries.append(one)
        journey.record.attempts.append(one.attempt)
        plan = journey.record.plan
        one.effort = plan.effort if plan is not None else None
        one.lossless = plan is not None and plan.lossless
        one.priority = PRIORITY[plan.priority] if plan is not None and endpoint.priority else 0
        try:
            found = await run(one)
        except asyncio.CancelledError:
            self._waited(one)
            raise
        self._paced(one, found)
        return await held(one, found) if ask.hold and isinstance(found, Opened) else found

    def _paced(self, one: Try, found: Opened | Fault) -> None:
        """Note how long it took to begin; a failure says nothing about pace, unless it is that nothing came."""
        attempt, call, now = one.attempt, one.call, clock.monotonic()
        if isinstance(found, Fault) and found.error_type != "timeout":
            return
        took = attempt.first_content if call.stream and attempt.first_content is not None else now - attempt.started
        tokens = attempt.usage.output_tokens if attempt.usage is not None else None
        deployment = self._worlds.deployments[attempt.target.deployment]
        pace = deployment.pace
        if call.stream and isinstance(found, Opened):
            limit = self._gates[attempt.target.deployment].limit
            limit.observe(took, now, count=deployment.busy.count, idle=pace.idle(now))
        pace.add(took, now, stream=call.stream, size=len(call.body), tokens=tokens)

    def _waited(self, one: Try) -> None:
        """Nobody waits for it any longer: it would have taken longer still."""
        now = clock.monotonic()
        pace = self._worlds.deployments[one.attempt.target.deployment].pace
        if now - one.attempt.started > pace.seconds(now, stream=one.call.stream):
            pace.add(now - one.attempt.started, now, stream=one.call.stream, size=len(one.call.body))


def _spent(record: Record) -> bool:
    """Whether what the run may cost is known to be used up."""
    budget, cost = record.call.identity.budget, record.cost
    return budget is not None and cost is not None and cost >= budget


def _same_key(one: Endpoint, other: Endpoint) -> bool:
    """Whether one provider knows both by one key. Where there is none, none can be refused."""
    if one.key is None or other.key is None or one.row is not other.row:
        return False
    return one.key.reveal() == other.key.reveal()


def _after(journey: Journey, ask: Open) -> tuple[Attempt, AttemptReason]:
    """The attempt that the next one follows, the last at its own place if there is one, and why it is made."""
    tried = [one.attempt for one in reversed(journey.tries)]
    before = next((one for one in tried if one.target.deployment == ask.target.deployment), None)
    if before is not None:
        return before, "retry"
    return tried[0], "hedge" if ask.hedge else "cascade" if ask.cascade else "fallback"


def _together(one: Target, other: Target) -> bool:
    """Whether two targets are of one group: replicas of a model at one provider, which fail together and share a retry budget."""
    return one.model == other.model and one.provider == other.provider
