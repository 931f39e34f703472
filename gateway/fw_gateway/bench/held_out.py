"""Estimates out of fold, the frontier they reach, and what it saves, with intervals over queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_gateway.bench.data import Table
from fw_gateway.bench.routers import Matrix, Router, guarded
from fw_policies.search.frontier import Frontier, Vector, frontier, saved

FOLDS = 5
MOST, FEWEST = 11, 20
"""Steps whose frontiers are drawn, the largest; and queries that a step needs for that."""
GRID = 60
"""Costs at which a frontier's interval is worked out."""
SHARES = (1.0, 0.99, 0.95)
TRADES = np.r_[0.0, np.geomspace(1e-3, 1e3, 300)]
"""Prices of a unit of cost in units of quality, as multiples of best quality ÷ best cost."""


@dataclass(frozen=True, slots=True)
class Saves:
    """save@100, save@99, save@95 as shares; NaN: out of reach."""

    mean: tuple[float, float, float]
    """Over the seeds of the folds."""
    low: tuple[float, float, float]
    """90 % interval over queries: bootstrap percentiles, averaged over the seeds."""
    high: tuple[float, float, float]
    fronts: tuple["Front", ...]
    """Of the last seed, for plots: all steps together, then each step with enough queries."""
    expected: Matrix
    """Quality out of fold, of the last seed."""
    picks: NDArray[np.int64]
    """The model per (trade, query), of the last seed."""


@dataclass(frozen=True, slots=True)
class Front:
    """A frontier on held-out queries, of one step or of all."""

    step: str
    """Empty: all of them."""
    queries: int
    singles: tuple[Vector, Vector]
    """(cost, quality) of each model by itself."""
    zero: Frontier
    points: Frontier
    cost: Vector
    """Where the interval is known."""
    low: Vector
    high: Vector
    """90 % interval of the frontier's quality over queries; NaN below the cheapest point of most draws."""


def zero_router(table: Table) -> Frontier:
    """Random mixing of single models."""
    assert table.cost is not None  # noqa: S101 - callers ask only of tables with costs
    return frontier(table.cost.mean(0), table.score.mean(0))


def best_single(table: Table) -> int:
    """The model with the highest mean score; of equals the cheapest."""
    score = table.score.mean(0)
    cost = np.zeros_like(score) if table.cost is None else table.cost.mean(0)
    return int(np.lexsort((cost, -score))[0])


def out_of_fold(table: Table, vectors: Matrix, router: Router, seed: int) -> tuple[Matrix, Matrix]:
    """Expected quality and cost of every query by a router that was fitted on the other folds."""
    fold = np.random.default_rng(seed).permutation(len(table.queries)) % FOLDS
    quality, cost = np.zeros_like(table.score), np.zeros_like(table.score)
    run = guarded(router)
    for number in range(FOLDS):
        fit, ask = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        found = run(table, vectors, fit, ask)
        quality[ask] = found.quality
        if found.cost is not None:
            cost[ask] = found.cost
    return quality, cost


def chosen(table: Table, quality: Matrix, cost: Matrix) -> NDArray[np.int64]:
    """The model per (trade, query): argmax of quality − trade · cost, shape (trades, queries)."""
    assert table.cost is not None  # noqa: S101
    best = best_single(table)
    unit = table.score[:, best].mean() / table.cost[:, best].mean()
    return np.stack([np.argmax(quality - trade * unit * cost, axis=1) for trade in TRADES])


def saves(table: Table, vectors: Matrix, router: Router, *, seeds: int = 3, draws: int = 100) -> Saves:
    """What a router saves on held-out queries against the best single model, whose frontier stays in the plan space."""
    found = [_once(table, vectors, router, seed=seed, draws=draws) for seed in range(seeds)]
    low, high = np.nanmean(np.array([one.bounds for one in found]), axis=0)
    last = found[-1]
    fronts = _fronts(table, last.got, draws, np.random.default_rng((seeds, 2)))
    mean = np.mean([one.mean for one in found], axis=0)
    return Saves(_three(mean), _three(low), _three(high), fronts, last.expected, last.picks)


@dataclass(frozen=True, slots=True)
class _Once:
    """One seed of the folds."""

    mean: list[float]
    bounds: Matrix
    expected: Matrix
    picks: NDArray[np.int64]
    got: tuple[Matrix, Matrix]
    """Quality and cost per (trade, query)."""


def _once(table: Table, vectors: Matrix, router: Router, *, seed: int, draws: int) -> _Once:
    assert table.cost is not None  # noqa: S101
    rows = np.arange(len(table.queries))
    expected, cost = out_of_fold(table, vectors, router, seed)
    picks = chosen(table, expected, cost)
    got = table.score[rows, picks], table.cost[rows, picks]
    rng = np.random.default_rng((seed, 1))
    again = []
    for _ in range(draws):
        some = rng.integers(0, len(rows), len(rows))
        again.append(_saved(table, _points(table, got, some), some))
    bounds = np.nanquantile(np.array(again), [0.05, 0.95], axis=0)
    return _Once(_saved(table, _points(table, got, rows), rows), bounds, expected, picks, got)


def _fronts(table: Table, got: tuple[Matrix, Matrix], draws: int, rng: np.random.Generator) -> tuple[Front, ...]:
    """All steps together and, when there are several, each that has enough queries."""
    found = [_front(table, "", got, np.arange(len(table.queries)), draws=draws, rng=rng)]
    sizes = np.bincount(table.step, minlength=len(table.steps))
    if len(sizes) > 1:
        for step in [step for step in np.argsort(-sizes, kind="stable") if sizes[step] >= FEWEST][:MOST]:
            rows = np.flatnonzero(table.step == step)
            found.append(_front(table, table.steps[step], got, rows, draws=draws, rng=rng))
    return tuple(found)


def _front(
    table: Table,
    step: str,
    got: tuple[Matrix, Matrix],
    rows: NDArray[np.int64],
    *,
    draws: int,
    rng: np.random.Generator,
) -> Front:
    assert table.cost is not None  # noqa: S101
    singles = table.cost[rows].mean(0), table.score[rows].mean(0)
    points = _points(table, got, rows)
    cost = np.linspace(points.cost[0], points.cost[-1], GRID)
    if points.cost[0] > 0:
        cost = np.geomspace(points.cost[0], points.cost[-1], GRID)
    again = np.full((draws, GRID), np.nan)
    for number in range(draws):
        drawn = _points(table, got, rows[rng.integers(0, len(rows), len(rows))])
        again[number] = np.interp(cost, drawn.cost, drawn.quality, left=np.nan)
    known = np.isfinite(again).mean(0) >= 0.5
    low, high = np.full(GRID, np.nan), np.full(GRID, np.nan)
    if known.any():
        low[known], high[known] = np.nanquantile(again[:, known], [0.05, 0.95], axis=0)
    return Front(step, len(rows), singles, frontier(*singles), points, cost, low, high)


def _points(table: Table, got: tuple[Matrix, Matrix], rows: NDArray[np.int64]) -> Frontier:
    assert table.cost is not None  # noqa: S101
    quality = np.r_[got[0][:, rows].mean(1), table.score[rows].mean(0)]
    cost = np.r_[got[1][:, rows].mean(1), table.cost[rows].mean(0)]
    return frontier(cost, quality)


def _saved(table: Table, points: Frontier, rows: NDArray[np.int64]) -> list[float]:
    assert table.cost is not None  # noqa: S101
    best = best_single(table)
    quality, cost = float(table.score[rows, best].mean()), float(table.cost[rows, best].mean())
    return [round(saved(points, quality, cost, share), 12) + 0.0 for share in SHARES]  # never a −0 %


def _three(values: Matrix) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
