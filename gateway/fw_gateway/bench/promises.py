"""Promise-keeping: plans fitted on a part of the data, promised on another, judged on a third."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fw_gateway.bench.data import Table
from fw_policies.certify.bounds import lower_mean, upper_mean
from fw_policies.certify.sequence import fixed_sequence
from fw_policies.search.programme import Problem, Solution, solve
from fw_policies.search.shrink import shrunk

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]
Who = Literal["naive", "calibrated", "ours"]

SPLITS = 40
DELTA = 0.1
MARGINS = tuple(np.linspace(4.0, -0.5, 28))
"""Caution of the plans of a path, in standard errors of what will be tested: from the most cautious to the boldest."""
PARTS = 3
FIT, CALIBRATE = 0.4, 0.2


@dataclass(frozen=True, slots=True)
class Ask:
    """What is promised: mean quality at least `quality` and, with a limit, P(latency > limit) ≤ `late`."""

    quality: float
    limit: float | None = None
    late: float = 0.05


@dataclass(frozen=True, slots=True)
class Served:
    """What serves: a mixture per step (steps × models), promised or not."""

    weights: Matrix
    promised: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A router over all splits."""

    who: Who
    ask: Ask
    broken: int
    """Promises whose test mean is below the floor by more than 1.64 of its standard errors (or late by as much)."""
    below: int
    """Promises whose test mean is below the floor at all."""
    answered: int
    splits: int
    cost: float
    """Mean cost per query in US dollars over all splits, declined ones at the price of what then serves."""
    cost_answered: float
    """Over the splits that were answered; NaN when none was."""


def keep(table: Table, ask: Ask, who: Who, *, seed: int = 0, splits: int = SPLITS) -> Kept:
    """Make and judge promises over random splits of the queries: 40 % fit, 20 % calibrate, 40 % test."""
    broken = below = answered = 0
    costs, when_answered = [], []
    for number in range(splits):
        rng = np.random.default_rng((seed, number))
        rows = rng.permutation(len(table.queries))
        seen, test = rows[: round(len(rows) * (FIT + CALIBRATE))], rows[round(len(rows) * (FIT + CALIBRATE)) :]
        served = _serve(table, ask, who, seen, rng=rng)
        weights = served.weights[table.step[test]]
        values = (weights * table.score[test]).sum(1)
        assert table.cost is not None  # noqa: S101 - callers ask only of tables with costs
        cost = float((weights * table.cost[test]).sum(1).mean())
        costs.append(cost)
        if not served.promised:
            continue
        answered += 1
        when_answered.append(cost)
        missing = _missing(values, ask.quality)
        if ask.limit is not None and table.latency is not None:
            late = (weights * (table.latency[test] > ask.limit)).sum(1)
            missing = max(missing, _missing(-late, -ask.late))
        below += missing > 0
        broken += missing > 1.64
    mean = float(np.mean(when_answered)) if when_answered else float("nan")
    return Kept(who, ask, broken, below, answered, splits, float(np.mean(costs)), mean)


def _missing(values: NDArray[np.float64], floor: float) -> float:
    """By how many standard errors the mean is below the floor."""
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    short = floor - float(values.mean())
    return short / error if error > 0 else (np.inf if short > 1e-12 else 0.0)


def _serve(table: Table, ask: Ask, who: Who, seen: Rows, *, rng: np.random.Generator) -> Served:
    if who == "naive":
        found = solve(_problem(table, seen, ask, raw=True), ask.quality)
        return Served(found.weights, promised=True) if found is not None else _declined(table, ask, seen, rng)
    cut = round(len(seen) * FIT / (FIT + CALIBRATE))
    if who == "calibrated":
        return _calibrated(table, ask, (seen[:cut], seen[cut:]), rng)
    return _certified(table, ask, seen, rng)


def _problem(table: Table, rows: Rows, ask: Ask, *, raw: bool = False) -> Problem:
    assert table.cost is not None  # noqa: S101
    count = len(table.steps)
    quality = shrunk(table.score[rows], table.step[rows], count)
    cost = shrunk(table.cost[rows], table.step[rows], count, binary=False)
    late = None
    if ask.limit is not None and table.latency is not None:
        found = shrunk((table.latency[rows] > ask.limit).astype(float), table.step[rows], count)
        late = found.raw if raw else found.mean
    share = np.bincount(table.step[rows], minlength=count) / len(rows)
    return Problem(share, quality.raw if raw else quality.mean, cost.raw, late, ask.late, per_step=False)


def _path(table: Table, rows: Rows, ask: Ask, tested: int) -> list[Solution | None]:
    """A plan for every margin, None where none has it. `tested`: queries that will test it."""
    problem = _problem(table, rows, ask)
    quality = float(np.sqrt(ask.quality * (1 - ask.quality) / tested))
    late = float(np.sqrt(ask.late * (1 - ask.late) / tested))
    plans: list[Solution | None] = []
    for margin in MARGINS:
        tighter = replace(problem, late_limit=max(ask.late - margin * late, 0.0))
        plans.append(solve(tighter, ask.quality + margin * quality))
    return plans


def _holds(values: Matrix, late: Matrix | None, ask: Ask, rng: np.random.Generator) -> bool:
    """Whether both promises are proven at 1 − δ: together still at 1 − δ (intersection–union)."""
    if lower_mean(values, DELTA, rng, draws=2000) < ask.quality:
        return False
    return late is None or upper_mean(late, DELTA, rng, draws=2000) <= ask.late


def _values(table: Table, ask: Ask, rows: Rows, weights: Matrix) -> tuple[Matrix, Matrix | None]:
    own = weights[table.step[rows]]
    late = None
    if ask.limit is not None and table.latency is not None:
        late = (own * (table.latency[rows] > ask.limit)).sum(1)
    return (own * table.score[rows]).sum(1), late


def _calibrated(table: Table, ask: Ask, parts: tuple[Rows, Rows], rng: np.random.Generator) -> Served:
    """The anchor: of all plans whose bound on the calibration part holds, the cheapest. Best of several: a little too bold."""
    fit, check = parts
    able = [
        plan
        for plan in _path(table, fit, ask, len(check))
        if plan is not None and _holds(*_values(table, ask, check, plan.weights), ask, rng)
    ]
    if not able:
        return _declined(table, ask, check, rng)
    return Served(min(able, key=lambda plan: plan.cost).weights, promised=True)


def _certified(table: Table, ask: Ask, seen: Rows, rng: np.random.Generator) -> Served:
    """Ours: cross-fitted, in a fixed order.

    Each third is calibrated by plans that were fitted on the other two; what serves is the even mixture of the three plans, so
    that what was tested is what serves, and every query tests. Margins are walked from the most cautious on until one fails.
    """
    parts = np.array_split(seen, PARTS)
    paths = [
        _path(table, np.concatenate([part for other, part in enumerate(parts) if other != number]), ask, len(seen))
        for number in range(PARTS)
    ]
    order = [index for index in range(len(MARGINS)) if all(path[index] is not None for path in paths)]

    def holds(index: int) -> bool:
        plans = [path[index] for path in paths]
        values, late = [], []
        for plan, part in zip(plans, parts, strict=True):
            if plan is None:
                raise AssertionError("the order holds only margins that every part has a plan for")
            found = _values(table, ask, part, plan.weights)
            values.append(found[0])
            late.append(found[1])
        slow = np.concatenate([one for one in late if one is not None]) if ask.limit is not None else None
        return _holds(np.concatenate(values), slow, ask, rng)

    passed = fixed_sequence(order, holds)
    if passed.last is None:
        return _declined(table, ask, seen, rng)
    mixed = [path[order[passed.last]] for path in paths]
    return Served(np.mean([plan.weights for plan in mixed if plan is not None], axis=0), promised=True)


def _declined(table: Table, ask: Ask, check: Rows, rng: np.random.Generator) -> Served:
    """No promise: the best single model serves, the first by its mean that passes a bound of its own; else simply the best."""
    order = np.argsort(-table.score[check].mean(0), kind="stable")
    for model in order:
        late = None if ask.limit is None or table.latency is None else (table.latency[check, model] > ask.limit) * 1.0
        if _holds(table.score[check, model], late, ask, rng):
            return Served(_alone(table, int(model)), promised=False)
    return Served(_alone(table, int(order[0])), promised=False)


def _alone(table: Table, model: int) -> Matrix:
    weights = np.zeros((len(table.steps), len(table.models)))
    weights[:, model] = 1.0
    return weights
