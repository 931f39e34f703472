"""What is left to chance in a plan: what is explored, which arm serves, and what stays as it began."""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass

from fw_gateway import clock
from fw_gateway.ledger import Entry, Ledger, LedgerError
from fw_gateway.values import Attempt, Call
from fw_policies import draw
from fw_policies.model import Facts, Plan
from fw_policies.rules.explore import worst
from fw_policies.spec import Policy

MEMORY = 20_000
"""Runs and threads whose model is remembered; the one that was quiet for longest is forgotten first."""
_MADE = 512
"""Drawn plans that are kept, so that equal draws give the same object: the ledger knows plans by it."""
_log = logging.getLogger("fw.explore")


@dataclass(frozen=True, slots=True)
class Reserved:
    """Nano-USD set aside for one explored attempt."""

    entry: Entry

    def returned(self, cost: int | None) -> Entry | None:
        """What is given back once its cost is known; an unknown cost keeps all of it."""
        if cost is None or cost == self.entry.amount:
            return None
        return Entry(self.entry.purse, self.entry.day, cost - self.entry.amount)


class Chooser:
    """Draws. Equal keys (a task, an idempotency key; with `sticky`, a run or a thread) get equal draws."""

    def __init__(self, ledger: Ledger) -> None:
        """`ledger` keeps the purses."""
        self._ledger = ledger
        self._spent: dict[tuple[str, str], int] = {}
        self._returned: list[Entry] = []
        self._broken = False
        self._began: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._made: dict[tuple[object, ...], tuple[Plan, Plan]] = {}

    async def choose(self, call: Call, policy: Policy, facts: Facts, plan: Plan) -> tuple[Plan, Reserved | None]:
        """The plan that serves this call, and what was set aside when it is explored."""
        who, rules = call.identity, policy.rules(facts)
        held = {"loop": who.run, "conversation": who.thread}.get(rules.sticky, "")
        place = (policy.name, who.agent, facts.step)
        key = (*place, rules.sticky, held) if held else (*place, "task", who.idempotency_key or who.task)
        keyed = bool(key[-1])
        if plan.exploration is not None:
            first = draw.uniform("explore", *key) if keyed else clock.uniform()
            tried, reserved = await self._tried(call, facts, plan, first)
            if tried is not None:
                return self._same(plan, tried), reserved
        kept = draw.kept(plan, lambda trial: self._affords(plan, self._cost(call, facts, trial)))
        if held and plan.arms:
            found = draw.sticky_arm(plan, *key)
        else:
            found = draw.arm(plan, draw.uniform("arm", *key) if keyed else clock.uniform()) if plan.arms else plan
        if held and not plan.arms:
            found = self._stays(found, key)
        return self._same(plan, draw.weighed(found, kept)), None

    def settle(self, reserved: Reserved, attempts: list[Attempt]) -> None:
        """The explored attempts are over: what they did not use is given back, with the next reservation at the latest."""
        costs = [attempt.cost for attempt in attempts]
        back = reserved.returned(None if None in costs else sum(cost or 0 for cost in costs))
        if back is not None:
            self._returned.append(back)
            at = (back.purse, back.day)
            self._spent[at] = max(0, self._spent.get(at, 0) + back.amount)

    def close(self) -> None:
        """Write what is still to be given back."""
        entries, self._returned = self._returned, []
        if not entries:
            return
        try:
            self._ledger.reserve(Entry(entries[0].purse, entries[0].day, 0), 0, entries)
        except LedgerError as fault:
            _log.warning("what exploring did not use stays reserved: %s", fault)

    async def _tried(self, call: Call, facts: Facts, plan: Plan, first: float) -> tuple[Plan | None, Reserved | None]:
        found = plan.exploration
        if found is None or self._broken:
            return None, None
        await self._known(found.purse, found.max_cost)
        for _ in range(len(found.trials) + 1):
            tried = draw.tried(plan, first, lambda trial: self._affords(plan, self._cost(call, facts, trial)))
            amount = self._cost(call, facts, tried) if tried is not None else None
            if tried is None or amount is None:
                return None, None
            wanted = Entry(found.purse, clock.today(), amount)
            if await self._reserve(wanted, found.max_cost):
                return tried, Reserved(wanted)
        return None, None

    async def _known(self, purse: str, ceiling: int) -> None:
        """What this purse has spent today is read once; later it is counted along."""
        if (purse, clock.today()) not in self._spent:
            await self._reserve(Entry(purse, clock.today(), 0), ceiling)

    async def _reserve(self, wanted: Entry, ceiling: int) -> bool:
        entries, self._returned = self._returned, []
        try:
            fits, spent = await asyncio.to_thread(self._ledger.reserve, wanted, ceiling, entries)
        except LedgerError as fault:
            self._broken = True  # a ceiling that cannot be kept is a ceiling of nothing
            _log.error("nothing is explored any more: %s", fault)
            return False
        today = clock.today()
        self._spent = {at: one for at, one in self._spent.items() if at[1] == today}
        self._spent[wanted.purse, wanted.day] = spent + sum(
            one.amount for one in self._returned if (one.purse, one.day) == (wanted.purse, wanted.day)
        )
        return fits

    def _affords(self, plan: Plan, amount: int | None) -> bool:
        found = plan.exploration
        if found is None or amount is None or self._broken:
            return False
        return self._spent.get((found.purse, clock.today()), found.max_cost + 1) + amount <= found.max_cost

    def _cost(self, call: Call, facts: Facts, trial: Plan) -> int | None:
        """What the explored attempt may cost at most."""
        left = max(0.0, call.deadline - clock.monotonic())
        asked = call.fields.get("n")
        choices = asked if isinstance(asked, int) and asked > 1 else 1
        return worst(trial.targets[0], facts, size=len(call.body), seconds=left, choices=choices)

    def _stays(self, plan: Plan, key: tuple[str, ...]) -> Plan:
        began = self._began.get(key)
        found = draw.stay(plan, began) if began is not None else plan
        if found.targets:
            self._began[key] = found.targets[0].model
            self._began.move_to_end(key)
            if len(self._began) > MEMORY:
                self._began.popitem(last=False)
        return found

    def _same(self, plan: Plan, found: Plan) -> Plan:
        """One object for equal draws from one plan."""
        if found is plan:
            return plan
        which = (id(plan), found.propensity, found.explored, tuple(target.deployment for target in found.targets))
        known = self._made.get((*which, found.effort, found.verify))
        if known is not None:
            return known[1]
        if len(self._made) >= _MADE:
            self._made.clear()
        self._made[*which, found.effort, found.verify] = (plan, found)
        return found
