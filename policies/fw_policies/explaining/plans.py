"""A plan as a mapping: the one object that text, JSON and telemetry agree on."""

from collections import Counter
from collections.abc import Mapping
from math import isfinite
from typing import Any

from fw_policies.model import Candidate, Estimate, Outlook, Plan, Requirement
from fw_policies.spec.checks import short

P95 = 0.95
MEASURES = ("quality", "ttft", "latency", "cost", "output_tokens")


def mapping(plan: Plan, *, decision_id: str, actual: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything that EXPLAIN says of a plan; `actual` is what became of it."""
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
        "explores": _explores(plan),
        "reason": plan.reason,
        "baseline": plan.baseline,
        "otherwise": plan.otherwise,
        "certificate": None if plan.certificate is None else dict(plan.certificate),
        "propensity": plan.propensity,
        "explored": plan.explored,
        "targets": [_target(plan, number) for number in range(len(plan.targets))],
        "planned": _outlook(plan.outlook),
        "requirements": [_requirement(line, plan) for line in plan.requirements],
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "rejected": dict(Counter(c.excluded for c in plan.candidates if c.excluded and c.target not in plan.targets)),
        "runner_up": _runner_up(plan),
        "saves": _saves(plan),
        "notes": [{"rule": note.rule, "text": note.text} for note in plan.notes],
        "evidence": dict(plan.evidence),
        "served": chosen.model if chosen is not None else None,
        "actual": dict(actual) if actual is not None else None,
    }


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
        "cost": _estimate(outlook.cost),
        "self_hosted": target.self_hosted,
    }


def _when(plan: Plan, number: int) -> str:
    if number == 0:
        return "every call"
    return "when what is above it was rejected" if plan.strategy == "cascade" else "when what is above it failed"


def _arm(weight: float, plan: Plan) -> dict[str, Any]:
    return {
        "weight": weight,
        "strategy": plan.strategy,
        "models": list(dict.fromkeys(target.model for target in plan.targets)),
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


def _requirement(line: Requirement, plan: Plan) -> dict[str, Any]:
    found: Estimate | None = getattr(plan.outlook, line.measure, None)
    value: float | None = None
    if found is not None:
        p95 = (
            found.p95 if line.percentile == P95 else None
        )  # another percentile, or a hard cap, has a figure of its own
        value = found.low if line.measure == "quality" else p95
    proven = plan.reason in {"best_score", "only_eligible"}
    slack = None
    if value is not None and line.limit is not None:
        slack = value - line.limit if line.measure == "quality" else line.limit - value
    return {
        "text": line.text,
        "measure": line.measure,
        "percentile": line.percentile,
        "limit": line.limit,
        "value": value,
        "slack": slack,
        "proven": proven,
    }


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
    served = {target.model for target in plan.targets[:1]}
    for target in plan.targets[1:]:
        if target.model not in served:
            outlook = next((c.outlook for c in plan.candidates if c.target == target), Outlook())
            return {"model": target.model, "deployment": target.deployment, **_outlook(outlook)}
    return None


def _saves(plan: Plan) -> dict[str, Any] | None:
    """Cost against the baseline's, when both are known and the baseline is not what serves."""
    if not plan.targets or plan.baseline is None or plan.targets[0].model == plan.baseline:
        return None
    base = next((c.outlook.cost for c in plan.candidates if c.target.model == plan.baseline and c.outlook.cost), None)
    mine = plan.outlook.cost
    if base is None or mine is None or base.mean <= 0:
        return None
    return {"share": 1 - mine.mean / base.mean, "per_call": base.mean - mine.mean, "against": plan.baseline}
