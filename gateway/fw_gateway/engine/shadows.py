"""Calls that are asked beside others, of deployments too little is known of: measured, paid from the purse, and seen by nobody."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from fw_gateway import clock
from fw_gateway.attempt import Opened
from fw_gateway.engine.choice import Beside, Chooser
from fw_gateway.engine.journey import Journey
from fw_gateway.engine.trying import Trying
from fw_gateway.errors import GatewayError
from fw_gateway.providers.answers import seen
from fw_gateway.providers.checks import rejected
from fw_gateway.values import Attempt, Call, Identity, Origin, Record, Trace
from fw_policies.flow import Open
from fw_policies.model import Plan
from fw_policies.spec import checks

MOST = 8
"""Shadows under way at once; what comes while there are so many is not asked."""
MEMORY = 20_000
"""Idempotency keys remembered: a call that is sent again has no second shadow."""
_log = logging.getLogger("fw.explore")


class Shadows:
    """Owns what is asked beside calls, from the offer to the settled purse."""

    def __init__(self, trying: Trying, chooser: Chooser, learn: Callable[[Journey], None]) -> None:
        """`trying` makes the one attempt, `learn` is told when it is over, and `chooser` holds what was set aside."""
        self._trying = trying
        self._chooser = chooser
        self._learn = learn
        self._offered: asyncio.Queue[tuple[Call, Beside]] | None = None
        self._count = 0
        self._seen: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def offer(self, call: Call, beside: Beside) -> None:
        """Ask `beside.plan` what `call` asks, soon; or give back at once what was set aside for it."""
        if self._offered is None or self._count >= MOST or self._again(call):
            self._chooser.settle(beside.reserved, [])
            return
        self._count += 1
        self._offered.put_nowait((_copy(call), beside))

    async def work(self) -> None:
        """Ask what is offered until cancelled; what is under way then is cancelled too, and settled."""
        offered: asyncio.Queue[tuple[Call, Beside]] = asyncio.Queue()
        self._offered = offered
        self._chooser.shadowing = True
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    group.create_task(self._one(*await offered.get()))
        finally:
            self._chooser.shadowing = False
            self._offered = None
            while not offered.empty():
                self._chooser.settle(offered.get_nowait()[1].reserved, [])
                self._count -= 1

    async def _one(self, call: Call, beside: Beside) -> None:
        attempts = None
        try:
            attempts = await self._ask(call, beside.plan)
        except Exception:  # noqa: BLE001 - the border: nobody waits for a shadow, and none may end the others
            _log.exception("a shadow of %s failed in the gateway itself", beside.plan.targets[0].deployment)
        finally:
            self._count -= 1
            if attempts is not None:  # else it may have cost anything: what was set aside counts as spent
                self._chooser.settle(beside.reserved, attempts)

    async def _ask(self, call: Call, plan: Plan) -> list[Attempt]:
        """Ask the one target of `plan`; what was tried, whatever became of it."""
        record = Record(call, plan, routed_ns=call.started_ns)
        journey = Journey(record)
        try:
            found = await self._trying.open(journey, Open(plan.targets[0], hold=True))
            if isinstance(found, Opened):
                _judge(found, plan, call)
        except GatewayError as error:  # before anything was sent
            record.error_type = error.error_type
        finally:
            record.ended = clock.monotonic()
            for done in record.attempts:
                record.status, record.error_type = done.status or 0, done.error_type
                record.outcome = "direct" if done.outcome == "success" else "failed"
            if record.attempts:
                self._learn(journey)
        return record.attempts

    def _again(self, call: Call) -> bool:
        who = call.identity
        key = (call.key_id, who.agent, who.step, who.idempotency_key)
        if not who.idempotency_key:
            return False
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > MEMORY:
            self._seen.popitem(last=False)
        return False


def _judge(found: Opened, plan: Plan, call: Call) -> None:
    """Whether an answer that nobody sees passes the built-in checks; what a check of the client's own would say stays unknown."""
    body = found.body if isinstance(found.body, bytes) else b""
    said = rejected(plan.verify, *seen(call, body))
    if said is not None:
        found.attempt.outcome, found.attempt.check, found.attempt.accepted = "rejected", said[0], False
    elif plan.verify and all(map(checks.is_built_in, plan.verify)):
        found.attempt.accepted = True


def _copy(call: Call) -> Call:
    """The same question, as nobody's call: a trace of its own, no run, no budget, and as long as the call itself has."""
    who = call.identity
    return replace(
        call,
        decision_id=clock.ulid(),
        identity=Identity(agent=who.agent, step=who.step, attempt=who.attempt, labels=who.labels),
        trace=Trace(clock.trace_id(), flags=call.trace.flags & 1),
        span_id="",
        started_ns=clock.wall_ns(),
        started=clock.monotonic(),
        receipt=False,
        embedded=True,
        checks=(),
        shadow=Origin(call.decision_id, call.trace.trace_id, call.span_id),
    )
