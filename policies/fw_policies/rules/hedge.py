"""Whether a second deployment may be asked while the first is slow to begin: where the policy allows it, and no promise is broken by it."""

from dataclasses import replace

from fw_policies.model import Plan
from fw_policies.rules.ask import Ask, note


def hedge(plan: Plan, ask: Ask) -> Plan:
    """Let the plan be hedged, or say why it is not. Both deployments are of one model, so that quality is what it was; what is paid may double.

    So a hard cap on each call's cost forbids it; a bound in 95 of 100 calls does not, for one call in twenty is hedged at most.
    """
    if not ask.rules.hedge:
        return plan
    if plan.arms:
        return replace(plan, arms=tuple((weight, hedge(arm, ask)) for weight, arm in plan.arms))
    why = _why_not(plan)
    if why is None:
        return plan
    if why:
        return note(plan, "hedge", f"not hedged: {why}")
    model = plan.targets[0].model
    return note(
        replace(plan, hedge=True), "hedge", f"another deployment of {model} is asked when the first is slow to begin"
    )


def _why_not(plan: Plan) -> str | None:
    """What speaks against it; empty: nothing does; None: there is nothing to hedge."""
    if not plan.targets:
        return None
    if plan.verify:
        return "its answers are held until they are checked"
    if sum(target.model == plan.targets[0].model for target in plan.targets) < 2:
        return f"{plan.targets[0].model} has no second deployment"
    capped = next((line.text for line in plan.requirements if line.measure == "cost" and line.percentile is None), "")
    return f"`{capped}` bounds each single call" if capped else ""
