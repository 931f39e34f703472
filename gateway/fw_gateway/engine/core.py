"""From a call to a reply: plan, walk the plan until an answer is committed, stream it, and write one record when it is over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from math import ceil
from typing import Protocol

import orjson

from fw_gateway import clock
from fw_gateway.attempt import Opened
from fw_gateway.catalog import text
from fw_gateway.config import Config, Endpoint
from fw_gateway.engine.balance import Balancer
from fw_gateway.engine.choice import Chooser
from fw_gateway.engine.facts import facts
from fw_gateway.engine.journey import Asking, Committed, Exhausted, Journey, drive
from fw_gateway.engine.pending import Pending
from fw_gateway.engine.replies import cure, headers_of, nobody, receipt, refusal, relayed, served, whole
from fw_gateway.engine.shadows import Shadows
from fw_gateway.engine.trying import Trying
from fw_gateway.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    GatewayError,
    NoCandidate,
    Overloaded,
    UpstreamFailed,
    VerificationFailed,
)
from fw_gateway.ledger import Ledger
from fw_gateway.providers.answers import seen
from fw_gateway.providers.checks import rejected
from fw_gateway.providers.watching import comment
from fw_gateway.state import Worlds
from fw_gateway.state.runs import Runs, SharedRuns
from fw_gateway.upstream import Route
from fw_gateway.values import Attempt, Call, CallOutcome, Record, Reply
from fw_policies.flow import Answer, Failed, Open, Quiet, Told, Verdict, Verify, flow
from fw_policies.model import Plan
from fw_policies.spec import Policy, checks

RELAYED = frozenset({408, 429, 500, 502, 503, 504, 529})
"""Statuses that reach the client with the upstream's own words when nothing else is left to try."""


class Recorder(Protocol):
    """Where records go."""

    def put(self, record: Record) -> None:
        """Take a record; at once, without waiting."""
        ...


class Engine:
    """Answers calls."""

    def __init__(
        self,
        config: Config,
        worlds: Worlds,
        recorder: Recorder,
        *,
        ledger: Ledger,
        route: Callable[[Endpoint], Awaitable[Route]],
    ) -> None:
        """`route` finds the way to an endpoint, starting what must be started first; `ledger` keeps what exploring spends."""
        self._chooser = Chooser(ledger)
        self._balancer = Balancer(worlds)
        if config.telemetry.text_features or worlds.world.embedding:
            text.embedding()  # numpy and the vectors are loaded now, not under the first call
        self._config = config
        self._worlds = worlds
        self._recorder = recorder
        self._trying = Trying(config, worlds, route)
        self._pending = Pending(self._unjudged)
        self._shadows = Shadows(self._trying, self._chooser, self._learn)
        self._endpoints = {endpoint.target.deployment: endpoint for endpoint in config.endpoints}
        self._runs = Runs() if config.server.workers == 1 else SharedRuns(config.server.state_dir)

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
                call.identity = who._replace(budget=left if who.budget is None else min(who.budget, left))
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
        journey = Journey(record)
        start = clock.monotonic()

        async def begun() -> Reply:
            self.bound(call, policy)
            known = facts(call, policy, model)
            plan = self._worlds.plan(policy, known)
            if policy is not None and (plan.targets or plan.arms):
                plan, journey.reserved, beside, record.text = await self._chooser.choose(call, policy, known, plan)
                if beside is not None:
                    self._shadows.offer(call, beside)
            record.plan = plan
            record.routing = clock.monotonic() - start
            if not plan.targets:
                raise NoCandidate(nobody(plan, self._endpoints))
            sticky = policy is not None and bool(policy.rules(known).sticky)
            ordered = self._balancer.order(plan, call, sticky=sticky)
            patience = self._balancer.patience(ordered, call) if plan.hedge else None
            journey.races = patience is not None
            journey.walk = flow(ordered, hedge_after=patience)
            return await self._walk(journey)

        return await self._guarded(journey, begun())

    async def verdict(self, name: str, *, accept: bool, number: int | None, key_id: str) -> Reply:
        """The client's own verdict on the answer that waits under a decision's id: it counts, or the plan goes on.

        Raises:
            VerdictGone: no answer waits (any more).
            VerdictMismatch: another attempt's answer does.
            asyncio.CancelledError: the client left before the next answer began.
        """
        waiting = self._pending.take(name, number, key_id)
        journey, asking = waiting.journey, waiting.asking
        if accept:
            return self._accepted(journey, asking)
        said = self._reject(journey, asking.answer, asking.check, "rejected by the client")
        return await self._guarded(journey, self._walk(journey, said))

    async def work(self) -> None:
        """Ask beside calls what is not proven enough to serve, until cancelled."""
        await self._shadows.work()

    def _accepted(self, journey: Journey, asking: Asking) -> Reply:
        """The client has the answer already; it is told what the call has cost."""
        opened: Opened = asking.answer.content
        opened.attempt.accepted = True
        if journey.walk is not None:
            journey.walk.close()
        reply = self._held(journey, Committed(opened))
        reply.headers["Content-Type"] = "application/json"
        reply.body = orjson.dumps({"accepted": True})
        return reply

    def close(self) -> None:
        """Let go of the answers that wait for a verdict; their records are written."""
        self._pending.close()
        self._chooser.close()
        self._runs.close()

    async def _guarded(self, journey: Journey, work: Coroutine[None, None, Reply]) -> Reply:
        """The reply of `work`, its failures included; whatever ends it settles the record."""
        record = journey.record
        try:
            return await work
        except asyncio.CancelledError:
            record.error_type = "client_disconnected"
            self._settle(journey, 499, failed=True)
            raise
        except GatewayError as error:
            record.error_type = error.error_type
            self._settle(journey, error.status, failed=True)
            return refusal(error, record)

    def _next(self, journey: Journey) -> Callable[[Open], Awaitable[Opened | Failed | Quiet]]:
        return lambda ask: self._trying.open(journey, ask)

    async def _walk(self, journey: Journey, told: Told = None) -> Reply:
        """Walk on until there is something to say to the client."""
        found = await drive(journey, self._next(journey), lambda ask: self._judge(journey, ask), told)
        if isinstance(found, Exhausted):
            return self._exhausted(journey, found)
        if isinstance(found, Asking):
            return self._asked(journey, found)
        record = journey.record
        record.served = found.opened.attempt
        if record.plan is not None and record.plan.verify:
            return self._held(journey, found)
        return await self._reply(journey, found.opened)

    def _judge(self, journey: Journey, ask: Verify) -> Verdict | Asking:
        """Run the built-in checks; what passes them all is the client's to judge, if it has a check of its own."""
        opened: Opened = ask.answer.content
        body = opened.body if isinstance(opened.body, bytes) else b""
        call = journey.record.call
        found = rejected(ask.checks, *seen(call, body))
        if found is not None:
            return self._reject(journey, ask.answer, *found)
        own = next((check for check in ask.checks if not checks.is_built_in(check)), None)
        if own is not None:
            opened.attempt.check = own
            return Asking(ask.answer, own)
        opened.attempt.accepted = True
        return Verdict(accepted=True)

    def _reject(self, journey: Journey, answer: Answer, *said: str) -> Verdict:
        """The check that rejects, and why."""
        attempt = answer.content.attempt
        attempt.outcome, attempt.check, attempt.accepted = "rejected", said[0], False
        journey.rejection = Verdict(False, *said)
        return journey.rejection

    def _asked(self, journey: Journey, asking: Asking) -> Reply:
        """The held answer goes to the client for its verdict; the walk waits."""
        opened: Opened = asking.answer.content
        body = opened.body if isinstance(opened.body, bytes) else b""
        reply = whole(journey.record, opened, body)
        reply.headers["x-fw-verify"] = asking.check
        reply.headers["x-fw-attempt"] = str(opened.attempt.number)
        self._pending.hold(journey, asking, number=opened.attempt.number, size=len(body))
        return reply

    def _unjudged(self, journey: Journey, asking: Asking) -> None:
        """Nobody said whether the answer counts: it was served, and whether it passed stays unknown."""
        if journey.walk is not None:
            journey.walk.close()
        journey.record.served = asking.answer.content.attempt
        self._settle(journey, asking.answer.content.status)

    def _held(self, journey: Journey, found: Committed) -> Reply:
        """A held answer goes out; one that did not pass says so."""
        record, opened = journey.record, found.opened
        record.served, record.accepted = opened.attempt, clock.monotonic()
        self._settle(journey, opened.status)
        reply = whole(record, opened, opened.body if isinstance(opened.body, bytes) else b"")
        if found.failed is not None:
            reply.headers["x-fw-verify-failed"] = checks.split(found.failed.check)[0]
        return reply

    async def _reply(self, journey: Journey, found: Opened) -> Reply:
        if isinstance(found.body, bytes):
            self._settle(journey, found.status)
            return whole(journey.record, found, found.body)
        record = journey.record
        headers = headers_of(record)
        headers["Content-Type"] = found.content_type
        headers["Cache-Control"] = "no-cache"
        headers |= served(record, found.attempt)
        body = self._streamed(journey, found, found.body)
        await anext(body)
        return Reply(found.status, headers, body, record)

    async def _streamed(self, journey: Journey, found: Opened, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The answer's bytes; the record is settled whatever ends them, also when nobody reads past the empty first item."""
        try:
            yield b""
            async for data in body:
                if found.attempt.outcome == "success" and journey.record.call.receipt:
                    yield comment(f"fw-receipt {receipt(journey.record, found.attempt)}")
                yield data
        finally:
            closer = getattr(body, "aclose", None)
            if closer is not None:
                await closer()
            left = found.attempt.stream_outcome == "client_disconnected"
            if found.attempt.outcome != "success":
                journey.record.error_type = "client_disconnected" if left else found.attempt.error_type
            self._settle(journey, 499 if left else 200, failed=found.attempt.outcome != "success")

    def _exhausted(self, journey: Journey, found: Exhausted) -> Reply:
        """Every target failed: the last one's own words, or ours."""
        record, fault = journey.record, journey.fault
        if journey.rejection is not None:
            said = journey.rejection
            message = f"No answer passed the check {said.check}: {said.why}."
            raise VerificationFailed(message, hint="What did not pass is not passed on here (`otherwise: refuse`).")
        record.error_type = fault.error_type
        if fault.status is not None and (
            not fault.retryable or fault.ours or (fault.body is not None and fault.status in RELAYED)
        ):
            headers = headers_of(record)
            body = relayed(fault, record.call)
            headers["Content-Type"] = fault.content_type if body is fault.body else "application/json"
            headers["x-should-retry"] = "false"
            wait = _wait(journey)
            if wait is not None:
                headers["Retry-After"] = str(ceil(wait))
            self._settle(journey, fault.status, failed=True)
            return Reply(fault.status, headers, body, record)
        names = ", ".join(dict.fromkeys(failed.target.deployment for failed in found.failures))
        error: GatewayError = UpstreamFailed(f"{names}: {fault.message}.", hint=cure(fault))
        if fault.error_type == "timeout":
            limit = "ttft_limit" if record.call.stream else "answer_limit"
            error = DeadlineExceeded(f"{names}: {fault.message}.", hint=f"Raise x-request-timeout or the {limit}.")
        error.retry_after = _wait(journey)
        if fault.error_type == Overloaded.error_type:
            error = Overloaded(f"{names}: {fault.message}.", hint="Try again in a moment.", retry_after=1.0)
            record.error_type = error.error_type
        self._settle(journey, error.status, failed=True)
        return refusal(error, record)

    def _settle(self, journey: Journey, status: int, *, failed: bool = False) -> None:
        """Close the record: once, at once, without waiting."""
        record = journey.record
        if record.ended:
            return
        record.ended = clock.monotonic()
        record.status = status
        if journey.reserved is not None and record.plan is not None:
            explored = record.plan.targets[0]
            self._chooser.settle(journey.reserved, [one for one in record.attempts if one.target == explored])
        if failed:
            record.outcome = "failed"
        elif len(record.attempts) > 1:
            record.outcome = _found(record.attempts)
        if record.call.identity.run:
            cost = record.cost
            if cost is None:
                cost = record.guessed_cost  # better an estimate than nothing
            if cost:
                self._runs.spend(record.call.identity.run, cost)
        self._learn(journey)

    def _learn(self, journey: Journey) -> None:
        seconds = {one.attempt.number: one.machine_seconds for one in journey.tries if one.machine_seconds is not None}
        self._worlds.observe(journey.record, seconds)
        if self._config.telemetry.text_features and journey.record.call.operation == "chat":
            journey.record.said = text.said(journey.record.call.fields)[: text.SERVED]
        self._recorder.put(journey.record)


def _found(attempts: list[Attempt]) -> CallOutcome:
    """How an answer was found that took several attempts."""
    if any(attempt.outcome == "rejected" for attempt in attempts):
        return "cascaded"
    if any(attempt.reason == "hedge" for attempt in attempts):
        return "hedged"
    return "fell_back" if len({attempt.target.deployment for attempt in attempts}) > 1 else "retried"


def _wait(journey: Journey) -> float | None:
    """Seconds after which another call may fare better, as far as providers said, or because the retry budget is spent now."""
    told = journey.fault.retry_after
    if told is None:
        told = journey.retry_after
    return 1.0 if told is None and journey.spent else told
