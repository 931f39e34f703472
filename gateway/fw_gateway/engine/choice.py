"""What is left open in a plan: what is explored, which arm serves, and what stays as it began."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fw_gateway import clock
from fw_gateway.catalog import text
from fw_gateway.engine.purses import Purses, Reserved
from fw_gateway.ledger import Ledger
from fw_gateway.values import Attempt, Call
from fw_policies import draw
from fw_policies.model import Exploration, Facts, Plan, Target
from fw_policies.rules import explore
from fw_policies.spec import Policy

MEMORY = 20_000
"""Runs and threads whose model is remembered; the one that was quiet for longest is forgotten first."""
_MADE = 512
"""Drawn plans that are kept, so that equal draws give the same object: the ledger knows plans by it."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is asked beside a call, and what was set aside for it."""

    plan: Plan
    reserved: Reserved


class Chosen(NamedTuple):
    """What a draw came to."""

    plan: Plan
    """That serves."""
    reserved: Reserved | None = None
    """Set aside for its first target, when it is explored."""
    beside: Beside | None = None
    text: bytes | None = None
    """What the call says, embedded; None: nobody had to know."""


class Bill:
    """What exploring may cost one call: worked out as far as it is asked for."""

    def __init__(self, purses: Purses, limits: Exploration, worst: Callable[[Target], int | None]) -> None:
        """`worst`: nano-USD that an attempt may cost at most; None: nothing bounds it."""
        self.limits = limits
        self.refused = False
        """The purse gave less than was thought to be in it."""
        self._purses = purses
        self._worst = worst
        self._costs: dict[str, int | None] = {}
        self.pace = purses.pace(limits.purse, limits.max_cost, self._dearest)
        """Part of the share that is explored now."""

    def cost(self, trial: Target) -> int | None:
        """Nano-USD at most, the same for all of this call."""
        if trial.deployment not in self._costs:
            self._costs[trial.deployment] = self._worst(trial)
        return self._costs[trial.deployment]

    def affords(self) -> Callable[[Target], bool]:
        """What the purse can pay for now."""
        room = self._purses.room(self.limits.purse, self.limits.max_cost)

        def found(trial: Target) -> bool:
            cost = self.cost(trial)
            return cost is not None and cost <= room

        return found

    def _dearest(self) -> int:
        return max((cost for _, trial in self.limits.trials if (cost := self.cost(trial)) is not None), default=0)


class Chooser:
    """Draws. Equal keys (a task, an idempotency key; with `sticky`, a run or a thread) get equal draws."""

    def __init__(self, ledger: Ledger) -> None:
        """`ledger` keeps the purses."""
        self._purses = Purses(ledger)
        self._began: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._given: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._made: dict[tuple[object, ...], tuple[Plan, Plan]] = {}
        self.shadowing = False
        """Whether somebody asks beside calls. Until then what has not been seen yet is tried at once, where a loss is allowed."""

    async def choose(self, call: Call, policy: Policy, facts: Facts, plan: Plan) -> Chosen:
        """The plan that serves this call, what was set aside when it is explored, and what is asked beside it."""
        who, rules = call.identity, policy.rules(facts)
        if plan.exploration is None and plan.by_text is None and not plan.arms and not rules.sticky:
            return Chosen(plan)
        held = {"loop": who.run, "conversation": who.thread}.get(rules.sticky, "")
        place = (policy.name, who.agent, facts.step)
        key = (*place, rules.sticky, held) if held else (*place, "task", who.idempotency_key or who.task)
        keyed = bool(key[-1])
        beside, kept = None, 1.0
        limits = plan.exploration
        if limits is not None and (self.shadowing or not limits.unseen):
            shadows = limits.shadows if self.shadowing else frozenset()
            first = draw.uniform("explore", *key) if keyed else clock.uniform()
            await self._purses.open(limits.purse, limits.max_cost)
            bill = self._bill(call, facts, limits)
            # A reservation changes what can be afforded, and with it the probability that nothing is explored.
            kept = draw.kept(plan, bill.affords(), pace=bill.pace, shadows=shadows)
            tried, reserved = await self._tried(plan, first, bill)
            if tried is None or reserved is None:
                kept = draw.kept(plan, bill.affords(), pace=bill.pace, shadows=shadows) if bill.refused else kept
            elif tried.targets[0].deployment in shadows:
                beside = Beside(explore.beside(tried), reserved)
            else:
                return Chosen(self._same(plan, tried), reserved)
        said: bytes | None = None
        if plan.by_text is not None:
            found, said = self._by_text(call, plan, (*place, held or who.run))
            found = self._same(plan, found)
        elif plan.arms:
            chance = 0.0 if held else draw.uniform("arm", *key) if keyed else clock.uniform()
            number = draw.given(plan, *key) if held else draw.drawn(plan, chance)
            found = self._once(plan, ("arm", number), lambda: draw.armed(plan, number))
        else:
            found = plan
        if (
            held and not plan.arms and not rules.use_baseline
        ):  # who asks for the baseline means it, whatever it began with
            found = self._same(plan, self._stays(found, key))
        if kept != 1.0:
            whole = found
            found = self._once(whole, ("kept", kept), lambda: draw.weighed(whole, kept))
        return Chosen(found, None, beside, said)

    def settle(self, reserved: Reserved, attempts: list[Attempt]) -> None:
        """The explored attempts are over: what they did not use may be used again."""
        costs = [attempt.cost for attempt in attempts]
        self._purses.settle(reserved, None if None in costs else sum(cost or 0 for cost in costs))

    def close(self) -> None:
        """Give back what is not needed any more."""
        self._purses.close()

    def _bill(self, call: Call, facts: Facts, limits: Exploration) -> Bill:
        """What each attempt may cost this call at most, and how much of the share the purse allows now."""
        left = max(0.0, call.deadline - clock.monotonic())
        choices = call.asked.choices
        return Bill(
            self._purses,
            limits,
            lambda trial: explore.worst(trial, facts, size=len(call.body), seconds=left, choices=choices),
        )

    async def _tried(self, plan: Plan, first: float, bill: Bill) -> tuple[Plan | None, Reserved | None]:
        """The plan that is explored, and paid for; what turns out to be too dear is drawn again without it, by the same draw."""
        limits = bill.limits
        for _ in range(len(limits.trials) + 1):
            tried = draw.tried(plan, first, bill.affords(), pace=bill.pace)
            amount = bill.cost(tried.targets[0]) if tried is not None else None
            if tried is None or amount is None:
                break
            reserved = await self._purses.take(limits.purse, amount, limits.max_cost)
            if reserved is not None:
                return tried, reserved
            bill.refused = True
        return None, None

    def _by_text(self, call: Call, plan: Plan, key: tuple[str, ...]) -> tuple[Plan, bytes | None]:
        """The arm that the call's text is given, and the text; of a run the first decides for all, as it was proven."""
        known = self._given.get(key) if key[-1] else None
        found = draw.arm_again(plan, known) if known is not None else None
        said = None
        if found is None:
            said = text.embedding().packed(text.said(call.fields))
            found = draw.arm_by_text(plan, said)
        if key[-1]:
            _remember(self._given, key, draw.name(found))
        return found, said

    def _stays(self, plan: Plan, key: tuple[str, ...]) -> Plan:
        began = self._began.get(key)
        found = draw.stay(plan, began) if began is not None else plan
        if found.targets:
            _remember(self._began, key, found.targets[0].model)
        return found

    def _same(self, plan: Plan, found: Plan) -> Plan:
        """One object for equal draws from one plan."""
        if found is plan:
            return plan
        places = tuple(target.deployment for target in found.targets)
        which = (found.propensity, found.explored, places, found.effort, found.verify)
        return self._once(plan, which, lambda: found)

    def _once(self, plan: Plan, which: object, make: Callable[[], Plan]) -> Plan:
        """What a draw makes of a plan, made once; `which` tells its draws apart."""
        known = self._made.get((id(plan), which))
        if known is None:
            if len(self._made) >= _MADE:
                self._made.clear()
            known = self._made[id(plan), which] = (plan, make())
        return known[1]


def _remember(memory: OrderedDict[tuple[str, ...], str], key: tuple[str, ...], value: str) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > MEMORY:
        memory.popitem(last=False)
