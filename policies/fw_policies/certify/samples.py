"""A step's certificate from what its calls gave: independent runs per model, as live traffic has them.

The runs of every model are split in two by their names: one half chooses plans and their order, the other tests them. A plan is
one model or a mixture of two; the first that fails ends the tests, so the chance that the promise is broken is at most delta.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_policies.certify.sequence import fixed_sequence
from fw_policies.search.shrink import shrunk

Vector = NDArray[np.float64]
MARGINS = tuple(np.linspace(4.0, -0.5, 19))
"""Caution of the plans, in standard errors: from the most cautious to the boldest."""
FIT = 0.5
DRAWS = 4000
LEAST = 20
"""Runs of a model below which it is not considered."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What quality must reach: `level`, or `ratio` × the baseline's mean − `margin`."""

    level: float | None = None
    ratio: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a step by one model: its name, its outcome in 0..1, its cost in nano-USD (None: unknown)."""

    run: str
    value: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A plan whose test was passed. With probability `confidence` all that passed keep the promise, and so does every mixture of them."""

    weights: Mapping[str, float]
    quality: float
    """Mean on the testing half."""
    bound: float
    """Lower bound of quality − floor."""


@dataclass(frozen=True, slots=True)
class Certified:
    """A mixture that may be promised, or the reason why there is none."""

    weights: Mapping[str, float]
    """Model -> share of the calls; empty when nothing is certified."""
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


def certify(
    seen: Mapping[str, Sequence[Seen]],
    baseline: str | None,
    floor: Floor,
    *,
    confidence: float,
    seed: int = 0,
    dearer: Mapping[str, float] | None = None,
) -> Certified:
    """The cheapest plan over `seen` (model -> its runs) whose quality reaches `floor` with this confidence.

    A plan that is the baseline alone needs no proof of a relative floor and is never the answer here. Several values of one run
    count as one, their mean: the unit of account is the run. `dearer`: nano-USD that a run of a model takes from others, the price of
    a shared machine; plans are chosen with and without it, and it must not come from outcomes of the testing half.
    """
    delta = 1 - confidence
    seen = {model: _by_run(runs) for model, runs in seen.items()}
    halves = {model: _halves(runs) for model, runs in sorted(seen.items()) if len(runs) >= LEAST}
    costed = {model: both for model, both in halves.items() if all(run.cost is not None for run in seen[model])}
    if floor.level is None and (baseline is None or baseline not in halves):
        return _nothing(f"the baseline {baseline} has fewer than {LEAST} runs with an outcome", LEAST)
    able = [model for model in costed if model != baseline or floor.level is not None]
    if not able:
        return _nothing(f"no other model has {LEAST} runs with an outcome and a known cost", LEAST)
    plans = _plans(costed, halves, baseline, floor, dearer=dearer or {})
    rng = np.random.default_rng(seed)
    tests = {model: both[1] for model, both in halves.items()}
    bounds: dict[int, float] = {}

    def holds(index: int) -> bool:
        bounds[index] = _slack(tests, plans[index], baseline, floor, delta=delta, rng=rng)
        return bounds[index] >= 0

    passed = fixed_sequence(range(len(plans)), holds)
    tested = sum(len(values[0]) for values in tests.values())
    if passed.last is None:
        return _refused(tests, plans, baseline, floor, tested=tested, delta=delta)
    others = [at for at in range(passed.last + 1) if set(plans[at]) != {baseline}]
    if not others:
        return _nothing("only the baseline itself reaches the floor", None, tested)
    weights = plans[others[-1]]
    proven = tuple(Passed(plans[at], _mean(tests, plans[at]), bounds[at]) for at in range(passed.last + 1))
    cost, saved = money(seen, weights, baseline, rng)
    return Certified(weights, _mean(tests, weights), bounds[others[-1]], cost, saved, tested, "", None, proven)


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
    tests = {model: _halves(_by_run(runs))[1] for model, runs in sorted(seen.items()) if runs}
    return _slack(tests, weights, baseline, floor, delta=1 - confidence, rng=np.random.default_rng(seed))


def _mean(tests: Mapping[str, tuple[Vector, Vector]], weights: Mapping[str, float]) -> float:
    return sum(share * float(tests[model][0].mean()) for model, share in weights.items())


def _by_run(runs: Sequence[Seen]) -> list[Seen]:
    """One value per run, the mean of its own: what calls of one run share was observed once."""
    if len({one.run for one in runs}) == len(runs):
        return list(runs)
    found: dict[str, list[Seen]] = {}
    for one in runs:
        found.setdefault(one.run, []).append(one)
    out = []
    for run, mine in found.items():
        costs = [one.cost for one in mine if one.cost is not None]
        cost = sum(costs) / len(mine) if len(costs) == len(mine) else None
        out.append(Seen(run, sum(one.value for one in mine) / len(mine), cost))
    return out


def fitting(runs: Sequence[Seen]) -> tuple[float, float] | None:
    """Mean outcome and cost of the fitting half, for what must not look at the tests; None: too few runs, or an unknown cost."""
    if len(runs) < LEAST or any(run.cost is None for run in runs):
        return None
    values, costs = _halves(_by_run(runs))[0]
    return (float(values.mean()), float(costs.mean())) if len(values) else None


def _halves(runs: Sequence[Seen]) -> tuple[tuple[Vector, Vector], tuple[Vector, Vector]]:
    """(outcomes, costs) of the fitting half and of the testing half, by a hash of the run's name."""
    fit = [int.from_bytes(hashlib.blake2b(run.run.encode(), digest_size=4).digest()) / 2**32 < FIT for run in runs]
    parts = []
    for wanted in (True, False):
        mine = [run for run, own in zip(runs, fit, strict=True) if own is wanted]
        costs = [np.nan if run.cost is None else run.cost for run in mine]
        parts.append((np.array([run.value for run in mine], dtype=float), np.array(costs, dtype=float)))
    return parts[0], parts[1]


def _plans(
    costed: Mapping[str, tuple[tuple[Vector, Vector], tuple[Vector, Vector]]],
    halves: Mapping[str, tuple[tuple[Vector, Vector], tuple[Vector, Vector]]],
    baseline: str | None,
    floor: Floor,
    *,
    dearer: Mapping[str, float],
) -> list[dict[str, float]]:
    """Plans from the fitting half, from the most cautious to the boldest, each once."""
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
    plans: list[dict[str, float]] = []
    for margin in MARGINS:
        for paid in (costs, priced):
            found = cheapest(means, paid, min(wanted + margin * error, 1.0))
            if found is None:
                continue
            plan = {model: round(float(w), 3) for model, w in zip(models, found, strict=True) if w > 0.005}
            if plan not in plans:
                plans.append(plan)
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
        total += own * _draw(tests[model][0], rng, low=own >= 0)
    if floor.level is not None:
        return float(np.quantile(total, delta)) - floor.level
    if baseline not in plan:
        total -= floor.ratio * _draw(tests[str(baseline)][0], rng, low=False)
    return float(np.quantile(total, delta)) + floor.margin


def _draw(values: Vector, rng: np.random.Generator, *, low: bool) -> Vector:
    """Draws from the lower (or upper) confidence distribution of a mean: a part more on 0 (or on 1)."""
    levels, counts = np.unique(np.clip(values, 0.0, 1.0), return_counts=True)
    parts = rng.standard_gamma(counts.astype(float), size=(DRAWS, len(levels))) if len(levels) else np.zeros((DRAWS, 0))
    rest = rng.standard_gamma(1.0, size=DRAWS)
    drawn: Vector = (parts @ levels + (0.0 if low else rest)) / (parts.sum(1) + rest)
    return drawn


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
