"""Means per step and model, shrunk by empirical Bayes in closed form: a·(own mean) + (1 − a)·(what its kin say), a = τ²/(τ² + v/n)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Steps = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Means:
    """Estimates per (step, model)."""

    mean: Matrix
    """Shrunk; shape (steps, models)."""
    raw: Matrix
    """As observed; where a step was never seen, the shrunk one."""
    n: Matrix
    """Observations behind each; shape (steps, models)."""
    weight: Matrix
    """a: how much the own mean counts, 0..1."""


def shrunk(values: Matrix, steps: Steps, count: int, *, binary: bool = True) -> Means:
    """Shrink the means of `values` (queries × models, NaN: not seen) per step towards step + model effects (Efron and Morris, 1973).

    `steps`: each query's step, 0..count−1. `binary`: the noise of a mean is p(1 − p)/n, else the sample variance/n. τ² is by moments.
    """
    models = values.shape[1]
    seen = np.isfinite(values)
    filled = np.where(seen, values, 0.0)
    n, total, squares = (np.zeros((count, models)) for _ in range(3))
    np.add.at(n, steps, seen.astype(float))
    np.add.at(total, steps, filled)
    np.add.at(squares, steps, filled**2)
    overall = filled.sum(0) / np.maximum(seen.sum(0), 1)
    raw = np.where(n > 0, total / np.maximum(n, 1), overall)
    kin = raw.mean(1, keepdims=True) + (overall - overall.mean())[None]
    if binary:
        kin = np.clip(kin, 0.0, 1.0)
        noise = np.clip(kin * (1 - kin), 0.01, None) / np.maximum(n, 1)
    else:
        spread = np.maximum(squares / np.maximum(n, 1) - raw**2, 0) * n / np.maximum(n - 1, 1)
        noise = np.maximum(spread, spread.mean() * 0.1 + 1e-18) / np.maximum(n, 1)
    known = n > 0
    left = ((raw - kin) ** 2 - noise)[known]
    spread_of_steps = max(float(left.mean()) if left.size else 0.0, 1e-9)
    weight = np.where(known, spread_of_steps / (spread_of_steps + noise), 0.0)
    mean = kin + weight * (raw - kin)
    return Means(mean, np.where(known, raw, mean), n, weight)


def paired(values: Matrix, steps: Steps, count: int) -> Means:
    """`shrunk`, for queries that every model has answered: what all models share and what sets them apart are shrunk each by itself.

    A choice depends on the differences between models alone, and on the same queries they are far surer than the means: the luck of
    the draw of queries is common to all. Each part has its own τ² and its own noise, the sample variance (with four pseudo-observations
    of the variance over all steps).
    """
    shared = values.mean(1, keepdims=True)
    common, apart = _towards(shared, steps, count), _towards(values - shared, steps, count)
    raw, n = _by_step(values, steps, count)
    overall = values.mean(0)
    seen = n > 0
    mean = np.clip(common[0] + apart[0], 0.0, 1.0)
    weight = np.broadcast_to(apart[1], raw.shape).copy()
    return Means(mean, np.where(seen, raw, overall), np.broadcast_to(n, raw.shape).copy(), weight)


def _by_step(values: Matrix, steps: Steps, count: int) -> tuple[Matrix, Matrix]:
    """(means per step, queries per step as a column)."""
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, steps, values)
    n = np.bincount(steps, minlength=count)[:, None].astype(float)
    return total / np.maximum(n, 1), n


def _towards(values: Matrix, steps: Steps, count: int) -> tuple[Matrix, Matrix]:
    """Means per step shrunk to the mean over all queries, and the weight of their own."""
    overall, spread = values.mean(0), values.var(0)
    own, n = _by_step(values, steps, count)
    squares, _ = _by_step(values**2, steps, count)
    noise = (np.maximum(squares - own**2, 0) * n + 4 * spread) / (n + 4) / np.maximum(n, 1)
    seen = n[:, 0] > 0
    left = ((own - overall) ** 2 - noise)[seen]
    between = max(float(left.mean()) if left.size else 0.0, 1e-9)
    weight = np.where(n > 0, between / (between + noise), 0.0)
    return overall + weight * (own - overall), weight
