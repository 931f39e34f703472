"""Promise-keeping: plans fitted on a part of the data, promised on another, judged on a third."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from fw_gateway.bench.data import Table
from fw_gateway.bench.held_out import best_single, chosen
from fw_gateway.bench.routers import Router, guarded
from fw_policies.certify.bounds import lower_mean, upper_mean
from fw_policies.certify.sequence import fixed_sequence
from fw_policies.search.programme import Problem, Solution, solve
from fw_policies.search.shrink import shrunk

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]
Who = Literal["naive", "calibrated", "ours", "router"]

SPLITS = 40
DELTA = 0.1
MARGINS = tuple(np.linspace(4.0, -0.5, 28))
"""Caution of the plans of a path, in standard errors of what will be tested: from the most cautious to the boldest."""
PARTS = 3
MANY = 2000
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
    costs: tuple[float, ...] = ()
    """Of each split."""


def share(broken: int, splits: int) -> tuple[float, float]:
    """A 90 % interval of the share of promises that are broken (Clopper and Pearson, 1934). Splits share queries: it is a guide."""
    low = float(betaincinv(broken, splits - broken + 1, 0.05)) if broken else 0.0
    high = float(betaincinv(broken + 1, splits - broken, 0.95)) if broken < splits else 1.0
    return low, high


def dearer(mine: Kept, other: Kept) -> float:
    """By how many standard errors of the difference, split by split, the first costs more."""
    apart = np.array(mine.costs) - np.array(other.costs)
    error = float(apart.std(ddof=1)) / np.sqrt(len(apart)) if len(apart) > 1 else 0.0
    mean = float(apart.mean())
    return mean / error if error > 0 else (np.inf if mean > 1e-15 else 0.0)


def keep(table: Table, ask: Ask, who: Who, *, seed: int = 0, splits: int = SPLITS) -> Kept:
    """Make and judge promises over random splits of the queries: 40 % fit, 20 % calibrate, 40 % test."""
    assert table.cost is not None  # noqa: S101 - callers ask only of tables with costs
    told: list[Told] = []
    for number in range(splits):
        rng = np.random.default_rng((seed, number))
        seen, test = _halves(table, rng)
        served = _serve(table, ask, who, seen, rng=rng)
        weights = served.weights[table.step[test]]
        cost = float((weights * table.cost[test]).sum(1).mean())
        missing = _missing((weights * table.score[test]).sum(1), ask.quality)
        if ask.limit is not None and table.latency is not None:
            late = (weights * (table.latency[test] > ask.limit)).sum(1)
            missing = max(missing, _missing(-late, -ask.late))
        told.append((missing if served.promised else None, cost))
    return _kept(who, ask, told)


def estimated(
    table: Table, vectors: Matrix, router: Router, asks: Sequence[Ask], *, seed: int = 0, splits: int = SPLITS
) -> list[Kept]:
    """Promises that a router makes by its own estimates: the cheapest trade whose expected mean quality reaches the floor, promised outright.

    It is fitted on the 60 % that others make a plan of, and serves each query of the other 40 % by itself.
    """
    assert table.cost is not None  # noqa: S101
    told: list[list[Told]] = [[] for _ in asks]
    for number in range(splits):
        seen, test = (np.sort(rows) for rows in _halves(table, np.random.default_rng((seed, number))))
        found = guarded(router)(table, vectors, seen, test)
        part, row = table.part(test), np.arange(len(test))
        costs = found.cost if found.cost is not None else np.broadcast_to(table.cost[seen].mean(0), found.quality.shape)
        picks = chosen(table.part(seen), found.quality, costs)
        hoped, paid = found.quality[row, picks].mean(1), costs[row, picks].mean(1)
        best = best_single(table.part(seen))
        assert part.cost is not None  # noqa: S101
        for mine, ask in zip(told, asks, strict=True):
            able = np.flatnonzero(hoped >= ask.quality)
            if not len(able):
                mine.append((None, float(part.cost[:, best].mean())))
                continue
            pick = picks[able[paid[able].argmin()]]
            mine.append((_missing(part.score[row, pick], ask.quality), float(part.cost[row, pick].mean())))
    return [_kept("router", ask, mine) for ask, mine in zip(asks, told, strict=True)]


Told = tuple[float | None, float]
"""Of one split: by how many standard errors the promise was missed (None: none was made), and the cost per query."""


def _halves(table: Table, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Queries that make a plan, and queries that judge it."""
    rows = rng.permutation(len(table.queries))
    cut = round(len(rows) * (FIT + CALIBRATE))
    return rows[:cut], rows[cut:]


def _kept(who: Who, ask: Ask, told: Sequence[Told]) -> Kept:
    made = [(missing, cost) for missing, cost in told if missing is not None]
    return Kept(
        who,
        ask,
        broken=sum(missing > 1.64 for missing, _ in made),
        below=sum(missing > 0 for missing, _ in made),
        answered=len(made),
        splits=len(told),
        cost=float(np.mean([cost for _, cost in told])),
        cost_answered=float(np.mean([cost for _, cost in made])) if made else float("nan"),
        costs=tuple(cost for _, cost in told),
    )


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
        return _calibrated(table, ask, (seen[:cut], seen[cut:]), rng) or _declined(table, ask, seen, rng)
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
    if lower_mean(_fewer(values, up=False), DELTA, rng, draws=2000) < ask.quality:
        return False
    return late is None or upper_mean(_fewer(late, up=True), DELTA, rng, draws=2000) <= ask.late


def _fewer(values: Matrix, *, up: bool) -> Matrix:
    """Many values rounded to thousandths, to the side on which a bound stays one: its time grows with their number."""
    if len(values) <= MANY:
        return values
    return (np.ceil(values * 1000) if up else np.floor(values * 1000)) / 1000


def _values(table: Table, ask: Ask, rows: Rows, weights: Matrix) -> tuple[Matrix, Matrix | None]:
    own = weights[table.step[rows]]
    late = None
    if ask.limit is not None and table.latency is not None:
        late = (own * (table.latency[rows] > ask.limit)).sum(1)
    return (own * table.score[rows]).sum(1), late


def _calibrated(table: Table, ask: Ask, parts: tuple[Rows, Rows], rng: np.random.Generator) -> Served | None:
    """The anchor: of all plans whose bound on the calibration part holds, the cheapest; None: none does. Best of several: a little too bold."""
    fit, check = parts
    able = [
        plan
        for plan in _path(table, fit, ask, len(check))
        if plan is not None and _holds(*_values(table, ask, check, plan.weights), ask, rng)
    ]
    if not able:
        return None
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
        values, late = [], list[Matrix]()
        for plan, part in zip(plans, parts, strict=True):
            if plan is None:
                raise AssertionError("the order holds only margins that every part has a plan for")
            found = _values(table, ask, part, plan.weights)
            values.append(found[0])
            late.extend(one for one in found[1:] if one is not None)
        return _holds(np.concatenate(values), np.concatenate(late) if late else None, ask, rng)

    passed = fixed_sequence(order, holds)
    if passed.last is None:
        return _declined(table, ask, seen, rng)
    mixed = [path[order[passed.last]] for path in paths]
    return Served(np.mean([plan.weights for plan in mixed if plan is not None], axis=0), promised=True)


def _best(table: Table, rows: Rows) -> Rows:
    """Models by their mean score, the highest first; of equals the cheapest."""
    assert table.cost is not None  # noqa: S101
    found: Rows = np.lexsort((table.cost[rows].mean(0), -table.score[rows].mean(0)))
    return found


def _declined(table: Table, ask: Ask, check: Rows, rng: np.random.Generator) -> Served:
    """No promise: the best single model serves, the first by its mean that passes a bound of its own; else simply the best."""
    order = _best(table, check)
    for model in order:
        late = None if ask.limit is None or table.latency is None else (table.latency[check, model] > ask.limit) * 1.0
        if _holds(table.score[check, model], late, ask, rng):
            return Served(_alone(table, int(model)), promised=False)
    return Served(_alone(table, int(order[0])), promised=False)


def _alone(table: Table, model: int) -> Matrix:
    weights = np.zeros((len(table.steps), len(table.models)))
    weights[:, model] = 1.0
    return weights
