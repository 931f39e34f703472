"""A step's certificate from what its calls gave: independent runs per model, as live traffic has them.

The runs of every model are split in two by their names: one half chooses plans and their order, the other tests them. A plan is
one model, a mixture of two, or a rule that gives each text a model (see `texts`); the first that fails ends the tests, so the chance
that the promise is broken is at most delta.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fw_policies.certify import texts
from fw_policies.certify.bounds import DRAWS, drawn
from fw_policies.certify.runs import LEAST, Floor, Seen, Vector, by_run
from fw_policies.certify.runs import halves as halves_of
from fw_policies.certify.sequence import fixed_sequence
from fw_policies.certify.texts import Proposals, Rule
from fw_policies.certify.worth import WORTH, Passed, Plan, by_text, told, worthwhile
from fw_policies.search.shrink import shrunk

MARGINS = tuple(np.linspace(4.0, -0.5, 19))
"""Caution of the plans, in standard errors: from the most cautious to the boldest."""


@dataclass(frozen=True, slots=True)
class Certified:
    """A mixture that may be promised, or the reason why there is none."""

    weights: Mapping[str, float]
    """Model -> share of the calls, by a rule as they were seen; empty when nothing is certified."""
    quality: float | None
    """Mean on the testing half."""
    bound: float | None
    """Lower bound of quality − floor at the confidence asked for; ≥ 0 when certified."""
    cost: tuple[float, float, float] | None
    """Mean cost of a call in nano-USD on all runs, with a two-sided 90 % interval."""
    saved: tuple[float, float, float] | None
    """Share of the baseline's cost that is saved, with a two-sided 90 % interval; None without a baseline."""
    tested: int
    """Runs in the testing half."""
    reason: str
    more: int | None
    """Runs more of each model that would decide it, if the means stay as they are; None: they would not."""
    passed: tuple[Passed, ...] = ()
    """All that was proven, from the most cautious to the boldest: the last that is not the baseline alone is the answer."""
    text: str = ""
    """What came of looking at texts; empty: none were kept."""


def certify(
    seen: Mapping[str, Sequence[Seen]],
    baseline: str | None,
    floor: Floor,
    *,
    confidence: float,
    seed: int = 0,
    dearer: Mapping[str, float] | None = None,
    embedding: str = "",
) -> Certified:
    """The cheapest plan over `seen` (model -> its runs) whose quality reaches `floor` with this confidence.

    A plan that is the baseline alone needs no proof of a relative floor and is never the answer here. Several values of one run
    count as one, their mean: the unit of account is the run. `dearer`: nano-USD that a run of a model takes from others, the price of
    a shared machine; plans are chosen with and without it, and it must not come from outcomes of the testing half. `embedding`: digest
    of what made the texts of the runs; empty: none is looked at.
    """
    delta = 1 - confidence
    seen = {model: by_run(runs) for model, runs in seen.items()}
    halves = {model: halves_of(runs) for model, runs in sorted(seen.items()) if len(runs) >= LEAST}
    costed = {model: both for model, both in halves.items() if all(run.cost is not None for run in seen[model])}
    if floor.level is None and (baseline is None or baseline not in halves):
        return _nothing(f"the baseline {baseline} has fewer than {LEAST} runs with an outcome", LEAST)
    able = [model for model in costed if model != baseline or floor.level is not None]
    if not able:
        return _nothing(f"no other model has {LEAST} runs with an outcome and a known cost", LEAST)
    read = texts.read({model: seen[model] for model in halves})
    rules = Proposals(read.part(read.first), list(costed), embedding) if embedding and len(read.value) else None
    plans = _plans(costed, halves, baseline, floor, dearer=dearer or {}, rules=rules)
    rng = np.random.default_rng(seed)
    tests, asked = {model: both[1] for model, both in halves.items()}, read.part(~read.first)
    proven: list[Passed] = []

    def holds(plan: Plan) -> bool:
        if isinstance(plan, Rule):
            held = texts.slack(asked, plan, baseline, floor, delta=delta, rng=rng)
            found = Passed(texts.shares(read, plan), texts.mean(asked, plan), held, plan)
        else:
            found = Passed(plan, _mean(tests, plan), _slack(tests, plan, baseline, floor, delta=delta, rng=rng))
        proven.extend([found] if found.bound >= 0 else [])
        return found.bound >= 0

    fixed_sequence(plans, holds)
    tested = sum(len(values[0]) for values in tests.values())
    if not proven:
        mixtures = [plan for plan in plans if not isinstance(plan, Rule)]
        return replace(_refused(tests, mixtures, baseline, floor, tested=tested, delta=delta), text=told(rules, plans))
    relative = floor.level is None and floor.ratio <= 1 and floor.margin >= 0
    passed, text = worthwhile(proven, seen, read, rng, baseline=baseline if relative else None)
    last = next((one for one in reversed(passed) if one.rule is not None or set(one.weights) != {baseline}), None)
    text = text or told(rules, plans)
    if last is None:
        return replace(_nothing("only the baseline itself reaches the floor", None, tested), text=text)
    cost, saved = (
        money(seen, last.weights, baseline, rng) if last.rule is None else by_text(read, last.rule, baseline, rng)
    )
    return Certified(last.weights, last.quality, last.bound, cost, saved, tested, "", None, tuple(passed), text)


def bound(
    seen: Mapping[str, Sequence[Seen]],
    weights: Mapping[str, float],
    baseline: str | None,
    floor: Floor,
    *,
    confidence: float,
    seed: int = 0,
) -> float:
    """Lower bound of quality − floor of one mixture, on the testing halves: how far it keeps its promise, not whether it may be made."""
    tests = {model: halves_of(by_run(runs))[1] for model, runs in sorted(seen.items()) if runs}
    return _slack(tests, weights, baseline, floor, delta=1 - confidence, rng=np.random.default_rng(seed))


def _mean(tests: Mapping[str, tuple[Vector, Vector]], weights: Mapping[str, float]) -> float:
    return sum(share * float(tests[model][0].mean()) for model, share in weights.items())


def fitting(runs: Sequence[Seen]) -> tuple[float, float] | None:
    """Mean outcome and cost of the fitting half, for what must not look at the tests; None: too few runs, or an unknown cost."""
    if len(runs) < LEAST or any(run.cost is None for run in runs):
        return None
    values, costs = halves_of(by_run(runs))[0]
    return (float(values.mean()), float(costs.mean())) if len(values) else None


def _plans(
    costed: Mapping[str, tuple[tuple[Vector, Vector], tuple[Vector, Vector]]],
    halves: Mapping[str, tuple[tuple[Vector, Vector], tuple[Vector, Vector]]],
    baseline: str | None,
    floor: Floor,
    *,
    dearer: Mapping[str, float],
    rules: Proposals | None = None,
) -> list[Plan]:
    """Plans from the fitting half, from the most cautious to the boldest, each once; a rule by text where it is expected to be cheaper."""
    models = [model for model in costed if len(costed[model][0][0]) and len(costed[model][1][0])]
    longest = max((len(costed[model][0][0]) for model in models), default=0)
    table = np.full((longest, len(models)), np.nan)
    for column, model in enumerate(models):
        table[: len(costed[model][0][0]), column] = costed[model][0][0]
    if not longest:
        return []
    means = shrunk(table, np.zeros(longest, dtype=np.int64), 1).raw[0]
    costs = np.array([np.nanmean(costed[model][0][1]) for model in models])
    priced = costs + np.array([dearer.get(model, 0.0) for model in models])
    wanted = floor.level
    if wanted is None:
        base = halves[str(baseline)][0][0]
        wanted = floor.ratio * float(base.mean() if len(base) else 1.0) - floor.margin
    error = float(np.sqrt(max(wanted * (1 - wanted), 0.01) / max(longest, 1)))
    plans: list[Plan] = []
    for margin in MARGINS:
        for paid in (costs, priced):
            found = cheapest(means, paid, min(wanted + margin * error, 1.0))
            least = np.inf
            if found is not None:
                plan = {model: round(float(w), 3) for model, w in zip(models, found, strict=True) if w > 0.005}
                least = sum(share * float(paid[models.index(model)]) for model, share in plan.items())
                if plan not in plans:
                    plans.append(plan)
            if baseline in models and floor.level is None:
                least = min(least, float(paid[models.index(baseline)]))
            more = dict(zip(models, paid - costs, strict=True))
            rule = rules.cheapest(wanted, margin, more) if rules is not None and not rules.why else None
            if rule is not None and rule[1] < (1 - WORTH) * least and rule[0] not in plans:
                plans.append(rule[0])
    return plans


def cheapest(quality: Vector, cost: Vector, floor: float) -> Vector | None:
    """Weights of the cheapest mixture whose mean quality is at least `floor`; None when there is none.

    Of a linear programme with two constraints an optimum has two positive weights at most, so one model and all pairs are all there is.
    """
    above, below = np.flatnonzero(quality >= floor), np.flatnonzero(quality < floor)
    if not len(above):
        return None
    weights = np.zeros(len(quality))
    single = above[np.argmin(cost[above])]
    weights[single] = 1.0
    if len(below):
        high, low = quality[above][:, None], quality[below][None]
        part = (floor - low) / (high - low)
        paid = part * cost[above][:, None] + (1 - part) * cost[below][None]
        one, other = np.unravel_index(np.argmin(paid), paid.shape)
        if paid[one, other] < cost[single]:
            weights[single] = 0.0
            weights[above[one]], weights[below[other]] = part[one, other], 1 - part[one, other]
    return weights


def _slack(
    tests: Mapping[str, tuple[Vector, Vector]], plan: Mapping[str, float], baseline: str | None, floor: Floor,
    *, delta: float, rng: np.random.Generator,
) -> float:  # fmt: skip
    """Lower bound of the plan's mean − the floor: the delta quantile over confidence distributions of each model's mean.

    For one model and a level it is exact (see `bounds`); for sums of several it is the fiducial combination, checked by simulation.
    """
    total = np.zeros(DRAWS)
    for model, share in plan.items():
        own = share
        if model == baseline and floor.level is None:
            own = share - floor.ratio  # both sides of the floor share this model's mean: count it once
        total += own * drawn(tests[model][0], rng, low=own >= 0)
    if floor.level is not None:
        return float(np.quantile(total, delta)) - floor.level
    if baseline not in plan:
        total -= floor.ratio * drawn(tests[str(baseline)][0], rng, low=False)
    return float(np.quantile(total, delta)) + floor.margin


def money(
    seen: Mapping[str, Sequence[Seen]], weights: Mapping[str, float], baseline: str | None, rng: np.random.Generator
) -> tuple[tuple[float, float, float], tuple[float, float, float] | None]:
    """Cost of a call by the plan and the share it saves, each with a bootstrap interval over runs."""
    costs = {model: np.array([run.cost for run in seen[model]], dtype=float) for model in weights}
    base = None
    if baseline is not None and all(run.cost is not None for run in seen.get(baseline, ())) and seen.get(baseline):
        base = np.array([run.cost for run in seen[baseline]], dtype=float)

    def resampled(values: Vector) -> Vector:
        drawn: Vector = values[rng.integers(0, len(values), (500, len(values)))].mean(1)
        return drawn

    mine = sum((share * resampled(costs[model]) for model, share in weights.items()), np.zeros(500))
    mean = sum(share * float(costs[model].mean()) for model, share in weights.items())
    low, high = np.quantile(mine, [0.05, 0.95])
    saved = None
    if base is not None and base.mean() > 0:
        left, right = np.quantile(1 - mine / resampled(base), [0.05, 0.95])
        saved = (1 - mean / float(base.mean()), float(left), float(right))
    return (mean, float(low), float(high)), saved


def _nothing(reason: str, more: int | None, tested: int = 0) -> Certified:
    return Certified({}, None, None, None, None, tested, reason, more)


def _refused(
    tests: Mapping[str, tuple[Vector, Vector]], plans: Sequence[Mapping[str, float]], baseline: str | None, floor: Floor,
    *, tested: int, delta: float,
) -> Certified:  # fmt: skip
    """Nothing passed: why, and how many runs more would decide it (normal approximation)."""
    if not plans:
        return _nothing("no model reaches the floor on the fitting half", None, tested)
    plan = plans[0]
    mean = sum(share * float(tests[model][0].mean()) for model, share in plan.items())
    variance = sum(share**2 * float(tests[model][0].var()) for model, share in plan.items())
    wanted = floor.level
    if wanted is None:
        base = tests[str(baseline)][0]
        wanted = floor.ratio * float(base.mean()) - floor.margin
        variance += floor.ratio**2 * float(base.var())
    ahead = mean - wanted
    names = " + ".join(plan)
    if ahead <= 0:
        return _nothing(f"{names} has {mean:.3f} where {wanted:.3f} is asked", None, tested)
    z = {0.2: 0.842, 0.1: 1.282, 0.05: 1.645, 0.01: 2.326}.get(round(delta, 2), 1.645) + 0.842
    least = int(np.ceil(max(variance, 1e-4) * (z / ahead) ** 2))
    have = min(len(tests[model][0]) for model in plan)
    more = max(2 * (least - have), 1)
    return _nothing(f"{names} has {mean:.3f} for {wanted:.3f}, not proven by {have} runs", more, tested)
