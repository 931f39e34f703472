"""What is not proven and may be tried in place of a plan: every hard rule holds, and so do the three limits of `explore`."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from fw_policies.estimate import cost as money
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.model import Candidate, Exclusion, Exploration, Facts, MachinePrice, Note, Outlook, Plan, Target
from fw_policies.rules.ask import Ask, is_hard, note

FLOOR = 0.5
"""Share of the exploring that is spread evenly over all trials; the rest follows the quality to be expected, which orders and never proves."""
AGAIN = 0.1
"""How much more rarely than the others a target is tried that was found too slow."""
SLOW: frozenset[Exclusion] = frozenset({"ttft", "latency"})
UNSURE: frozenset[Exclusion] = SLOW | {"unknown"}
"""What may be different by now. Where texts are kept, `quality` too: what fails on average may be the best for some of them."""
UNPROVEN: Mapping[str, Any] = {"certificate": None, "proofs": (), "near": None, "reach": (), "evidence": {}}
"""What a plan says of itself does not hold of another one that takes its place."""
SHADOW = 8
"""Answers that must be seen of a deployment at a step before it may answer a client: until then it is asked beside the call."""
OVERHEAD = 1024
"""Tokens that a chat template may add to a request, at most."""
_NEVER = frozenset({"pinned", "degraded", "infeasible", "explored"})
"""Plans in whose place nothing is tried: somebody asked for that model, or there is no baseline to fall back to."""


def explore(plan: Plan, ask: Ask) -> Plan:
    """Attach what may be tried: candidates that nothing excludes but want of proof."""
    limits = ask.rules.explore
    if limits is None or ask.rules.use_baseline or plan.reason in _NEVER:
        return plan
    bar = _bar(plan, ask, limits.max_loss)
    serving = {target.deployment for one in (plan, *(arm for _, arm in plan.arms)) for target in one.targets[:1]}
    open_to: frozenset[Exclusion] = UNSURE | {"quality"} if ask.world.texts else UNSURE
    found = [
        c
        for c in plan.candidates
        if c.target.deployment not in serving and _may_be_tried(c, plan, bar, open_to=open_to)
    ]
    if not found:
        return plan
    usual, weights = _weights(found, _likely(found, plan, ask))
    share = limits.share if usual else limits.share * AGAIN
    trials = tuple((weight, one.target) for weight, one in zip(weights, found, strict=True))
    purse = "/".join(part for part in (ask.policy.name, limits.scope) if part)
    unseen = limits.max_loss == 0
    shadows = frozenset(c.target.deployment for c in found if unseen or c.known.answers < SHADOW)
    plan = replace(plan, exploration=Exploration(share, limits.max_cost, purse, trials, shadows, unseen))
    beside = f", {len(shadows)} of them beside the call" if shadows else ""
    return note(plan, "explore", f"{share:.3g} of the calls try one of {len(found)} that are not proven{beside}")


def _bar(plan: Plan, ask: Ask, loss: float) -> float | None:
    """Quality below which a candidate is explored no more; None while the baseline's own is unknown."""
    known = [c.known.quality for c in plan.candidates if c.target.model == ask.policy.baseline]
    means = [found.mean for found in known if found is not None]
    return max(means) - loss if means else None


def _may_be_tried(candidate: Candidate, plan: Plan, bar: float | None, *, open_to: AbstractSet[Exclusion]) -> bool:
    unproven = candidate.excluded in open_to or (not candidate.excluded and plan.reason == "baseline")
    quality = candidate.known.quality
    return unproven and not (bar is not None and quality is not None and quality.high < bar)


def _likely(found: list[Candidate], plan: Plan, ask: Ask) -> list[float | None]:
    """What quality may be expected of each: from outcomes of this step and the agent's others, and from public priors; None: no idea."""
    quality, estimates = ask.policy.quality, ask.world.estimates
    if quality is None or not isinstance(estimates, Snapshot):
        return [candidate.rank for candidate in found]
    world, known = ask.world.priors, ask.memory.get("likely")
    if known is None or known[0] is not world:
        known = ask.memory["likely"] = (world, {})
    values: dict[str, float | None] = known[1]
    if any(c.target.model not in values for c in found):
        priors = {c.target.model: c.rank for c in plan.candidates if c.rank is not None}
        for model in {c.target.model for c in plan.candidates}:
            values[model] = estimates.expected(ask.facts, model, outcome=quality.outcome, priors=priors)
    return [values[c.target.model] for c in found]


def _weights(found: list[Candidate], likely: list[float | None]) -> tuple[bool, list[float]]:
    """Whether any of them was not found too slow; and the probability of each, given that one is tried.

    A floor for all, the rest by what is likely; where nobody has an idea, the mean of the others. What was too slow is tried again, for
    it may have become quick, but more rarely.
    """
    known = [value for value in likely if value is not None and value > 0]
    mean = sum(known) / len(known) if known else 1.0
    guessed = [mean if value is None else value for value in likely]
    total = sum(guessed) or 1.0
    scale = [AGAIN if candidate.excluded in SLOW else 1.0 for candidate in found]
    weights = [by * (FLOOR / len(found) + (1 - FLOOR) * rank / total) for by, rank in zip(scale, guessed, strict=True)]
    return max(scale) == 1.0, [weight / sum(weights) for weight in weights]


def kept(plan: Plan) -> tuple[Note, ...]:
    """The plan's notes but those that say why it, and nothing else, was chosen."""
    return tuple(one for one in plan.notes if one.rule not in {"lock", "choose", "baseline"})


def trial(plan: Plan, target: Target) -> Plan:
    """The plan that tries `target` first and falls back to the baseline, then to what would have served."""
    base = [c.target for c in plan.candidates if c.target.model == plan.baseline and not is_hard(c.excluded)]
    outlook = next((c.outlook for c in plan.candidates if c.target is target), Outlook())
    rest = (*base, *plan.targets, *(target for _, arm in plan.arms for target in arm.targets))
    targets = tuple(dict.fromkeys((target, *rest)))
    verify, effort = next(((arm.verify, arm.effort) for _, arm in plan.arms), (plan.verify, plan.effort))
    found = replace(
        plan, targets=targets, strategy="fall_back" if len(targets) > 1 else "single", reason="explored", explored=True,
        outlook=outlook, arms=(), exploration=None, verify=verify, effort=effort, notes=kept(plan), **UNPROVEN,
    )  # fmt: skip
    if verify and len({target.model for target in targets}) > 1:
        found = replace(found, strategy="cascade")
    return note(found, "explore", f"{target.deployment} is tried: it is not proven")


def beside(tried: Plan) -> Plan:
    """The plan that only asks the first target of an explored plan, while another serves."""
    first = tried.targets[0]
    found = replace(tried, targets=(first,), strategy="single")
    return note(found, "explore", f"{first.deployment} is asked beside the call: its answer is measured and not served")


def worst(target: Target, facts: Facts, *, size: int, seconds: float, choices: int = 1) -> int | None:
    """Nano-USD that one attempt may cost at most; None when nothing bounds it.

    A token is at least one byte of the request's `size`, but an image may be any number of them. A machine is paid for at most
    `seconds`, what is left of the call. `choices` answers are written, each up to the limit.
    """
    price = target.price
    if isinstance(price, MachinePrice):
        return money.machine(seconds, price)
    limits = [limit for limit in (facts.max_output_tokens, target.max_output) if limit is not None]
    if price is None or not limits or "vision" in facts.needs:
        return None
    incoming = max(price.input, price.cached_input or 0, price.cache_write or 0)
    return money.tokens(size + OVERHEAD, incoming) + money.tokens(choices * min(limits), price.output)
