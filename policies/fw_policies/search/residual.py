"""What the text adds to the step: a shrunk kernel residual whose weight may be nought.

A Gaussian-process posterior mean (kernel ridge) on s(x, m) − q(step, m), centred over models, because what all models share
changes no choice. Width, sharing between steps and noise are chosen by leave-one-out error in closed form (Rasmussen and Williams,
2006, eq. 5.12) among the given; "no text at all" is one of the choices. Nothing else is tuned, and nothing on data outside the fit.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fw_policies.search.shrink import Means, Steps, shrunk

Matrix = NDArray[np.float64]
WIDTHS = (0.05, 0.1, 0.2)
"""Of exp((cosine − 1)/width)."""
SHARING = (0.0, 0.3, 1.0)
"""How alike two texts of different steps are at most."""
NOISES = (5.0, 10.0, 20.0, 40.0)
"""Ridge: the larger, the more of the step's mean stays."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernel that was chosen."""

    width: float
    sharing: float
    noise: float


@dataclass(frozen=True, slots=True)
class Quality:
    """q(step, model) plus the text's residual: `at` evaluates it."""

    means: Means
    choice: Choice | None
    """None: the text adds nothing, its weight is 0."""
    gain: float
    """Share of the leave-one-out squared error that the text removes; 0 when it is not used."""
    _weights: Matrix = field(repr=False, default_factory=lambda: np.zeros((0, 0)))
    _texts: Matrix = field(repr=False, default_factory=lambda: np.zeros((0, 0)))
    _steps: Steps = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.int64))

    def at(self, texts: Matrix | None, steps: Steps) -> Matrix:
        """Estimated quality per (query, model) for embedded texts (unit rows, shape (queries, width)) and their steps."""
        base = self.means.mean[steps]
        if self.choice is None or texts is None:
            return base
        return base + _kernel(texts, self._texts, steps, self._steps, choice=self.choice) @ self._weights


def fit(scores: Matrix, steps: Steps, count: int, texts: Matrix | None) -> Quality:
    """Estimates from scores (queries × models, 0..1), the step of each query, and unit text vectors (None: no text is known).

    Rows of zeros are queries without text: they take no part in the residual.
    """
    means = shrunk(scores, steps, count)
    if texts is None or not np.any(texts):
        return Quality(means, None, 0.0)
    has = np.any(texts != 0, axis=1)
    with_text, own = texts[has], steps[has]
    left = scores[has] - means.mean[own]
    left = np.where(np.isfinite(left), left, 0.0)
    left = left - left.mean(1, keepdims=True)
    floor = float(np.mean(left**2))
    best: tuple[float, Choice, Matrix] | None = None
    for width in WIDTHS:
        similar = np.exp((with_text @ with_text.T - 1) / width)
        same = own[:, None] == own[None]
        for sharing in SHARING:
            kernel = similar * np.where(same, 1.0, sharing)
            for noise in NOISES:
                inverse = np.linalg.inv(kernel + noise * np.eye(len(kernel)))
                weights = inverse @ left
                error = float(np.mean((weights / np.diag(inverse)[:, None]) ** 2))
                if best is None or error < best[0]:
                    best = (error, Choice(width, sharing, noise), weights)
    if best is None or best[0] >= floor:
        return Quality(means, None, 0.0)
    return Quality(means, best[1], 1 - best[0] / floor, best[2], with_text, own)


def _kernel(texts: Matrix, others: Matrix, steps: Steps, other_steps: Steps, *, choice: Choice) -> Matrix:
    similar = np.exp((texts @ others.T - 1) / choice.width)
    has = np.any(texts != 0, axis=1)
    return np.asarray(
        similar * np.where(steps[:, None] == other_steps[None], 1.0, choice.sharing) * has[:, None], dtype=np.float64
    )
