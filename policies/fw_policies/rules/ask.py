"""What a rule is given beside the plan, and how it excludes candidates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fw_policies.model import Candidate, Exclusion, Facts, Note, Plan, World
from fw_policies.spec import Policy, Rules


@dataclass(frozen=True, slots=True)
class Ask:
    """The request's facts, what its step needs, and the world as it is."""

    policy: Policy
    rules: Rules
    facts: Facts
    world: World


Judge = Callable[[Candidate], tuple[Exclusion, str] | None]


def exclude(plan: Plan, judge: Judge, rule: str) -> Plan:
    """The plan with every candidate excluded that `judge` gives a reason for; what is out stays out for its first reason."""
    out, count = [], 0
    for candidate in plan.candidates:
        verdict = None if candidate.excluded else judge(candidate)
        if verdict is None:
            out.append(candidate)
            continue
        count += 1
        out.append(replace(candidate, excluded=verdict[0], why=verdict[1]))
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
