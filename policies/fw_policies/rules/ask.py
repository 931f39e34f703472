"""What a rule is given beside the plan, and how it excludes candidates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fw_policies.model import Candidate, Exclusion, Facts, Note, Plan, Target, World
from fw_policies.spec import Policy, Rules, checks


def is_run(check: str, facts: Facts) -> bool:
    """Whether the client says that it runs this check of its own."""
    return check in facts.checks or checks.ANY_CHECK in facts.checks


PLACES = 4096
"""Steps that one snapshot remembers findings for; their names come from clients."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The request's facts, what its step needs, and the world as it is."""

    policy: Policy
    rules: Rules
    facts: Facts
    world: World
    followers: tuple[Target, ...] = ()
    """Places of the baseline that may follow a rejected answer; empty where nothing is checked."""

    @property
    def checked(self) -> bool:
        """Whether an answer must pass a check before it counts, the step's or the client's own: then it is held back, and may be rejected."""
        held = (checks.is_built_in(check) or is_run(check, self.facts) for check in self.rules.verify)
        return bool(self.facts.checks) or any(held)

    @property
    def memory(self) -> dict[str, Any]:
        """What may be remembered for this world, policy, agent and step, whatever the request's size and the like.

        It lives with the estimates it was made from; rules and targets are kept in it, so that no other ones get their identity.
        """
        rules, targets = self.rules, self.world.targets
        after = tuple(one.deployment for one in self.followers)
        place = (self.facts.agent, self.facts.step, self.policy.digest, id(rules), id(targets), self.checked, after)
        found = self.world.estimates.memory.get(place)
        if found is None:
            if len(self.world.estimates.memory) >= PLACES:
                self.world.estimates.memory.clear()
            found = self.world.estimates.memory[place] = {"kept": (rules, targets)}
        return found


Verdict = tuple[Exclusion, str] | None
"""Why a candidate is out; None: nothing is against it."""
Judge = Callable[[Candidate], Verdict]
Screen = Callable[[Ask], Judge | None]
"""What makes the judge for one request; None: there is nothing to judge."""


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


def note(plan: Plan, rule: str, text: str) -> Plan:
    """The plan with one more note."""
    return replace(plan, notes=(*plan.notes, Note(rule, text)))


def ready(plan: Plan) -> list[Candidate]:
    """Candidates that nothing speaks against."""
    return [candidate for candidate in plan.candidates if not candidate.excluded]


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


def remembered(judge: Judge, verdicts: dict[str, Verdict]) -> Judge:
    """`judge`, asked once for each deployment: for what does not depend on the request."""

    def found(candidate: Candidate) -> Verdict:
        name = candidate.target.deployment
        if name in verdicts:
            return verdicts[name]
        verdict = verdicts[name] = judge(candidate)
        return verdict

    return found
