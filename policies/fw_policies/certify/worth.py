"""Whether a rule by text that was proven is worth having: only what it saves over everything else that was proven counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fw_policies.certify import texts
from fw_policies.certify.runs import Seen, Vector
from fw_policies.certify.texts import Proposals, Rule, Texts

WORTH = 0.1
"""Part of the cost that a rule must save over what needs no text: as expected, or it is not tested, and as seen."""
Plan = Mapping[str, float] | Rule
"""Models and their shares, or a rule that gives each text its model."""
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Passed:
    """A plan whose test was passed. With probability `confidence` all that passed keep the promise, and so does every mixture of them."""

    weights: Mapping[str, float]
    quality: float
    """Mean on the testing half."""
    bound: float
    """Lower bound of quality − floor."""
    rule: Rule | None = None
    """Gives each text its model; None: they are drawn with `weights`."""
    cost: float | None = None
    """Of a rule: nano-USD a run, as seen where it would have chosen what was drawn."""


def told(rules: Proposals | None, plans: Sequence[Plan]) -> str:
    """Why there is no rule by text; empty when no text was kept."""
    if rules is None:
        return ""
    if rules.why:
        return f"by text: {rules.why}"
    if any(isinstance(plan, Rule) for plan in plans):
        return "by text: a rule was expected to be cheaper, and is not proven"
    return f"by text: no rule is expected to save {WORTH:.0%} over what needs no text"


def worthwhile(
    proven: Sequence[Passed],
    seen: Mapping[str, Sequence[Seen]],
    read: Texts,
    rng: np.random.Generator,
    *,
    baseline: str | None,
) -> tuple[list[Passed], str]:
    """What passed, its rules but for the cheapest left out, and that too unless it is surely cheaper than everything else; what is said of it.

    `baseline`: needs no proof; None: it does.
    """
    kept = [one for one in proven if one.rule is None]
    rules = [
        replace(one, cost=float(texts.money(read, one.rule, {}, rng, draws=0)[0][0]))
        for one in proven
        if one.rule is not None
    ]
    best = min(rules, key=lambda one: one.cost or 0.0, default=None)
    if best is None or best.rule is None:
        return kept, ""
    others = _cheapest(kept, seen, baseline)
    if others is None:
        return [*kept, best], "by text: nothing else is proven"
    cost, less = texts.money(read, best.rule, others, rng)
    mean, low, high = _interval(less / (cost + less))
    over = " + ".join(f"{share:.0%} {model}" for model, share in others.items())
    if low <= 0 or mean < WORTH:
        return kept, f"by text: a rule is proven, and saves {mean:.0%} [{low:.0%}, {high:.0%}] over {over}: too little"
    return [*kept, best], f"by text: saves {mean:.0%} [{low:.0%}, {high:.0%}] over {over}"


def _cheapest(
    kept: Sequence[Passed], seen: Mapping[str, Sequence[Seen]], baseline: str | None
) -> Mapping[str, float] | None:
    """Of what needs no text."""
    plans: list[Mapping[str, float]] = [one.weights for one in kept]
    plans += [{baseline: 1.0}] if baseline is not None else []
    costs = {model: [run.cost for run in runs if run.cost is not None] for model, runs in seen.items()}
    means = {model: sum(known) / len(known) for model, known in costs.items() if len(known) == len(seen[model]) > 0}
    able = [plan for plan in plans if plan.keys() <= means.keys()]
    return min(able, key=lambda plan: sum(share * means[model] for model, share in plan.items()), default=None)


def by_text(read: Texts, rule: Rule, baseline: str | None, rng: np.random.Generator) -> tuple[Triple, Triple | None]:
    """Cost of a run by a rule and the share of the baseline's that it saves, each with a bootstrap interval over runs."""
    cost, less = texts.money(read, rule, {} if baseline is None else {baseline: 1.0}, rng)
    whole = cost + less
    known = baseline is not None and bool(np.all(np.isfinite(whole)) and np.all(whole > 0))
    return _interval(cost), _interval(less / whole) if known else None


def _interval(draws: Vector) -> Triple:
    """The value and a two-sided 90 % interval, from the value and draws of it."""
    low, high = np.quantile(draws[1:], [0.05, 0.95])
    return float(draws[0]), float(low), float(high)
