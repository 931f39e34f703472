"""From a call to a reply: plan, walk the plan until an answer is committed, stream it, and write one record when it is over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Protocol

import orjson

from fw_gateway import clock
from fw_gateway.attempt import Opened, Try, begin, run
from fw_gateway.config import Config, Endpoint
from fw_gateway.errors import BudgetExceeded, DeadlineExceeded, GatewayError, NoCandidate, UpstreamFailed
from fw_gateway.providers.dialects import openai_chat
from fw_gateway.state import Worlds
from fw_gateway.state.runs import Runs
from fw_gateway.upstream import Route
from fw_gateway.values import Attempt, Call, Fault, Record, Reply
from fw_policies.estimate import quantise
from fw_policies.flow import Ask, Failed, Flow, Open, flow
from fw_policies.model import NANO_USD, Facts, Plan, Target
from fw_policies.spec import Policy

MAX_ATTEMPTS = 3
BACKOFF = 0.1
"""Full jitter before the one more try of a target: uniform over [0, BACKOFF) seconds."""
PATIENCE = 10.0
"""Seconds that a provider's Retry-After is waited for at most, and never more than half of what is left."""
SHORT = 60.0
"""Seconds left from which the deadline matters to a plan."""
RELAYED = frozenset({408, 429, 500, 502, 503, 504, 529})
"""Statuses that reach the client with the upstream's own words when nothing else is left to try."""
_AGAIN = frozenset({"connection_error", "500", "502", "503", "504", "stream_interrupted"})


@dataclass(slots=True)
class Exhausted:
    """Nothing is left to try; what was tried, in order."""

    failures: list[Failed] = field(default_factory=list)


async def drive(walk: Flow, open_: Callable[[Open], Awaitable[Opened | Failed]]) -> Opened | Exhausted:
    """Walk a plan until an answer is committed: the only loop that awaits."""
    exhausted = Exhausted()
    try:
        ask: Ask = next(walk)
        while True:
            if not isinstance(ask, Open) or ask.hold:
                raise NotImplementedError(f"{ask} is not driven yet")
            told = await open_(ask)
            if isinstance(told, Opened):
                return told
            exhausted.failures.append(told)
            ask = walk.send(told)
    except StopIteration:
        return exhausted
    finally:
        walk.close()


class Recorder(Protocol):
    """Where records go."""

    def put(self, record: Record) -> None:
        """Take a record; at once, without waiting."""
        ...


class Engine:
    """Answers calls."""

    def __init__(
        self, config: Config, worlds: Worlds, recorder: Recorder, route: Callable[[Endpoint], Awaitable[Route]]
    ) -> None:
        """`route` finds the way to an endpoint, starting what must be started first."""
        self._config = config
        self._worlds = worlds
        self._recorder = recorder
        self._route = route
        self._endpoints = {endpoint.target.deployment: endpoint for endpoint in config.endpoints}
        self._runs = Runs()

    def bound(self, call: Call, policy: Policy | None) -> None:
        """Hold a call to what its run may still spend and take.

        Raises:
            BudgetExceeded: nothing is left to spend.
            DeadlineExceeded: the run's time is over.
        """
        who = call.identity
        if policy is not None and who.run and (policy.run_cost is not None or policy.run_time is not None):
            spent = self._runs.seen(who.run, call.started)
            if policy.run_cost is not None:
                left = policy.run_cost - spent.cost
                call.identity = replace(who, budget=left if who.budget is None else min(who.budget, left))
            if policy.run_time is not None:
                call.deadline = min(call.deadline, spent.began + policy.run_time)
                if call.deadline <= call.started:
                    hint = f"Policy {policy.name} gives a run {policy.run_time:g} s."
                    raise DeadlineExceeded("This run's time is over.", hint=hint)
        if call.identity.budget is not None and call.identity.budget <= 0:
            raise BudgetExceeded("This run's budget is spent.", hint="Give it a larger one, or begin a new run.")

    def plan(self, call: Call, policy: Policy | None, model: str | None) -> Plan:
        """The plan for a call: by `policy`, or pinned to the configured `model`."""
        return self._worlds.plan(policy, facts(call, policy, model))

    async def answer(self, call: Call, policy: Policy | None, model: str | None) -> Reply:
        """Serve a call. Every failure is a reply; a record is written when the reply's last byte has gone.

        Raises:
            asyncio.CancelledError: the client left before the answer began.
        """
        record = Record(call, routed_ns=clock.wall_ns())
        journey = _Journey(record)
        start = clock.monotonic()
        try:
            self.bound(call, policy)
            plan = record.plan = self.plan(call, policy, model)
            record.routing = clock.monotonic() - start
            if not plan.targets:
                raise NoCandidate(*self._nobody(plan))
            found = await drive(flow(plan), lambda ask: self._open(journey, ask.target))
            if isinstance(found, Exhausted):
                return self._exhausted(journey, found)
        except asyncio.CancelledError:
            record.error_type = "client_disconnected"
            self._settle(journey, 499, failed=True)
            raise
        except GatewayError as error:
            record.error_type = error.error_type
            self._settle(journey, error.status, failed=True)
            return _error(error, record)
        record.served = found.attempt
        return await self._reply(journey, found)

    async def _open(self, journey: "_Journey", target: Target) -> Opened | Failed:
        """One target: an attempt, and one more at the same place when that may help."""
        circuit = self._worlds.deployments[target.deployment].circuit
        alone = journey.record.plan is not None and len(journey.record.plan.targets) == 1
        if not circuit.admit(clock.monotonic()) and not alone:
            resting = Fault(
                "connection_error", "the deployment rests after failing, and is being tried by another call"
            )
            if not journey.tries:
                journey.fault = resting
            return Failed(target, resting)
        again = True
        while True:
            if journey.left() <= 0:
                raise DeadlineExceeded("The deadline passed before an answer came.", hint="Raise x-request-timeout.")
            if len(journey.tries) >= MAX_ATTEMPTS:
                return Failed(target, journey.fault, retryable=False)
            found = await self._attempt(journey, target)
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

    def _pause(self, journey: "_Journey", fault: Fault, *, alone: bool) -> float | None:
        """Seconds to wait before the same target again; None: do not."""
        if fault.retry_after is not None:
            if alone and fault.retry_after <= min(PATIENCE, journey.left() / 2):
                return fault.retry_after
            return None
        if fault.error_type not in _AGAIN:
            return None
        return min(clock.uniform() * BACKOFF, journey.left())

    async def _attempt(self, journey: "_Journey", target: Target) -> Opened | Fault:
        call = journey.record.call
        endpoint = self._endpoints[target.deployment]
        try:
            route = await self._route(endpoint)
        except GatewayError as error:
            return Fault("connection_error", f"{error.message} {error.hint}".strip(), exception=type(error).__name__)
        previous = journey.tries[-1].attempt if journey.tries else None
        same = previous is not None and previous.target.deployment == target.deployment
        reason = "initial" if previous is None else "retry" if same else "fallback"
        one = begin(
            call,
            target,
            route,
            self._worlds.deployments[target.deployment],
            number=len(journey.tries) + 1,
            reason=reason,  # type: ignore[arg-type]
        )
        if previous is not None:
            one.attempt.follows, one.attempt.trigger = previous.number, previous.error_type
            one.attempt.backoff, journey.backoff = journey.backoff, 0.0
        journey.tries.append(one)
        journey.record.attempts.append(one.attempt)
        return await run(one)

    async def _reply(self, journey: "_Journey", found: Opened) -> Reply:
        record = journey.record
        headers = _headers(record)
        headers["Content-Type"] = found.content_type
        headers["x-fw-model"] = found.attempt.target.model
        if isinstance(found.body, bytes):
            self._settle(journey, found.status)
            cost = record.cost
            if cost is not None:
                headers["x-fw-cost"] = usd(cost)
                if record.call.identity.budget is not None:
                    headers["x-fw-budget-remaining"] = usd(record.call.identity.budget - cost)
            return Reply(found.status, headers, found.body, record)
        headers["Cache-Control"] = "no-cache"
        body = self._streamed(journey, found, found.body)
        await anext(body)
        return Reply(found.status, headers, body, record)

    async def _streamed(self, journey: "_Journey", found: Opened, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The answer's bytes; the record is settled whatever ends them, also when nobody reads past the empty first item."""
        try:
            yield b""
            async for data in body:
                if found.attempt.outcome == "success" and journey.record.call.receipt:
                    yield openai_chat.comment(f"fw-receipt {receipt(journey.record, found.attempt)}")
                yield data
        finally:
            closer = getattr(body, "aclose", None)
            if closer is not None:
                await closer()
            left = found.attempt.stream_outcome == "client_disconnected"
            if found.attempt.outcome != "success":
                journey.record.error_type = "client_disconnected" if left else found.attempt.error_type
            self._settle(journey, 499 if left else 200, failed=found.attempt.outcome != "success")

    def _exhausted(self, journey: "_Journey", found: Exhausted) -> Reply:
        """Every target failed: the last one's own words, or ours."""
        record, fault = journey.record, journey.fault
        record.error_type = fault.error_type
        if fault.status is not None and (not fault.retryable or (fault.body is not None and fault.status in RELAYED)):
            headers = _headers(record)
            headers["Content-Type"] = fault.content_type if fault.body is not None else "application/json"
            headers["x-should-retry"] = "false"
            if fault.retry_after is not None:
                headers["Retry-After"] = str(ceil(fault.retry_after))
            self._settle(journey, fault.status, failed=True)
            shaped = {"message": fault.message, "type": "invalid_request_error", "param": None, "code": None}
            return Reply(fault.status, headers, fault.body or orjson.dumps({"error": shaped}), record)
        names = ", ".join(dict.fromkeys(failed.target.deployment for failed in found.failures))
        error: GatewayError = UpstreamFailed(f"{names}: {fault.message}.", hint=_cure(fault))
        if fault.error_type == "timeout":
            error = DeadlineExceeded(f"{names}: {fault.message}.", hint="Raise x-request-timeout or the ttft_limit.")
        self._settle(journey, error.status, failed=True)
        return _error(error, record)

    def _nobody(self, plan: Plan) -> tuple[str]:
        """What is missing, for a plan that nothing may serve."""
        lines = []
        for candidate in plan.candidates:
            if candidate.excluded:
                endpoint = self._endpoints[candidate.target.deployment]
                cure = candidate.why or candidate.excluded
                if candidate.excluded == "no_credential" and endpoint.row.key_env:
                    cure = f"set {endpoint.row.key_env}"
                lines.append(f"{candidate.target.deployment}: {cure}")
        what = f"No target may serve {plan.policy or 'this model'}{'/' + plan.step if plan.step else ''} now"
        return (f"{what}: {'; '.join(lines[:8]) or 'no model is configured'}.",)

    def _settle(self, journey: "_Journey", status: int, *, failed: bool = False) -> None:
        """Close the record: once, at once, without waiting."""
        record = journey.record
        if record.ended:
            return
        record.ended = clock.monotonic()
        record.status = status
        deployments = {attempt.target.deployment for attempt in record.attempts}
        if failed:
            record.outcome = "failed"
        elif len(record.attempts) > 1:
            record.outcome = "fell_back" if len(deployments) > 1 else "retried"
        seconds = {one.attempt.number: one.machine_seconds for one in journey.tries if one.machine_seconds is not None}
        self._worlds.observe(record, seconds)
        if record.call.identity.run and (cost := record.cost):
            self._runs.spend(record.call.identity.run, cost)
        self._recorder.put(record)


@dataclass(slots=True)
class _Journey:
    """A call on its way through a plan."""

    record: Record
    tries: list[Try] = field(default_factory=list)
    fault: Fault = field(default_factory=lambda: Fault("_OTHER", "nothing was tried"))
    backoff: float = 0.0

    def left(self) -> float:
        return self.record.call.deadline - clock.monotonic()


def facts(call: Call, policy: Policy | None, model: str | None) -> Facts:
    """What of a call a plan may depend on, rounded so that equal-sized calls share one."""
    who = call.identity
    limit = call.fields.get("max_completion_tokens") or call.fields.get("max_tokens")
    left = call.deadline - clock.monotonic()
    return Facts(
        agent=who.agent,
        step=who.step or "*",
        attempt=who.attempt,
        labels=who.labels,
        needs=call.needs,
        input_tokens=quantise(len(call.body) // 4),
        max_output_tokens=limit if isinstance(limit, int) else None,
        budget_left=_round_down(who.budget) if who.budget is not None else None,
        hour=clock.hour() if policy is not None and "hour" in policy.uses else None,
        deadline=float(int(left)) if left < SHORT else None,
        model=model,
    )


def _round_down(amount: int) -> int:
    """Two significant digits, never more than there is."""
    scale: int = 10 ** max(0, len(str(abs(amount))) - 2)
    return amount // scale * scale


def usd(nano: int) -> str:
    """Nano-USD as decimal dollars."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(nano, NANO_USD)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".")


def _headers(record: Record) -> dict[str, str]:
    call = record.call
    flags = call.trace.flags & 3
    return {
        "x-request-id": call.request_id,
        "x-fw-decision-id": call.decision_id,
        "traceresponse": f"00-{call.trace.trace_id}-{call.span_id}-{flags:02x}",
    }


def _error(error: GatewayError, record: Record) -> Reply:
    headers = _headers(record)
    headers["Content-Type"] = "application/json"
    headers["x-should-retry"] = "false"
    if error.retry_after is not None:
        headers["Retry-After"] = str(ceil(error.retry_after))
    return Reply(error.status, headers, orjson.dumps(error.body()), record)


def _cure(fault: Fault) -> str:
    if fault.status in {401, 402, 403}:
        return "The provider refused the gateway's own key: check it with `fw doctor`."
    return ""


def receipt(record: Record, attempt: Attempt) -> str:
    """What a stream's reader is told at its end: cost, usage, model."""
    usage, cost, budget = attempt.usage, record.cost, record.call.identity.budget
    found: Mapping[str, object] = {
        "cost": usd(cost) if cost is not None else None,
        "usage": None
        if usage is None
        else {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
        },
        "model": attempt.target.model,
        "ttft": attempt.ttft,
        "budget_remaining": usd(budget - cost) if budget is not None and cost is not None else None,
    }
    return orjson.dumps(found).decode()
