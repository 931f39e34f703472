"""What a rule is given beside the plan, how it excludes candidates, and how what was found out is kept.

A finding is kept where what it was found from is: about one target with what is known of it, which later worlds take over until it
changes; about a step with the estimates; about a request with the `Ask`. Whatever else it follows from are its grounds, and it holds
as long as they are equal.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.model import Candidate, Exclusion, Facts, Known, Note, Plan, Target, World
from fw_policies.spec import Policy, Rules, checks

Found = TypeVar("Found")
Memory = dict[Any, Any]
"""Slot -> its grounds and the finding."""
PLACES = 4096
"""Steps that one snapshot remembers findings for; their names come from clients."""
SLOTS = 64
"""Findings of one place."""


def kept(
    memory: Memory, slot: Hashable, grounds: tuple[object, ...], make: Callable[[], Found], *, most: int = SLOTS
) -> Found:
    """What `make` finds, found again only when the grounds are others; when there are `most` findings, all are forgotten."""
    had = memory.get(slot)
    if had is None or had[0] != grounds:
        if len(memory) >= most:
            memory.clear()
        had = memory[slot] = (grounds, make())
    found: Found = had[1]
    return found


def is_run(check: str, facts: Facts) -> bool:
    """Whether the client says that it runs this check of its own."""
    return check in facts.checks or checks.ANY_CHECK in facts.checks


@dataclass(frozen=True)
class Ask:
    """The request's facts, what its step needs, and the world as it is."""

    policy: Policy
    rules: Rules
    facts: Facts
    world: World
    followers: tuple[Target, ...] = ()
    """Places of the baseline that may follow a rejected answer; empty where nothing is checked."""

    @cached_property
    def checked(self) -> bool:
        """Whether an answer must pass a check before it counts, the step's or the client's own: then it is held back, and may be rejected."""
        held = (checks.is_built_in(check) or is_run(check, self.facts) for check in self.rules.verify)
        return bool(self.facts.checks) or any(held)

    @cached_property
    def outcome(self) -> str:
        """What quality is here; empty: nobody said."""
        return self.policy.quality.outcome if self.policy.quality is not None else ""

    @cached_property
    def looked(self) -> Callable[[Target], Known]:
        """What finds what is known of a target."""
        return self.world.estimates.looking(self.facts, outcome=self.outcome, confidence=self.policy.confidence)

    @cached_property
    def passed(self) -> Callable[[Target], Known]:
        """The same, with the share of answers that passed the step's checks for quality."""
        return self.world.estimates.looking(self.facts, outcome=ACCEPTED, confidence=self.policy.confidence)

    @cached_property
    def memory(self) -> Memory:
        """What is kept of this step for other requests: whatever follows from the estimates, the rules and the targets."""
        rules, targets, facts = self.rules, self.world.targets, self.facts
        after = tuple(one.deployment for one in self.followers)
        place = (facts.agent, facts.step, self.policy.digest, id(rules), id(targets), self.checked, after)
        return kept(self.world.estimates.memory, place, (self.policy, rules, targets), _empty, most=PLACES)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """By deployment, its number among the candidates."""
        targets = self.world.targets
        return kept(self.memory, "numbers", (), lambda: {one.deployment: number for number, one in enumerate(targets)})

    @cached_property
    def models(self) -> Mapping[str, list[int]]:
        """By model, the numbers of its deployments among the candidates."""
        return kept(self.memory, "models", (), lambda: _by_model(self.world.targets))

    @cached_property
    def scratch(self) -> Memory:
        """What is kept for this request alone."""
        return {}


def _empty() -> Memory:
    return {}


def _by_model(targets: Sequence[Target]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, target in enumerate(targets):
        found.setdefault(target.model, []).append(number)
    return found


Verdict = tuple[Exclusion, str] | None
"""Why a candidate is out; None: nothing is against it."""
Judge = Callable[[Candidate], Verdict]


class Lasting(NamedTuple):
    """A judge of candidates for all requests of a step, and what its verdicts follow from beside the target and what is known of it."""

    judge: Judge
    grounds: tuple[object, ...] = ()
    of_target: Callable[[Target], object] | None = None
    """Grounds of its verdict of one target."""


class Passing(NamedTuple):
    """A judge of candidates for one request, and the extent of the request that its verdicts grow with."""

    judge: Judge
    extent: float = math.inf


def remembered(judge: Judge, slot: Hashable, grounds: tuple[object, ...]) -> Judge:
    """`judge`, for what follows from a target, from what is known of it, and from the grounds alone."""

    def found(candidate: Candidate) -> Verdict:
        memory = candidate.known.memory
        had = memory.get(slot)
        if had is not None and had[0] == grounds:
            verdict: Verdict = had[1]
            return verdict
        return kept(memory, slot, grounds, lambda: judge(candidate))

    return found


def first(judges: Sequence[Judge]) -> Judge:
    """The first verdict that says no; else the first that does not know."""
    if len(judges) == 1:
        return judges[0]

    def verdict(candidate: Candidate) -> Verdict:
        unknown: Verdict = None
        for one in judges:
            found = one(candidate)
            if found is not None:
                if found[0] != "unknown":
                    return found
                unknown = unknown or found
        return unknown

    return verdict


def exclude(plan: Plan, judge: Judge, rule: str) -> Plan:
    """The plan with every candidate excluded that `judge` gives a reason for; what is out stays out for its first reason."""
    out, count = [], 0
    for candidate in plan.candidates:
        verdict = None if candidate.excluded else judge(candidate)
        if verdict is None:
            out.append(candidate)
            continue
        count += 1
        out.append(candidate._replace(excluded=verdict[0], why=verdict[1]))
    if not count:
        return plan
    text = f"{count} of {len(out)} candidates"
    return replace(plan, candidates=tuple(out), notes=(*plan.notes, Note(rule, text)))


def note(plan: Plan, rule: str, text: str, **changes: Any) -> Plan:
    """The plan with these changes and one more note."""
    return replace(plan, notes=(*plan.notes, Note(rule, text)), **changes)


def ready(plan: Plan) -> list[Candidate]:
    """Candidates that nothing speaks against."""
    return [candidate for candidate in plan.candidates if not candidate.excluded]


def candidate(plan: Plan, target: Target, ask: Ask) -> Candidate | None:
    """What a target was as a candidate; None: it was none."""
    number = ask.numbers.get(target.deployment, len(plan.candidates))
    found = plan.candidates[number] if number < len(plan.candidates) else None
    return found if found is not None and found.target is target else None


def serving(plan: Plan, ask: Ask) -> Candidate | None:
    """The candidate that serves first; None: nobody does."""
    return candidate(plan, plan.targets[0], ask) if plan.targets else None


def of_model(plan: Plan, model: str | None, ask: Ask) -> list[Candidate]:
    """Candidates of one model that no hard rule excludes."""
    found = [plan.candidates[number] for number in ask.models.get(model or "", ())]
    return [one for one in found if not is_hard(one.excluded)]


HARD: Mapping[Exclusion, bool] = {
    "quality": False,
    "ttft": False,
    "latency": False,
    "cost": False,
    "unknown": False,
}
"""Exclusions that a baseline is exempt from: it is what serves until something else is proven. All others bind it too."""


def is_hard(exclusion: Exclusion) -> bool:
    """Whether nothing may serve against this exclusion, the baseline included."""
    return bool(exclusion) and HARD.get(exclusion, True)
