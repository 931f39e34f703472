"""A plan as a mapping: the one object that text, JSON and telemetry agree on."""

from collections import Counter
from collections.abc import Mapping
from math import isfinite
from typing import Any

from fw_policies.explaining import savings
from fw_policies.model import Candidate, Estimate, Outlook, Plan
from fw_policies.spec.checks import short

CHOSEN = frozenset({"best_score", "only_eligible"})
"""Reasons of plans that were proven to meet what is required."""
MEASURES = ("quality", "ttft", "latency", "cost", "output_tokens", "tpot")


def mapping(
    plan: Plan, *, decision_id: str, actual: Mapping[str, Any] | None = None, trust: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything that EXPLAIN says of a plan; `actual` is what became of it, `trust` how earlier plans of the step turned out."""
    chosen = plan.targets[0] if plan.targets else None
    return {
        "decision_id": decision_id,
        "policy": plan.policy or None,
        "version": plan.version or None,
        "step": plan.step,
        "prices": plan.prices or None,
        "objective": plan.objective or None,
        "confidence": plan.confidence,
        "strategy": plan.strategy,
        "verify": [short(check) for check in plan.verify],
        "effort": plan.effort,
        "arms": [_arm(weight, arm) for weight, arm in plan.arms],
        "by_text": _by_text(plan),
        "explores": _explores(plan),
        "reason": plan.reason,
        "baseline": plan.baseline,
        "otherwise": plan.otherwise,
        "certificate": None if plan.certificate is None else dict(plan.certificate),
        "propensity": plan.propensity,
        "explored": plan.explored,
        "targets": [_target(plan, number) for number in range(len(plan.targets))],
        "planned": _outlook(plan.outlook),
        "requirements": [_requirement(number, plan) for number in range(len(plan.requirements))],
        "near": _near(plan),
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "rejected": _rejected(plan),
        "runner_up": _runner_up(plan),
        "saves": savings.saves(plan),
        "notes": [{"rule": note.rule, "text": note.text} for note in plan.notes],
        "evidence": dict(plan.evidence),
        "trust": None if trust is None else dict(trust),
        "command": savings.attempt(plan),
        "served": chosen.model if chosen is not None else None,
        "actual": dict(actual) if actual is not None else None,
    }


def _by_text(plan: Plan) -> dict[str, Any] | None:
    """What the arms are chosen by, when it is the text of a call; money in nano-USD."""
    rule = plan.by_text
    if rule is None:
        return None
    return {"embedding": rule.embedding, "price": rule.price, "adds": rule.adds}


def _rejected(plan: Plan) -> dict[str, int]:
    """Reason -> how many candidates that neither the plan nor an arm of it tries."""
    serving = {target.deployment for one in (plan, *(arm for _, arm in plan.arms)) for target in one.targets}
    return dict(Counter(c.excluded for c in plan.candidates if c.excluded and c.target.deployment not in serving))


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "mean": found.mean,
        "low": found.low,
        "high": found.high if isfinite(found.high) else None,
        "n": found.n,
        "confidence": found.confidence,
        "p95": found.p95,
    }


def _outlook(outlook: Outlook) -> dict[str, Any]:
    return {name: _estimate(getattr(outlook, name)) for name in MEASURES}


def _target(plan: Plan, number: int) -> dict[str, Any]:
    target = plan.targets[number]
    outlook = next((c.outlook for c in plan.candidates if c.target == target), Outlook())
    return {
        "number": number + 1,
        "model": target.model,
        "deployment": target.deployment,
        "provider": target.provider,
        "when": _when(plan, number),
        "reach": plan.reach[number] if number < len(plan.reach) else None,
        "cost": _estimate(outlook.cost),
        "self_hosted": target.self_hosted,
    }


def _when(plan: Plan, number: int) -> str:
    if number == 0:
        return "every call"
    again = any(one.model == plan.targets[number].model for one in plan.targets[:number])
    rejected = plan.strategy == "cascade" and not again
    return "when what is above it was rejected" if rejected else "when what is above it failed"


def _arm(weight: float, plan: Plan) -> dict[str, Any]:
    return {
        "weight": weight,
        "strategy": plan.strategy,
        "models": list(dict.fromkeys(target.model for target in plan.targets)),
        "deployments": [target.deployment for target in plan.targets],
        "verify": [short(check) for check in plan.verify],
        "effort": plan.effort,
    }


def _explores(plan: Plan) -> dict[str, Any] | None:
    """What may be tried instead, and how often; `weight` is given that something is."""
    found = plan.exploration
    if found is None:
        return None
    trials = [{"weight": weight, "deployment": trial.deployment} for weight, trial in found.trials]
    return {"share": found.share, "max_cost": found.max_cost, "trials": trials}


def _requirement(number: int, plan: Plan) -> dict[str, Any]:
    """The bound that is proven beside what it is held against; `slack` >= 0 wherever it is `proven`."""
    line = plan.requirements[number]
    proof = plan.proofs[number] if number < len(plan.proofs) else None
    value, limit = (None, line.limit) if proof is None else (proof.value, proof.limit)
    slack = None
    if value is not None and limit is not None:
        slack = value - limit if line.measure == "quality" else limit - value
    return {
        "text": line.text,
        "measure": line.measure,
        "percentile": line.percentile,
        "limit": limit,
        "value": value,
        "slack": slack,
        "proven": plan.reason in CHOSEN and proof is not None and proof.holds,
        "holds": None if proof is None else proof.holds,
    }


def _near(plan: Plan) -> dict[str, Any] | None:
    """What binds: the requirement that alone keeps something cheaper out."""
    near = plan.near
    if near is None:
        return None
    return {"text": near.text, "deployment": near.deployment, "gap": near.gap, "saves": near.saves}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "model": candidate.target.model,
        "deployment": candidate.target.deployment,
        "provider": candidate.target.provider,
        "excluded": candidate.excluded or None,
        "why": candidate.why,
        "estimates": _outlook(candidate.outlook),
    }


def _runner_up(plan: Plan) -> dict[str, Any] | None:
    """The best of the other models that are proven too."""
    measure = plan.objective.rpartition(" ")[2]
    if plan.reason not in CHOSEN or not plan.targets or measure not in MEASURES:
        return None
    served = plan.targets[0].model
    ready = [(_mean(c, measure), c) for c in plan.candidates if not c.excluded and c.target.model != served]
    known = [(mean, c) for mean, c in ready if mean is not None]
    if not known:
        return None
    _, best = (max if measure == "quality" else min)(known, key=lambda one: one[0])
    mine, cost = plan.outlook.cost, best.outlook.cost
    dearer = cost.mean / mine.mean - 1 if mine is not None and cost is not None and mine.mean > 0 else None
    return {
        "model": best.target.model,
        "deployment": best.target.deployment,
        "dearer": dearer,
        **_outlook(best.outlook),
    }


def _mean(candidate: Candidate, measure: str) -> float | None:
    found: Estimate | None = getattr(candidate.outlook, measure)
    return None if found is None else found.mean
