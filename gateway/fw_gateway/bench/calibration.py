"""Whether a router's estimates are true on queries that it has not seen: by their size, and of what it chooses by them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_gateway.bench.data import Matrix, Table

BINS = 10
DRAWS = 200
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Estimates in bins of as many cells (query × model) each, beside what came of them."""

    expected: Vector
    seen: Vector
    low: Vector
    high: Vector
    """90 % interval of `seen`; whole queries are drawn again, as the models share them."""
    error: float
    """Mean distance of `expected` and `seen`, each bin by its cells. Above 0 by chance alone: compare it with another router's."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a router expects of the models that it chooses, beside what they gave: the optimizer's curse, if it expects more."""

    expected: Vector
    seen: Vector
    low: Vector
    high: Vector
    """90 % interval of `seen`."""
    excess: float
    """Expected − seen where quality alone chooses."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One router on one set, out of fold."""

    bins: Bins
    chosen: Chosen | None
    """None: the set has no costs to trade with."""


def calibration(
    table: Table, expected: Matrix, picks: NDArray[np.int64] | None, rng: np.random.Generator
) -> Calibration:
    """`expected`: quality out of fold (queries × models); `picks`: the model chosen per (trade, query), None without costs."""
    again = rng.integers(0, len(table.queries), (DRAWS, len(table.queries)))
    return Calibration(
        _bins(expected, table.score, again), None if picks is None else _chosen(expected, table.score, picks, again)
    )


def _bins(expected: Matrix, score: Matrix, again: NDArray[np.int64]) -> Bins:
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, BINS + 1)[1:-1]))
    place = np.searchsorted(edges, expected, side="right")
    count = len(edges) + 1
    # Sums per (query, bin), so that drawing queries again is an addition.
    cells, hoped, got = (np.zeros((len(score), count)) for _ in range(3))
    row = np.arange(len(score))[:, None]
    np.add.at(cells, (row, place), 1.0)
    np.add.at(hoped, (row, place), expected)
    np.add.at(got, (row, place), score)
    filled = cells.sum(0) > 0
    cells, hoped, got = cells[:, filled], hoped[:, filled], got[:, filled]
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.array([got[some].sum(0) / cells[some].sum(0) for some in again])
    low, high = np.nanquantile(drawn, [0.05, 0.95], axis=0)
    size = cells.sum(0)
    mean, seen = hoped.sum(0) / size, got.sum(0) / size
    return Bins(mean, seen, low, high, float((size * np.abs(mean - seen)).sum() / size.sum()))


def _chosen(expected: Matrix, score: Matrix, picks: NDArray[np.int64], again: NDArray[np.int64]) -> Chosen:
    row = np.arange(len(score))
    _, kept = np.unique(picks, axis=0, return_index=True)  # neighbouring trades often choose alike
    picks = picks[np.sort(kept)]
    hoped, got = expected[row, picks], score[row, picks]
    drawn = np.array([got[:, some].mean(1) for some in again])
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    return Chosen(hoped.mean(1), got.mean(1), low, high, float(hoped[0].mean() - got[0].mean()))
