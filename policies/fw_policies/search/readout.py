"""What a text says of each arm's quality when each text was seen with one arm: ridge regression on what the arms' means leave.

Arms share a part ρ of what texts tell of them (multi-task regression; Evgeniou and Pontil, 2004): the kernel of two runs is
x·x′ (ρ + (1 − ρ)[same arm]). ρ and the ridge are chosen by leave-one-out squared error in closed form, and "no text" is always one of the
choices. It is linear so that a lock can hold it: 128 small numbers an arm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_policies.by_text import ByText, Reads

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Arms = NDArray[np.int64]
SHARED = (0.0, 0.5, 0.9)
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0)
"""The larger, the more of an arm's mean stays. Texts are scaled to a mean square of 1."""
MOST = 127
"""Of a weight in one byte."""
DIGITS = 6
"""Significant ones of what a rule is made of: what a file keeps is exactly what was tested."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much arms share, and how much is shrunk."""

    shared: float
    ridge: float


@dataclass(frozen=True, slots=True)
class Readout:
    """Quality of each arm for a text: mean + slope · text."""

    means: Vector
    slopes: Matrix
    """Shape (arms, numbers of a text)."""
    shape: Shape
    adds: float
    """Share of the leave-one-out squared error of the means that texts remove."""

    def at(self, texts: Matrix) -> Matrix:
        """Shape (texts, arms)."""
        found: Matrix = self.means + texts @ self.slopes.T
        return found


def fit(texts: Matrix, arms: Arms, values: Vector, count: int) -> Readout | None:
    """The read-out of `count` arms from runs that each tried one; None: texts add nothing to the arms' means."""
    means = _means(arms, values, count)
    left = values - means[arms]
    floor = float(np.mean(left**2))
    least = floor
    best: tuple[Shape, Vector] | None = None
    for shared in SHARED:
        features = _features(texts, arms, count, shared)
        roots, axes = np.linalg.eigh(features.T @ features)
        turned = features @ axes
        for ridge in RIDGES:
            inverse = 1 / (np.maximum(roots, 0.0) + ridge)
            told: Vector = inverse * (turned.T @ left)
            error = float(np.mean(((left - turned @ told) / (1 - (turned**2) @ inverse)) ** 2))
            if error < least:
                least, best = error, (Shape(shared, ridge), axes @ told)
    if best is None or floor <= 0:
        return None
    return Readout(means, _slopes(best[1], count, best[0].shared), best[0], 1 - least / floor)


def again(texts: Matrix, arms: Arms, values: Vector, count: int, *, shape: Shape) -> Readout:
    """The read-out of this shape from other runs."""
    means = _means(arms, values, count)
    features = _features(texts, arms, count, shape.shared)
    inner = features.T @ features + shape.ridge * np.eye(features.shape[1])
    told = np.linalg.solve(inner, features.T @ (values - means[arms])).astype(np.float64)
    return Readout(means, _slopes(told, count, shape.shared), shape, 0.0)


def rule(found: Readout, costs: Vector, price: float, *, embedding: str, scale: float) -> ByText:
    """The rule that pays `price` for quality, in small numbers. `scale`: what texts were multiplied by."""
    reads = []
    for mean, slope, cost in zip(found.means, found.slopes * scale, costs, strict=True):
        step = float(np.abs(slope).max()) / MOST or 1.0
        weights = tuple(int(weight) for weight in np.rint(slope / step))
        reads.append(Reads(_short(mean), _short(cost), _short(step), weights))
    return ByText(embedding, _short(price), _short(found.adds), tuple(reads))


def chosen(found: ByText, texts: Matrix) -> Arms:
    """The number of the arm that each text gets; texts as whole numbers."""
    slopes = np.array([one.weights for one in found.reads]).T * [one.scale for one in found.reads]
    quality = np.array([one.quality for one in found.reads]) + texts @ slopes
    paid: Arms = np.argmin(np.array([one.cost for one in found.reads]) - found.price * quality, axis=1)
    return paid


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _means(arms: Arms, values: Vector, count: int) -> Vector:
    """An arm that was never seen is as good as the others."""
    n = np.bincount(arms, minlength=count)
    overall = float(values.mean()) if len(values) else 0.0
    found: Vector = np.where(n > 0, np.bincount(arms, values, minlength=count) / np.maximum(n, 1), overall)
    return found


def _features(texts: Matrix, arms: Arms, count: int, shared: float) -> Matrix:
    own = np.zeros((len(texts), count, texts.shape[1]))
    own[np.arange(len(texts)), arms] = np.sqrt(1 - shared) * texts
    return np.hstack([np.sqrt(shared) * texts, own.reshape(len(texts), -1)])


def _slopes(told: Vector, count: int, shared: float) -> Matrix:
    size = len(told) // (count + 1)
    slopes: Matrix = np.sqrt(shared) * told[:size] + np.sqrt(1 - shared) * told[size:].reshape(count, size)
    return slopes
