"""One target of a plan: an attempt, and one more at the same place when that may help."""

import asyncio
from collections.abc import Awaitable, Callable

from fw_gateway import clock
from fw_gateway.attempt import Opened, begin, held, run
from fw_gateway.config import Config, Endpoint
from fw_gateway.engine.journey import Journey
from fw_gateway.errors import DeadlineExceeded, GatewayError
from fw_gateway.state import Worlds
from fw_gateway.upstream import Route
from fw_gateway.values import Fault
from fw_policies.flow import Failed, Open

MAX_ATTEMPTS = 3
"""Attempts of one call that may fail."""
BACKOFF = 0.1
"""Full jitter before the one more try of a target: uniform over [0, BACKOFF) seconds."""
PATIENCE = 10.0
"""Seconds that a provider's Retry-After is waited for at most, and never more than half of what is left."""
_AGAIN = frozenset({"connection_error", "500", "502", "503", "504", "stream_interrupted"})


class Trying:
    """Tries targets."""

    def __init__(self, config: Config, worlds: Worlds, route: Callable[[Endpoint], Awaitable[Route]]) -> None:
        """`route` finds the way to an endpoint, starting what must be started first."""
        self._worlds = worlds
        self._route = route
        self._endpoints = {endpoint.target.deployment: endpoint for endpoint in config.endpoints}

    async def open(self, journey: Journey, ask: Open) -> Opened | Failed:
        """One target: an attempt, and one more at the same place when that may help."""
        target = ask.target
        budget, cost = journey.record.call.identity.budget, journey.record.cost
        if ask.cascade and budget is not None and cost is not None and cost >= budget:
            return Failed(target, Fault("budget_exceeded", "the run's budget is spent"), retryable=False)
        circuit = self._worlds.deployments[target.deployment].circuit
        alone = journey.record.plan is not None and len(journey.record.plan.targets) == 1
        if not circuit.admit(clock.monotonic()) and not alone:
            resting = Fault(
                "connection_error", "the deployment rests after failing, and is being tried by another call"
            )
            if not journey.tries:
                journey.fault = resting
            return Failed(target, resting)
        plan = journey.record.plan
        again = not (plan is not None and plan.explored and target == plan.targets[0])  # one try, paid from its purse
        while True:
            if journey.left() <= 0:
                raise DeadlineExceeded("The deadline passed before an answer came.", hint="Raise x-request-timeout.")
            if journey.failed() >= MAX_ATTEMPTS:
                return Failed(target, journey.fault, retryable=False)
            found = await self._attempt(journey, ask)
            if isinstance(found, Opened):
                return found
            journey.fault = found
            if found.retry_after is not None and found.status == 429:
                self._worlds.limited(target.deployment, found.retry_after)
            pause = self._pause(journey, found, alone=alone) if again else None
            again = False
            if pause is None:
                return Failed(target, found, retryable=found.retryable)
            journey.backoff = pause
            await asyncio.sleep(pause)

    def _pause(self, journey: Journey, fault: Fault, *, alone: bool) -> float | None:
        """Seconds to wait before the same target again; None: do not."""
        if fault.retry_after is not None:
            if alone and fault.retry_after <= min(PATIENCE, journey.left() / 2):
                return fault.retry_after
            return None
        if fault.error_type not in _AGAIN:
            return None
        return min(clock.uniform() * BACKOFF, journey.left())

    async def _attempt(self, journey: Journey, ask: Open) -> Opened | Fault:
        target, call = ask.target, journey.record.call
        endpoint = self._endpoints[target.deployment]
        try:
            route = await self._route(endpoint)
        except GatewayError as error:
            return Fault("connection_error", f"{error.message} {error.hint}".strip(), exception=type(error).__name__)
        previous = journey.tries[-1].attempt if journey.tries else None
        same = previous is not None and previous.target.deployment == target.deployment
        reason = "initial" if previous is None else "retry" if same else "cascade" if ask.cascade else "fallback"
        one = begin(
            call,
            target,
            route,
            self._worlds.deployments[target.deployment],
            number=len(journey.tries) + 1,
            reason=reason if call.shadow is None else "shadow",  # type: ignore[arg-type]
        )
        if previous is not None:
            one.attempt.follows, one.attempt.trigger = previous.number, previous.error_type
            one.attempt.backoff, journey.backoff = journey.backoff, 0.0
        journey.tries.append(one)
        journey.record.attempts.append(one.attempt)
        plan = journey.record.plan
        one.effort = plan.effort if plan is not None else None
        one.lossless = plan is not None and plan.lossless
        found = await run(one)
        return await held(one, found) if ask.hold and isinstance(found, Opened) else found
