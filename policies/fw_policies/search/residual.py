"""What the text adds to the step: a difficulty that all models share, then what sets models apart. Either may weigh nothing.

A Gaussian-process posterior mean (kernel ridge) over texts, in two stages: (1) the mean residual over models, applied on the
logit scale, where the same difficulty costs a weak model more than a strong one (as in item response theory; Rasch, 1960); (2) what
is left per model, centred over models. Two texts are alike in meaning (their vectors) and, perhaps, in the words they share. Width,
whether words count, sharing between steps, noise and strength are chosen by leave-one-out squared error in closed form (Rasmussen and
Williams, 2006, eq. 5.12) on the fitting data alone, and "no text" is always one of the choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_policies.search.shrink import Means, Steps, shrunk
from fw_policies.search.words import Words, learnt

Matrix = NDArray[np.float64]
WIDTHS = (0.05, 0.1, 0.2)
"""Of exp((cosine − 1)/width)."""
SHARING = (0.3, 1.0)
"""How alike two texts of different steps are at most."""
WORDS = (0.0, 1.0)
"""Of the cosine of the words, beside that of the meaning."""
NOISES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Ridge of the difficulty: the larger, the more of the step's mean stays. What sets models apart starts at 5."""
STRENGTHS = (0.5, 1.0, 1.5)
"""Of the difficulty on the logit scale."""
EDGE = 0.02
"""Means are kept this far from 0 and 1, where a logit has no bound."""
LARGEST = 1500
"""Texts that are compared with each other: the time grows with the cube. Of more, as many are taken at even distances."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts as they are compared."""

    vectors: Matrix
    """Unit rows; zeros: no text."""
    written: tuple[str, ...] | None = None
    """The texts themselves; None: their words are not known, and not compared."""

    def part(self, rows: NDArray[np.int64]) -> "Texts":
        """Only these."""
        return Texts(self.vectors[rows], None if self.written is None else tuple(self.written[row] for row in rows))


@dataclass(frozen=True, slots=True)
class Kernel:
    """How alike two texts are, and how much is shrunk."""

    width: float
    sharing: float
    words: float
    noise: float
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """The texts that were fitted on."""

    vectors: Matrix
    steps: Steps
    words: Words | None
    worded: NDArray[np.float32]
    """Their words as vectors; without columns when they are not known."""

    def alike(self, texts: Texts, steps: Steps, kernel: Kernel) -> Matrix:
        """Shape (texts, texts that were fitted on)."""
        found = np.exp((texts.vectors @ self.vectors.T - 1) / kernel.width)
        if kernel.words and self.words is not None and texts.written is not None:
            found += kernel.words * (self.words.at(texts.written) @ self.worded.T)
        found *= np.where(steps[:, None] == self.steps[None], 1.0, kernel.sharing)
        return found


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
    seen: _Seen | None = None

    def at(self, texts: Texts | None, steps: Steps) -> Matrix:
        """Estimated quality per (query, model) for texts and their steps."""
        found = self.means.mean[steps]
        if texts is None or self.seen is None:
            return found
        has = np.any(texts.vectors != 0, axis=1)[:, None]
        if self.difficulty is not None:
            moved = self.seen.alike(texts, steps, self.difficulty.kernel) @ self.difficulty.weights
            found = np.where(has, _harder(found, moved[:, 0], self.difficulty.kernel.strength), found)
        if self.apart is not None:
            found = found + has * (self.seen.alike(texts, steps, self.apart.kernel) @ self.apart.weights)
        return found


def fit(scores: Matrix, steps: Steps, count: int, texts: Texts | None, *, largest: int = LARGEST) -> Quality:
    """Estimates from scores (queries × models, 0..1), the step of each query, and its text (None: no text is known).

    `largest`: texts that are compared with each other at most.
    """
    means = shrunk(scores, steps, count)
    if texts is None or not np.any(texts.vectors):
        return Quality(means, None, None, 0.0)
    rows = np.flatnonzero(np.any(texts.vectors != 0, axis=1))
    if len(rows) > largest:
        rows = rows[np.linspace(0, len(rows) - 1, largest).astype(np.int64)]
    seen, own, known = _seen(texts.part(rows), steps[rows]), steps[rows], scores[rows]
    base = means.mean[own]
    known = np.where(np.isfinite(known), known, base)
    before = float(np.mean((known - base) ** 2))
    shapes = list(_shapes(seen))
    difficulty, base, hard = _difficulty(known, base, shapes)
    left = known - base
    left = left - left.mean(1, keepdims=True)
    apart, gained = _apart(left, shapes)
    after = min(hard, before) - gained
    return Quality(means, difficulty, apart, max(0.0, 1 - after / before) if before > 0 else 0.0, seen)


def _seen(texts: Texts, steps: Steps) -> _Seen:
    if texts.written is None:
        return _Seen(texts.vectors, steps, None, np.zeros((len(steps), 0), dtype=np.float32))
    words = learnt(texts.written)
    return _Seen(texts.vectors, steps, words, words.at(texts.written))


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kernel before its noise is chosen, taken apart once: V Λ Vᵀ."""

    width: float
    sharing: float
    words: float
    values: Matrix
    vectors: Matrix

    def kernel(self, noise: float, strength: float = 1.0) -> Kernel:
        """What is kept of it once its noise is chosen."""
        return Kernel(self.width, self.sharing, self.words, noise, strength)

    def left_out(self, targets: Matrix, noise: float) -> tuple[Matrix, Matrix]:
        """(weights, leave-one-out residuals) for targets of shape (texts, columns)."""
        inverse = 1 / (self.values + noise)
        weights = self.vectors @ (inverse[:, None] * (self.vectors.T @ targets))
        return weights, weights / ((self.vectors**2) @ inverse)[:, None]


def _shapes(seen: _Seen) -> Iterator[_Shape]:
    same = seen.steps[:, None] == seen.steps[None]
    cosine = seen.vectors @ seen.vectors.T
    shared = seen.worded @ seen.worded.T
    for width in WIDTHS:
        meaning = np.exp((cosine - 1) / width)
        for words in WORDS if seen.words is not None else WORDS[:1]:
            for sharing in SHARING:
                values, axes = np.linalg.eigh((meaning + words * shared) * np.where(same, 1.0, sharing))
                yield _Shape(width, sharing, words, np.maximum(values, 0.0), axes)


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
                    best = (error, Part(shape.kernel(noise, strength), weights), moved)
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
                best = (error, Part(shape.kernel(noise), weights))
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
