"""One-sided bounds of means, from values in [0, 1]."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
DRAWS = 4000
"""Of a confidence distribution."""


def lower_mean(values: Vector, delta: float, rng: np.random.Generator, *, draws: int = 4000) -> float:
    """A lower bound of the mean of values in [0, 1] at confidence 1 − delta.

    Gaffke (2005): the delta quantile of Σ D_i z_(i), D uniform on the simplex of n + 1 parts, the extra part on the least possible
    value 0. For values that are all 0 or 1 it is the bound of Clopper and Pearson, and exact. For others it is conjectured to
    hold for every distribution (Learned-Miller and Thomas, 2020) and checked here by simulation. `draws`: of D.
    """
    n = len(values)
    if n == 0:
        return 0.0
    levels, counts = np.unique(np.clip(values, 0.0, 1.0), return_counts=True)
    if len(levels) == 1 and levels[0] == 0.0:
        return 0.0
    # Spacings that fall on equal values add up to one gamma variable of that many parts.
    parts = rng.standard_gamma(counts.astype(float), size=(draws, len(levels)))
    rest = rng.standard_gamma(1.0, size=draws)
    means = (parts @ levels) / (parts.sum(1) + rest)
    return float(np.quantile(means, delta))


def upper_mean(values: Vector, delta: float, rng: np.random.Generator, *, draws: int = 4000) -> float:
    """An upper bound of the mean of values in [0, 1] at confidence 1 − delta: `lower_mean` of what they lack to 1."""
    return 1.0 - lower_mean(1.0 - np.clip(values, 0.0, 1.0), delta, rng, draws=draws)


def drawn(values: Vector, rng: np.random.Generator, *, low: bool, weights: Vector | None = None) -> Vector:
    """Draws from the lower (or upper) confidence distribution of a mean: a part more on 0 (or on 1).

    `weights`: what each value counts for, the inverse of the chance with which it came to be seen; the part more weighs as much as the
    heaviest. Equal weights are none.
    """
    each = np.ones(len(values)) if weights is None else weights
    pairs, counts = np.unique(np.c_[np.clip(values, 0.0, 1.0), each], axis=0, return_counts=True)
    parts = rng.standard_gamma(counts.astype(float), size=(DRAWS, len(counts))) * pairs[:, 1]
    rest = rng.standard_gamma(1.0, size=DRAWS) * (each.max() if len(each) else 1.0)
    found: Vector = (parts @ pairs[:, 0] + (0.0 if low else rest)) / (parts.sum(1) + rest)
    return found
