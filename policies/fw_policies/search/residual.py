"""What the text adds to the step: a difficulty that all models share, then what sets models apart. Either may weigh nothing.

A Gaussian-process posterior mean (kernel ridge) over text vectors, in two stages: (1) the mean residual over models, applied on the
logit scale, where the same difficulty costs a weak model more than a strong one (as in item response theory; Rasch, 1960); (2) what
is left per model, centred over models. Width, sharing between steps, noise and strength are chosen by leave-one-out squared error in
closed form (Rasmussen and Williams, 2006, eq. 5.12) on the fitting data alone, and "no text" is always one of the choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fw_policies.search.shrink import Means, Steps, shrunk

Matrix = NDArray[np.float64]
WIDTHS = (0.05, 0.1, 0.2)
"""Of exp((cosine − 1)/width)."""
SHARING = (0.3, 1.0)
"""How alike two texts of different steps are at most."""
NOISES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Ridge of the difficulty: the larger, the more of the step's mean stays. What sets models apart starts at 5."""
STRENGTHS = (0.5, 1.0, 1.5)
"""Of the difficulty on the logit scale."""
EDGE = 0.02
"""Means are kept this far from 0 and 1, where a logit has no bound."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """How alike two texts are, and how much is shrunk."""

    width: float
    sharing: float
    noise: float
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """One stage: a kernel and the weights of the texts it was fitted on."""

    kernel: Kernel
    weights: Matrix


@dataclass(frozen=True, slots=True)
class Quality:
    """q(step, model), moved by what the text says: `at` evaluates it."""

    means: Means
    difficulty: Part | None
    """None: texts say nothing of it."""
    apart: Part | None
    """None: texts say nothing of which model."""
    gain: float
    """Share of the leave-one-out squared error that the text removes; 0 when it is not used."""
    _texts: Matrix = field(repr=False, default_factory=lambda: np.zeros((0, 0)))
    _steps: Steps = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.int64))

    def at(self, texts: Matrix | None, steps: Steps) -> Matrix:
        """Estimated quality per (query, model) for text vectors (unit rows, zeros: no text) and their steps."""
        found = self.means.mean[steps]
        if texts is None:
            return found
        has = np.any(texts != 0, axis=1)[:, None]
        if self.difficulty is not None:
            moved = (
                _alike(texts, self._texts, steps, self._steps, kernel=self.difficulty.kernel) @ self.difficulty.weights
            )
            found = np.where(has, _harder(found, moved[:, 0], self.difficulty.kernel.strength), found)
        if self.apart is not None:
            found = found + has * (
                _alike(texts, self._texts, steps, self._steps, kernel=self.apart.kernel) @ self.apart.weights
            )
        return found


def fit(scores: Matrix, steps: Steps, count: int, texts: Matrix | None) -> Quality:
    """Estimates from scores (queries × models, 0..1), the step of each query, and its text vector (None: no text is known)."""
    means = shrunk(scores, steps, count)
    if texts is None or not np.any(texts):
        return Quality(means, None, None, 0.0)
    has = np.any(texts != 0, axis=1)
    vectors, own, seen = texts[has], steps[has], scores[has]
    base = means.mean[own]
    seen = np.where(np.isfinite(seen), seen, base)
    before = float(np.mean((seen - base) ** 2))
    shapes = list(_shapes(vectors, own))
    difficulty, base, hard = _difficulty(seen, base, shapes)
    left = seen - base
    left = left - left.mean(1, keepdims=True)
    apart, gained = _apart(left, shapes)
    after = min(hard, before) - gained
    return Quality(means, difficulty, apart, max(0.0, 1 - after / before) if before > 0 else 0.0, vectors, own)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kernel before its noise is chosen, taken apart once: V Λ Vᵀ."""

    width: float
    sharing: float
    values: Matrix
    vectors: Matrix

    def left_out(self, targets: Matrix, noise: float) -> tuple[Matrix, Matrix]:
        """(weights, leave-one-out residuals) for targets of shape (texts, columns)."""
        inverse = 1 / (self.values + noise)
        weights = self.vectors @ (inverse[:, None] * (self.vectors.T @ targets))
        return weights, weights / ((self.vectors**2) @ inverse)[:, None]


def _shapes(vectors: Matrix, steps: Steps) -> Iterator[_Shape]:
    same = steps[:, None] == steps[None]
    cosine = vectors @ vectors.T
    for width in WIDTHS:
        for sharing in SHARING:
            values, axes = np.linalg.eigh(np.exp((cosine - 1) / width) * np.where(same, 1.0, sharing))
            yield _Shape(width, sharing, np.maximum(values, 0.0), axes)


def _difficulty(seen: Matrix, base: Matrix, shapes: list[_Shape]) -> tuple[Part | None, Matrix, float]:
    """The stage that all models share, the base moved by its leave-one-out prediction, and the error that leaves."""
    shared = (seen - base).mean(1, keepdims=True)
    best: tuple[float, Part, Matrix] | None = None
    floor = float(np.mean((seen - base) ** 2))
    for shape in shapes:
        for noise in NOISES:
            weights, residual = shape.left_out(shared, noise)
            for strength in STRENGTHS:
                moved = _harder(base, (shared - residual)[:, 0], strength)
                error = float(np.mean((seen - moved) ** 2))
                if best is None or error < best[0]:
                    best = (error, Part(Kernel(shape.width, shape.sharing, noise, strength), weights), moved)
    if best is None or best[0] >= floor:
        return None, base, floor
    return best[1], best[2], best[0]


def _apart(left: Matrix, shapes: list[_Shape]) -> tuple[Part | None, float]:
    """The stage that sets models apart, and the squared error it removes."""
    floor = float(np.mean(left**2))
    best: tuple[float, Part] | None = None
    for shape in shapes:
        for noise in NOISES[2:]:
            weights, residual = shape.left_out(left, noise)
            error = float(np.mean(residual**2))
            if best is None or error < best[0]:
                best = (error, Part(Kernel(shape.width, shape.sharing, noise), weights))
    if best is None or best[0] >= floor:
        return None, 0.0
    return best[1], floor - best[0]


def _harder(base: Matrix, shared: Matrix, strength: float) -> Matrix:
    """Means moved by a shared residual on the logit scale; shape (queries, models) from (queries,)."""
    kept = np.clip(base, EDGE, 1 - EDGE)
    middle = kept.mean(1)
    move = strength * shared / np.maximum(middle * (1 - middle), 0.05)
    logit = np.log(kept / (1 - kept)) + move[:, None]
    moved: Matrix = 1 / (1 + np.exp(-logit))
    return moved


def _alike(texts: Matrix, others: Matrix, steps: Steps, other_steps: Steps, *, kernel: Kernel) -> Matrix:
    same = np.where(steps[:, None] == other_steps[None], 1.0, kernel.sharing)
    alike: Matrix = np.exp((texts @ others.T - 1) / kernel.width) * same
    return alike
