"""Deployments that a plan may exchange for one another when it is served: same model, same price, and nothing more against one of them."""

from collections.abc import Sequence
from dataclasses import replace

from fw_policies.model import Plan, Target
from fw_policies.rules.ask import Ask, note
from fw_policies.rules.choose import apart


def balance(plan: Plan, _ask: Ask) -> Plan:
    """Say over how many deployments calls are spread."""
    return spread(plan)


def spread(plan: Plan) -> Plan:
    """The plan with a note of its equals, if there are any."""
    found = equals(plan)
    if len(found) < 2:
        return plan
    return note(plan, "balance", f"balanced over {len(found)} deployments of {found[0].model}")


def equals(plan: Plan) -> tuple[Target, ...]:
    """The targets that may serve in the first one's place, itself among them: replicas of one model. What is explored has none.

    They send the same name to the same provider at the same price, so that what the plan says of quality and cost holds of each; and
    no requirement is known to fail at one that holds at the first.
    """
    if not plan.targets or plan.explored:
        return plan.targets[:1]
    first = plan.targets[0]
    like = alike(first)
    found = [one for one in plan.targets if one.model == first.model and alike(one) == like]
    if len(found) == 1:
        return (first,)
    out = {candidate.target.deployment: candidate.excluded for candidate in plan.candidates}
    allowed = {"", out.get(first.deployment, "")}
    return tuple(one for one in found if out.get(one.deployment, "") in allowed)


def alike(target: Target) -> tuple[object, ...]:
    """What replicas have in common."""
    return target.model, target.provider, target.upstream_model, target.price


def led(plan: Plan, order: Sequence[Target]) -> Plan:
    """The plan with its equals in this order, each in a place of theirs; what follows the first is in another failure domain still."""
    own = set(order)
    fresh = iter(order)
    targets = [next(fresh) if target in own else target for target in plan.targets]
    if plan.failure_domains > 1:
        targets = apart(targets, plan.failure_domains)
    return replace(plan, targets=tuple(targets))
