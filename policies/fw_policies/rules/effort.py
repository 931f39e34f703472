"""How hard a model that reasons is asked to think, where the caller did not say."""

from dataclasses import replace

from fw_policies.model import Plan
from fw_policies.rules.ask import Ask, note
from fw_policies.spec.model import EFFORTS

_USUAL = EFFORTS.index("medium")


def effort(plan: Plan, ask: Ask) -> Plan:
    """An allowed effort for a plan that has none: the usual one, `medium`, or the allowed one nearest to it, the higher of two."""
    if plan.arms:
        return replace(plan, arms=tuple((weight, effort(arm, ask)) for weight, arm in plan.arms))
    if plan.effort is not None or not ask.rules.effort or not plan.targets:
        return plan
    nearest = min(ask.rules.effort, key=lambda name: (abs(EFFORTS.index(name) - _USUAL), -EFFORTS.index(name)))
    return note(plan, "effort", f"{nearest} of {', '.join(ask.rules.effort)}", effort=nearest)
