"""What the whole walk of a plan comes to, from its parts: under `verify` a rejected answer is paid for, and so is the next one.

With a the share of a model's answers that pass, its walk costs c1 + (1 − a) c2 and takes l1 + (1 − a) l2 on average; bounds follow from the
bounds of the parts, percentiles from Bonferroni's inequality (see `walks`). Quality needs no sum: what is reported of a walk counts
for the model that it began with.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fw_policies.model import Candidate, Estimate, Outlook, Plan, Target
from fw_policies.rules.ask import Ask, kept, serving
from fw_policies.rules.walks import dearest, longest, observed, parts

P95 = 0.95


def of_walk(candidate: Candidate, ask: Ask) -> Outlook:
    """The outlook of the walk that begins with a candidate; without `verify` it is the candidate's own."""
    own = candidate.outlook
    if not ask.checked:
        return own
    two = parts(candidate.target, ask) == 2
    after = ask.looked(ask.followers[0]).at(ask.facts.input_tokens) if two else None
    go_on = rejected(candidate.target, ask) if two else None
    latency = _sum(own.latency, after, "latency", go_on)
    latency = None if latency is None else replace(latency, p95=longest("latency", P95, candidate.target, ask))
    cost = _sum(own.cost, after, "cost", go_on)
    cost = None if cost is None else replace(cost, p95=dearest(P95, candidate.target, ask))
    return replace(own, latency=latency, ttft=latency, cost=cost)


def means(ask: Ask) -> Callable[[Candidate, str], float | None]:
    """What finds the mean of one measure of `of_walk`, had without the rest."""
    if not ask.checked:
        return Candidate.mean
    follower = ask.looked(ask.followers[0]) if ask.followers else None
    rest = {name: follower.mean(name, ask.facts.input_tokens) for name in ("latency", "cost")} if follower else {}
    turned: dict[str, float | None] = kept(ask.memory, "turned", (), dict)
    baseline, passed = ask.policy.baseline, ask.passed

    def mean(candidate: Candidate, measure: str) -> float | None:
        summed, target = "latency" if measure == "ttft" else measure, candidate.target
        own = candidate.known.mean(summed, candidate.size)
        if own is None or summed not in rest or target.model == baseline:
            return own
        after = rest[summed]
        if target.model not in turned:
            share = passed(target).mean("quality", 0)
            turned[target.model] = None if share is None else 1 - share
        share = turned[target.model]
        return None if after is None or share is None else own + share * after

    return mean


def rejected(target: Target, ask: Ask) -> Estimate | None:
    """The share of a model's answers that its step's checks reject; None: it was never seen."""
    found = ask.passed(target).quality
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
    first = serving(plan, ask)
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
    seen = observed("latency", target, ask)
    return seen.beyond / seen.total if seen is not None and seen.total else None
