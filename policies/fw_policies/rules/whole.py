"""What the whole walk of a plan comes to, from its parts: under `verify` a rejected answer is paid for, and so is the next one.

With a the share of a model's answers that pass, its walk costs c1 + (1 − a) c2 and takes l1 + (1 − a) l2 on average; bounds follow from the
bounds of the parts, percentiles from Bonferroni's inequality (see `walks`). Quality needs no sum: what is reported of a walk counts
for the model that it began with.
"""

from collections.abc import Sequence
from dataclasses import replace

from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.model import Candidate, Estimate, Outlook, Plan, Target
from fw_policies.rules.ask import Ask
from fw_policies.rules.walks import dearest, longest, walks

P95 = 0.95


def of_walk(candidate: Candidate, ask: Ask) -> Outlook:
    """The outlook of the walk that begins with a candidate; without `verify` it is the candidate's own."""
    walk = walks(candidate.target, ask)[0]
    own = candidate.outlook
    if len(walk) == 1 and not ask.checked:
        return own
    looked = ask.world.estimates.looking(ask.facts, confidence=ask.policy.confidence)
    after = looked(walk[1]).at(ask.facts.input_tokens) if len(walk) > 1 else None
    go_on = rejected(candidate.target, ask) if len(walk) > 1 else None
    latency = _sum(own.latency, after, "latency", go_on)
    latency = None if latency is None else replace(latency, p95=longest("latency", P95, candidate.target, ask))
    cost = _sum(own.cost, after, "cost", go_on)
    cost = None if cost is None else replace(cost, p95=dearest(P95, candidate.target, ask))
    return replace(own, latency=latency, ttft=latency, cost=cost)


def rejected(target: Target, ask: Ask) -> Estimate | None:
    """The share of a model's answers that its step's checks reject; None: it was never seen."""
    looked = ask.world.estimates.looking(ask.facts, outcome=ACCEPTED, confidence=ask.policy.confidence)
    found = looked(target).quality
    return None if found is None else Estimate(1 - found.mean, 1 - found.high, 1 - found.low, found.n, found.confidence)


def _sum(own: Estimate | None, after: Outlook | None, measure: str, share: Estimate | None) -> Estimate | None:
    """The first, and the share of the second that is needed; unknown as soon as one part is."""
    if after is None or own is None:
        return own
    rest: Estimate | None = getattr(after, measure)
    if rest is None or share is None:
        return None
    return Estimate(
        own.mean + share.mean * rest.mean,
        own.low + share.low * rest.low,
        own.high + share.high * rest.high,
        min(own.n, rest.n, share.n),
        own.confidence,
    )


def whole(plan: Plan, ask: Ask) -> Plan:
    """Put the walk's outlook into the plan, and how often each of its targets is expected to be reached."""
    if plan.arms:
        arms = tuple((weight, whole(arm, ask)) for weight, arm in plan.arms)
        return replace(plan, arms=arms, outlook=mixed(arms))
    if not plan.targets:
        return plan
    first = next((c for c in plan.candidates if c.target is plan.targets[0]), None)
    if first is None:
        return plan
    reach = _reach(plan, ask)
    if plan.strategy != "cascade" and not plan.verify:
        return replace(plan, reach=reach)
    return replace(plan, reach=reach, outlook=of_walk(first, ask))


def mixed(arms: Sequence[tuple[float, Plan]]) -> Outlook:
    """The mean cost of a mixture follows from its arms; its percentiles do not, and stay unknown."""
    costs = [(weight, arm.outlook.cost) for weight, arm in arms]
    if any(cost is None for _, cost in costs):
        return Outlook()
    known = [(weight, cost) for weight, cost in costs if cost is not None]
    total = known[0][1]
    return Outlook(
        cost=replace(
            total,
            mean=sum(weight * cost.mean for weight, cost in known),
            low=sum(weight * cost.low for weight, cost in known),
            high=sum(weight * cost.high for weight, cost in known),
            n=min(cost.n for _, cost in known),
            p95=None,
        )
    )


def _reach(plan: Plan, ask: Ask) -> tuple[float | None, ...]:
    """The share of calls that come to each target: all to the first; what failed to the next, what was rejected to the next other model."""
    count = len(plan.targets)
    found: list[float | None] = [0.0] * count
    found[:1] = [1.0]
    for place, target in enumerate(plan.targets):
        here = found[place]
        if here == 0.0:
            continue
        share = failing(target, ask)
        turned = rejected(target, ask) if plan.strategy == "cascade" else None
        others = (after for after in range(place + 1, count) if plan.targets[after].model != target.model)
        other = next(others, count) if plan.strategy == "cascade" else count
        if place + 1 < count:
            found[place + 1] = _plus(found[place + 1], _times(here, share))
        if other < count:
            answered = None if share is None else 1 - share
            found[other] = _plus(found[other], _times(_times(here, answered), None if turned is None else turned.mean))
    return tuple(found)


def _times(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def failing(target: Target, ask: Ask) -> float | None:
    """The share of a target's recent attempts at the step that failed; None: there were none."""
    estimates = ask.world.estimates
    if not isinstance(estimates, Snapshot):
        return None
    seen = estimates.histogram("latency", ask.facts, target)
    return seen.beyond / seen.total if seen is not None and seen.total else None
