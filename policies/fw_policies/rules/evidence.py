"""What stands behind a plan, and what is missing for a better one."""

from collections.abc import Mapping
from dataclasses import replace
from heapq import nsmallest

from fw_policies.estimate.intervals import needed
from fw_policies.model import Candidate, Exclusion, Plan
from fw_policies.rules.ask import Ask, note, serving

JUDGED: frozenset[Exclusion] = frozenset({"quality", "cost", "latency", "ttft"})
SHOWN = 2
"""Candidates of which it is said what they lack."""


def evidence(plan: Plan, ask: Ask) -> Plan:
    """Fill the plan's evidence: observations of what was chosen, and what a better one still needs. A mixture has that of its least known arm."""
    if plan.arms:
        arms = tuple((weight, evidence(arm, ask)) for weight, arm in plan.arms)
        return _drifted(replace(plan, arms=arms, evidence=min((arm.evidence for _, arm in arms), key=_count)), ask)
    chosen = serving(plan, ask)
    outlook = chosen.outlook if chosen is not None else plan.outlook
    found: dict[str, float | str | None] = {
        "outcomes": outlook.quality.n if outlook.quality is not None else 0.0,
        "calls": outlook.latency.n if outlook.latency is not None else 0.0,
    }
    if plan.reason in {"baseline", "degraded", "infeasible"} and not ask.rules.use_baseline:
        missing = _nearest(plan) or _all(plan, ask)
        if missing:
            found["missing"] = missing
    return _drifted(replace(plan, evidence=found), ask)


def _drifted(plan: Plan, ask: Ask) -> Plan:
    """With what was known and is void."""
    for text in ask.world.drifted.get((ask.facts.agent, ask.facts.step), ()):
        plan = note(plan, "drift", text)
    return plan


def _count(found: Mapping[str, float | str | None]) -> float:
    calls = found.get("calls")
    return calls if isinstance(calls, float | int) else 0.0


def _nearest(plan: Plan) -> str:
    """What the cheapest of those lack that have outcomes and are not proven all the same."""
    unproven = [c for c in plan.candidates if c.excluded == "unknown" and c.known.judged is not None]
    first = nsmallest(SHOWN, unproven, key=_cost)
    return "; ".join(f"{c.target.deployment}: {c.why}" for c in first)


def _cost(candidate: Candidate) -> float:
    cost = candidate.mean("cost")
    return float("inf") if cost is None else cost


def _all(plan: Plan, ask: Ask) -> str:
    """What every requirement asks for, while nothing is known; empty when something is."""
    if any(c.excluded in JUDGED for c in plan.candidates):
        return ""
    missing = []
    for line in plan.requirements:
        if line.measure == "quality":
            name = ask.policy.quality.outcome if ask.policy.quality is not None else "an outcome"
            missing.append(f"{name} of this step for the baseline and one other model")
        elif line.percentile is not None:
            parts = 2 if ask.followers else 1  # of the model, and of the baseline that follows a rejected answer
            least = needed((1 - line.percentile) / parts, 1 - (1 - ask.policy.confidence) / parts)
            missing.append(f"{least} calls{' of each' if parts > 1 else ''} for `{line.text}`")
    return "; ".join(dict.fromkeys(missing))
