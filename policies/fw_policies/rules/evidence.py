"""What stands behind a plan, and what is missing for a better one."""

from dataclasses import replace

from fw_policies.estimate.intervals import needed
from fw_policies.model import Plan
from fw_policies.rules.ask import Ask


def evidence(plan: Plan, ask: Ask) -> Plan:
    """Fill the plan's evidence: observations of what was chosen, and what every requirement still needs."""
    chosen = next((c for c in plan.candidates if plan.targets and c.target is plan.targets[0]), None)
    outlook = chosen.outlook if chosen is not None else plan.outlook
    found: dict[str, float | str | None] = {
        "outcomes": outlook.quality.n if outlook.quality is not None else 0.0,
        "calls": outlook.latency.n if outlook.latency is not None else 0.0,
    }
    missing = []
    for line in plan.requirements:
        if line.measure == "quality":
            name = ask.policy.quality.outcome if ask.policy.quality is not None else "an outcome"
            missing.append(f"{name} of this step for the baseline and one other model")
        elif line.percentile is not None:
            least = needed(1 - line.percentile, ask.policy.confidence)
            missing.append(f"{least} calls for `{line.text}`")
    if plan.reason in {"baseline", "degraded", "infeasible"} and missing and not ask.rules.use_baseline:
        found["missing"] = "; ".join(dict.fromkeys(missing))
    return replace(plan, evidence=found)
