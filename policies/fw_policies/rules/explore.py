"""What is not proven and may be tried in place of a plan: every hard rule holds, and so do the three limits of `explore`."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from fw_policies.estimate import cost as money
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.model import Candidate, Exclusion, Exploration, Facts, Known, MachinePrice, Note, Outlook, Plan, Target
from fw_policies.rules.ask import Ask, Memory, is_hard, kept, note
from fw_policies.spec.model import Explore

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
    heads = {target.deployment for one in (plan, *(arm for _, arm in plan.arms)) for target in one.targets[:1]}
    open_to: set[Exclusion] = {*UNSURE, *(("quality",) if ask.world.texts else ())}
    if plan.reason == "baseline":
        open_to.add("")
    which = (frozenset(heads), frozenset(open_to), tuple([one.excluded for one in plan.candidates]))
    known: Memory = kept(ask.memory, "explored", (ask.world.priors,), dict)
    found = kept(known, which, (), lambda: _exploration(plan, limits, heads, ask, open_to=open_to))
    return plan if found is None else note(plan, "explore", found[1], exploration=found[0])


def _exploration(
    plan: Plan, limits: Explore, heads: Collection[str], ask: Ask, *, open_to: Collection[Exclusion]
) -> tuple[Exploration, str] | None:
    """What may be tried, and how to say it; None: nothing. It does not depend on the request but by what is excluded."""
    worse = kept(ask.memory, "worse", (), lambda: _worse(plan, ask, limits.max_loss))
    found = [
        c
        for c in plan.candidates
        if c.excluded in open_to and c.target.model not in worse and c.target.deployment not in heads
    ]
    if not found:
        return None
    usual, weights = _weights(found, _likely(found, plan, ask))
    share = limits.share if usual else limits.share * AGAIN
    trials = tuple((weight, one.target) for weight, one in zip(weights, found, strict=True))
    purse = "/".join(part for part in (ask.policy.name, limits.scope) if part)
    unseen = limits.max_loss == 0
    shadows = frozenset(c.target.deployment for c in found if unseen or c.known.answers < SHADOW)
    beside = f", {len(shadows)} of them beside the call" if shadows else ""
    said = f"{share:.3g} of the calls try one of {len(found)} that are not proven{beside}"
    return Exploration(share, limits.max_cost, purse, trials, shadows, unseen), said


def _worse(plan: Plan, ask: Ask, loss: float) -> frozenset[str]:
    """Models that are surely worse than the baseline by more than may be lost; none while its own quality is unknown."""
    known = {c.target.model: c.known for c in plan.candidates}
    base = known[ask.policy.baseline].mean("quality", 0) if ask.policy.baseline in known else None
    if base is None:
        return frozenset()
    return frozenset(model for model, one in known.items() if _is_under(one, base - loss))


def _is_under(known: Known, bar: float) -> bool:
    """Whether quality is surely below; its upper bound is never below its mean."""
    mean = known.mean("quality", 0)
    return mean is not None and mean < bar and known.quality is not None and known.quality.high < bar


def _likely(found: list[Candidate], plan: Plan, ask: Ask) -> list[float | None]:
    """What quality may be expected of each: from outcomes of this step and the agent's others, and from public priors; None: no idea."""
    quality, estimates = ask.policy.quality, ask.world.estimates
    if quality is None or not isinstance(estimates, Snapshot):
        return [candidate.rank for candidate in found]

    def expected() -> dict[str, float | None]:
        priors = {c.target.model: c.rank for c in plan.candidates if c.rank is not None}
        models = {c.target.model for c in plan.candidates}
        return estimates.expected(ask.facts, models, outcome=quality.outcome, priors=priors)

    values = kept(ask.memory, "likely", (ask.world.priors,), expected)
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
    whole = sum(weights)
    return max(scale) == 1.0, [weight / whole for weight in weights]


def unchosen(plan: Plan) -> tuple[Note, ...]:
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
        outlook=outlook, arms=(), exploration=None, verify=verify, effort=effort, notes=unchosen(plan), **UNPROVEN,
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
