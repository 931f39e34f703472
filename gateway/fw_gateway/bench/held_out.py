"""Estimates out of fold, the frontier they reach, and what it saves, with intervals over queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_gateway.bench.data import Table
from fw_gateway.bench.routers import Matrix, Router, guarded
from fw_policies.search.frontier import Frontier, frontier, saved

FOLDS = 5
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
    points: Frontier
    """Of the last seed, for plots."""


def zero_router(table: Table) -> Frontier:
    """Random mixing of single models."""
    assert table.cost is not None  # noqa: S101 - callers ask only of tables with costs
    return frontier(table.cost.mean(0), table.score.mean(0))


def best_single(table: Table) -> int:
    """The model with the highest mean score."""
    return int(np.argmax(table.score.mean(0)))


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
    assert table.cost is not None  # noqa: S101
    means, bounds = [], []
    points = zero_router(table)
    rows = np.arange(len(table.queries))
    for seed in range(seeds):
        picks = chosen(table, *out_of_fold(table, vectors, router, seed))
        got = table.score[rows, picks], table.cost[rows, picks]
        points = _points(table, got, rows)
        means.append(_saved(table, points, rows))
        rng = np.random.default_rng((seed, 1))
        again = []
        for _ in range(draws):
            some = rng.integers(0, len(rows), len(rows))
            again.append(_saved(table, _points(table, got, some), some))
        bounds.append(np.nanquantile(np.array(again), [0.05, 0.95], axis=0))
    low, high = np.nanmean(np.array(bounds), axis=0)
    return Saves(_three(np.mean(means, axis=0)), _three(low), _three(high), points)


def _points(table: Table, got: tuple[Matrix, Matrix], rows: NDArray[np.int64]) -> Frontier:
    assert table.cost is not None  # noqa: S101
    quality = np.r_[got[0][:, rows].mean(1), table.score[rows].mean(0)]
    cost = np.r_[got[1][:, rows].mean(1), table.cost[rows].mean(0)]
    return frontier(cost, quality)


def _saved(table: Table, points: Frontier, rows: NDArray[np.int64]) -> list[float]:
    assert table.cost is not None  # noqa: S101
    best = best_single(table)
    quality, cost = float(table.score[rows, best].mean()), float(table.cost[rows, best].mean())
    return [saved(points, quality, cost, share) for share in SHARES]


def _three(values: Matrix) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
