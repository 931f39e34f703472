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
