"""What could be promised from outcomes that were already seen: cheapest choice of a model per step whose quality holds.

Half of the runs, by a hash of their name, chooses plans and lays down their order, from the dearest to the cheapest. The other
half tests them in that order, each at the full level, and the first failure ends it (fixed-sequence testing; Maurer et al.,
1995): the chance that the promise is broken is at most 1 − confidence, however many models there are.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fw_policies.certify.bounds import lower_mean
from fw_policies.certify.sequence import fixed_sequence
from fw_policies.model import Estimate
from fw_policies.search.shrink import shrunk

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
LEAST = 20
"""Runs of a model at a step below which it is not considered there."""
FIT = 0.5
"""Share of the runs that choose."""
DRAWS = 4000
RESAMPLED = 500
MARGINS = tuple(np.linspace(4.0, 0.0, 17))
"""Caution of the plans: the slack over the floor, in standard errors."""
CAUTION = (0.0, 20.0, 60.0, 120.0)
"""Slack given up for a variance: its derivative z/(2·error) for errors from 0.05 to 0.01."""
PRIOR = 0.2
"""Sum of squares of one run more than was seen."""
WIDE = 500
KNOWN = 0.95
"""Share of a model's runs at a step whose cost must be known; the mean of the rest stands for what is missing."""
POWER = 0.842
"""Normal quantile of the 80 % chance with which the runs that are said to be missing would decide."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a step by one model: its name, its outcome in 0..1, its cost in nano-USD (None: unknown)."""

    run: str
    value: float
    cost: float | None


Evidence = Mapping[str, Mapping[str, Sequence[Seen]]]
"""Step -> model -> its runs."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What may be promised, or why nothing may."""

    baseline: str
    ratio: float
    confidence: float
    saved: Estimate | None
    """Share of the baseline's cost that is saved, on the testing half; None: nothing is promised."""
    plan: Mapping[str, str]
    """Step -> model; the baseline at every step when nothing is promised."""
    bound: float | None
    """Lower bound of the plan's quality − ratio × the baseline's, over the mix of steps, at `confidence`."""
    quality: tuple[float, float] | None
    """Means of the plan and of the baseline on the testing half."""
    tested: int
    """Runs in the testing half."""
    paired: bool
    """Whether the same tasks were run by the models that are compared."""
    refused: tuple[str, ...]
    more: Mapping[str, int] = field(default_factory=dict)
    """Step -> runs more of each model that would decide it if the means stay as they are; absent: they would not."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Runs as rows, models as columns; NaN: not seen."""

    value: Matrix
    cost: Matrix
    step: NDArray[np.int64]
    fit: NDArray[np.bool_]
    steps: tuple[str, ...]
    models: tuple[str, ...]

    def column(self, model: str) -> int:
        return self.models.index(model)


Plan = tuple[int, ...]
"""Column of the model at each step."""


def prove(evidence: Evidence, baseline: str, *, ratio: float = 0.98, confidence: float = 0.9, seed: int = 0) -> Proven:
    """The cheapest plan whose quality over all steps together is at least `ratio` × the baseline's, at `confidence`.

    The mix of steps is the one that was seen. `seed`: of the bounds' draws. The bound is Gaffke's (`fw_policies.certify.bounds`),
    on differences run by run where the models have run the same tasks, else on each model's own runs.
    """
    table = _tabulate(evidence)
    steps = [step for step, models in evidence.items() if len(models.get(baseline, ())) >= LEAST]
    short = tuple(
        f"{step}: the baseline {baseline} has {len(models.get(baseline, ()))} runs with an outcome, {LEAST} are the least"
        for step, models in evidence.items()
        if step not in steps
    )
    if not steps or baseline not in table.models:
        return _nothing(table, (baseline, ratio, confidence), short or ("there are no runs with an outcome",))
    plans = _plans(table, table.column(baseline), ratio)
    if not plans:
        return _nothing(table, (baseline, ratio, confidence), (*short, _alone(evidence, baseline)))
    rng = np.random.default_rng(seed)
    bounds: dict[Plan, float] = {}

    def holds(plan: Plan) -> bool:
        bounds[plan] = _bound(table, plan, table.column(baseline), (ratio, 1 - confidence, rng))
        return bounds[plan] >= 0

    passed = fixed_sequence(plans, holds)
    if passed.last is None:
        reason, more = _why(table, plans[0], table.column(baseline), (ratio, confidence))
        refused = _nothing(table, (baseline, ratio, confidence), (*short, reason))
        return _with_more(refused, more)
    plan = plans[passed.last]
    return Proven(
        baseline=baseline,
        ratio=ratio,
        confidence=confidence,
        saved=_saved(table, plan, table.column(baseline), rng),
        plan={step: table.models[column] for step, column in zip(table.steps, plan, strict=True)},
        bound=bounds[plan],
        quality=_qualities(table, plan, table.column(baseline)),
        tested=int((~table.fit).sum()),
        paired=_paired(table, plan, table.column(baseline)),
        refused=short,
    )


def each(
    evidence: Evidence, baseline: str, *, ratio: float = 0.98, confidence: float = 0.9, seed: int = 0
) -> dict[str, Proven]:
    """`prove` for each step on its own: the floor holds at every step, not only over their mix. All hold together at `confidence`.

    The level is shared out among the steps (Bonferroni).
    """
    level = 1 - (1 - confidence) / max(len(evidence), 1)
    return {
        step: prove({step: models}, baseline, ratio=ratio, confidence=level, seed=seed)
        for step, models in evidence.items()
    }


def best_single(evidence: Evidence) -> str | None:
    """The model of highest mean outcome among those seen in at least 90 % of the runs; None: there is none."""
    table = _tabulate(evidence)
    if not table.models:
        return None
    often = np.isfinite(table.value).mean(0) >= 0.9
    if not often.any():
        return None
    means = np.where(often, np.nanmean(np.where(often, table.value, 0.0), axis=0), -1.0)
    return table.models[int(np.argmax(means))]


def runs_needed(quality: float, ratio: float, confidence: float = 0.9) -> int:
    """Runs of each of two equally good models that would prove `ratio` with a chance of 80 % (normal approximation)."""
    slack = (1 - ratio) * quality
    variance = (1 + ratio**2) * quality * (1 - quality)
    return int(np.ceil(variance * ((_normal(confidence) + POWER) / slack) ** 2))


def _normal(confidence: float) -> float:
    return NormalDist().inv_cdf(confidence)


def _first_half(run: str) -> bool:
    return int.from_bytes(hashlib.blake2b(run.encode(), digest_size=4).digest()) / 2**32 < FIT


def _tabulate(evidence: Evidence) -> _Table:
    models = tuple(sorted({model for found in evidence.values() for model in found}))
    column = {model: index for index, model in enumerate(models)}
    place: dict[tuple[int, str], int] = {}
    for index, found in enumerate(evidence.values()):
        for runs in found.values():
            for run in runs:
                place.setdefault((index, run.run), len(place))
    value = np.full((len(place), len(models)), np.nan)
    cost = np.full((len(place), len(models)), np.nan)
    for index, found in enumerate(evidence.values()):
        for model, runs in found.items():
            for run in runs:
                at = place[index, run.run]
                value[at, column[model]] = run.value
                cost[at, column[model]] = np.nan if run.cost is None else run.cost
    step = np.array([index for index, _ in place], dtype=np.int64)
    fit = np.array([_first_half(run) for _, run in place], dtype=bool)
    return _Table(value, cost, step, fit, tuple(evidence), models)


def _plans(table: _Table, base: int, ratio: float) -> list[Plan]:
    """From the fitting half: the cheapest plan for each degree of caution, the most cautious first, each once, cheaper than the baseline.

    Caution is what the test will see: the slack over the floor in standard errors. Both are sums over steps, so a step that stays
    with the baseline adds nearly no error where tasks are paired.
    """
    means, cost, share = _fitted(table, base)
    scale = float((share * cost[:, base]).sum())
    if not np.isfinite(scale) or scale <= 0:
        return []
    slack = share[:, None] * (means - ratio * means[:, [base]])
    error = share[:, None] ** 2 * _variances(table, base, ratio)
    steps = np.arange(len(share))
    ways: dict[Plan, tuple[float, float]] = {}
    for weight in CAUTION:
        for _, price, plan in _frontier(slack - weight * error, share[:, None] * cost):
            spread = float(np.sqrt(error[steps, list(plan)].sum()))
            ways[plan] = (float(slack[steps, list(plan)].sum()) / spread, price)
    found: list[Plan] = []
    for wanted in MARGINS:
        able = [plan for plan, (score, price) in ways.items() if score >= wanted and price < scale]
        best = min(able, key=lambda plan: ways[plan][1], default=None)
        if best is not None and best not in found:
            found.append(best)
    return found


def _variances(table: _Table, base: int, ratio: float) -> Matrix:
    """Variance of the mean of (model − ratio × baseline) per step and model in the fitting half, a little more than observed where runs are few."""
    found = np.empty((len(table.steps), len(table.models)))
    for step in range(len(table.steps)):
        values = table.value[table.fit & (table.step == step)]
        seen = np.isfinite(values)
        n = seen.sum(0)
        both = seen & seen[:, [base]]
        gap = np.where(both, values - ratio * values[:, [base]], 0.0)
        together = both.sum(0)
        mean = gap.sum(0) / np.maximum(together, 1)
        paired = ((gap**2).sum(0) + PRIOR) / (together + 1) - mean**2
        own = np.where(seen, values, 0.0)
        p = (own.sum(0) + 0.5) / (n + 1)
        apart = p * (1 - p) / np.maximum(n, 1) + ratio**2 * p[base] * (1 - p[base]) / max(n[base], 1)
        apart[base] = (1 - ratio) ** 2 * p[base] * (1 - p[base]) / max(n[base], 1)
        often = together >= 0.9 * np.maximum(n, n[base])
        found[step] = np.where(often, np.maximum(paired, 1e-6) / np.maximum(together, 1), apart)
        found[step, base] = apart[base]
    return np.maximum(found, 1e-12)


def _fitted(table: _Table, base: int) -> tuple[Matrix, Matrix, Vector]:
    """Per step and model of the fitting half: shrunk quality, cost (infinite: may not be chosen), and each step's share of the runs."""
    count = len(table.steps)
    means = shrunk(table.value[table.fit], table.step[table.fit], count).mean
    cost = np.full(means.shape, np.inf)
    for step in range(count):
        rows = table.step == step
        seen = np.isfinite(table.value[rows])
        known = (np.isfinite(table.cost[rows]) | ~seen).mean(0) >= KNOWN
        both = (seen[table.fit[rows]].sum(0) > 0) & (seen[~table.fit[rows]].sum(0) > 0)
        able = (seen.sum(0) >= LEAST) & known & both
        able[base] = np.isfinite(table.cost[table.fit & rows, base]).any()
        cost[step, able] = np.nanmean(table.cost[table.fit & rows][:, able], axis=0)
    share = np.bincount(table.step[table.fit], minlength=count) / max(int(table.fit.sum()), 1)
    return means, cost, share


def _frontier(quality: Matrix, cost: Matrix) -> list[tuple[float, float, Plan]]:
    """(quality, cost, plan) of all plans that no other beats at both, step by step; thinned to `WIDE` on the way."""
    ways: list[tuple[float, float, Plan]] = [(0.0, 0.0, ())]
    for step in range(len(quality)):
        able = np.flatnonzero(np.isfinite(cost[step]))
        longer = [
            (way[0] + float(quality[step, m]), way[1] + float(cost[step, m]), (*way[2], int(m)))
            for way in ways
            for m in able
        ]
        longer.sort(key=lambda way: (way[1], -way[0]))
        ways, best = [], -np.inf
        for way in longer:
            if way[0] > best:
                ways.append(way)
                best = way[0]
        if len(ways) > WIDE:
            ways = [ways[index] for index in np.unique(np.linspace(0, len(ways) - 1, WIDE).astype(int))]
    return ways


def _bound(table: _Table, plan: Plan, base: int, test: tuple[float, float, np.random.Generator]) -> float:
    """Lower bound of the plan's mean − ratio × the baseline's. `test`: ratio, delta, random numbers."""
    ratio, delta, rng = test
    if _paired(table, plan, base):
        mine, theirs = _pairs(table, plan, base)
        return lower_mean((mine - ratio * theirs + ratio) / (1 + ratio), delta, rng) * (1 + ratio) - ratio
    total = np.zeros(DRAWS)
    tests = ~table.fit
    for step, column in enumerate(plan):
        rows = tests & (table.step == step)
        weight = rows.sum() / max(int(tests.sum()), 1)
        if column == base:
            total += weight * (1 - ratio) * _draw(table.value[rows, base], rng, low=True)
            continue
        total += weight * _draw(table.value[rows, column], rng, low=True)
        total -= weight * ratio * _draw(table.value[rows, base], rng, low=False)
    return float(np.quantile(total, delta))


def _draw(values: Vector, rng: np.random.Generator, *, low: bool) -> Vector:
    """Draws from the lower (or upper) confidence distribution of a mean: a part more on 0 (or on 1)."""
    levels, counts = np.unique(np.clip(values[np.isfinite(values)], 0.0, 1.0), return_counts=True)
    parts = rng.standard_gamma(counts.astype(float), size=(DRAWS, len(levels)))
    rest = rng.standard_gamma(1.0, size=DRAWS)
    drawn: Vector = (parts @ levels + (0.0 if low else rest)) / (parts.sum(1) + rest)
    return drawn


def _columns(table: _Table, plan: Plan) -> NDArray[np.int64]:
    return np.array(plan, dtype=np.int64)[table.step]


def _paired(table: _Table, plan: Plan, base: int) -> bool:
    """Whether at least 90 % of the testing runs of the two were runs of the same task by both."""
    mine = np.isfinite(table.value[np.arange(len(table.step)), _columns(table, plan)])
    theirs = np.isfinite(table.value[:, base])
    tests = ~table.fit
    return bool((mine & theirs & tests).sum() >= 0.9 * ((mine | theirs) & tests).sum())


def _pairs(table: _Table, plan: Plan, base: int) -> tuple[Vector, Vector]:
    rows = np.flatnonzero(~table.fit)
    mine, theirs = table.value[rows, _columns(table, plan)[rows]], table.value[rows, base]
    both = np.isfinite(mine) & np.isfinite(theirs)
    return mine[both], theirs[both]


def _by_step(table: _Table, values: Matrix, plan: Plan) -> float:
    """Mean over the mix of steps in the testing half of what `plan` has in `values`."""
    tests = ~table.fit
    total = 0.0
    for step, column in enumerate(plan):
        rows = tests & (table.step == step)
        if rows.any() and np.isfinite(values[rows, column]).any():
            total += float(rows.sum() / tests.sum() * np.nanmean(values[rows, column]))
    return total


def _qualities(table: _Table, plan: Plan, base: int) -> tuple[float, float]:
    return _by_step(table, table.value, plan), _by_step(table, table.value, (base,) * len(plan))


def _saved(table: _Table, plan: Plan, base: int, rng: np.random.Generator) -> Estimate | None:
    """Share of the baseline's cost saved on the testing half, with a 90 % interval from resampled runs."""
    whole = (base,) * len(plan)
    if not np.isfinite(table.cost[~table.fit, base]).any():
        return None
    mean = 1 - _by_step(table, table.cost, plan) / _by_step(table, table.cost, whole)
    mine, theirs, tests = np.zeros(RESAMPLED), np.zeros(RESAMPLED), ~table.fit
    for step, column in enumerate(plan):
        rows = np.flatnonzero(tests & (table.step == step))
        if len(rows):
            drawn = rows[rng.integers(0, len(rows), (RESAMPLED, len(rows)))]
            mine += len(rows) * _row_means(table.cost[drawn, column])
            theirs += len(rows) * _row_means(table.cost[drawn, base])
    low, high = np.quantile(1 - mine[theirs > 0] / theirs[theirs > 0], [0.05, 0.95])
    return Estimate(mean=mean, low=float(low), high=float(high), n=float(tests.sum()))


def _row_means(values: Matrix) -> Vector:
    """Mean of each row without what is missing; 0 where all is."""
    known = np.isfinite(values)
    total: Vector = np.where(known, values, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    return total


def _why(table: _Table, plan: Plan, base: int, asked: tuple[float, float]) -> tuple[str, int | None]:
    """Why not even the most cautious plan passed, and how many runs more would decide it (normal approximation). `asked`: ratio, confidence."""
    ratio, confidence = asked
    mine, theirs = _qualities(table, plan, base)
    names = ", ".join(sorted({table.models[column] for column in plan}))
    ahead = mine - ratio * theirs
    tested = int((~table.fit).sum())
    if ahead <= 0:
        return f"{names}: {mine:.3f} where {ratio * theirs:.3f} is asked, on {tested} runs", None
    if _paired(table, plan, base):
        left, right = _pairs(table, plan, base)
        variance = float((left - ratio * right).var())
    else:
        variance = mine * (1 - mine) + ratio**2 * theirs * (1 - theirs)
    least = int(np.ceil(max(variance, 1e-4) * ((_normal(confidence) + POWER) / ahead) ** 2))
    more = max(2 * (least - tested), 1)
    return f"{names}: {mine:.3f} for {ratio * theirs:.3f}, not proven by {tested} runs", more


def _alone(evidence: Evidence, baseline: str) -> str:
    others = {model: len(runs) for found in evidence.values() for model, runs in found.items() if model != baseline}
    if not others:
        return f"only {baseline} has outcomes: there is nothing to compare it with"
    if max(others.values()) < LEAST:
        return f"no other model has {LEAST} runs of a step with an outcome and a known cost"
    return f"no other model is cheaper than {baseline} at a known cost"


def _nothing(table: _Table, asked: tuple[str, float, float], why: tuple[str, ...]) -> Proven:
    """Nothing is promised. `asked`: baseline, ratio, confidence."""
    baseline, ratio, confidence = asked
    plan = dict.fromkeys(table.steps, baseline)
    return Proven(baseline, ratio, confidence, None, plan, None, None, int((~table.fit).sum()), False, why)


def _with_more(found: Proven, more: int | None) -> Proven:
    return found if more is None else replace(found, more=dict.fromkeys(found.plan, more))
