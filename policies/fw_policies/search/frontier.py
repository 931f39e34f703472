"""Frontiers of quality against cost, and the field's own metrics on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frontier:
    """The non-decreasing convex hull of points: what random mixing of them reaches. Ascending in cost and quality."""

    cost: Vector
    quality: Vector

    def cost_at(self, quality: float) -> float:
        """The least cost of a mixture with this mean quality; NaN when none has it."""
        if quality > self.quality[-1] + 1e-12:
            return float("nan")
        return float(np.interp(min(quality, self.quality[-1]), self.quality, self.cost))

    def quality_at(self, cost: float) -> float:
        """The best mean quality that a mixture has at this mean cost; NaN below the cheapest point."""
        if cost < self.cost[0] - 1e-15:
            return float("nan")
        return float(np.interp(cost, self.cost, self.quality))

    def aiq(self, largest: float) -> float:
        """Mean quality over costs from 0 to `largest`, flat beyond the hull and 0 before it (AIQ; RouterBench, 2024)."""
        cost = np.r_[self.cost[self.cost < largest], largest]
        quality = np.r_[self.quality[self.cost < largest], self.quality_at(min(largest, float(self.cost[-1])))]
        return float(np.trapezoid(quality, cost) / largest)


def frontier(cost: Vector, quality: Vector) -> Frontier:
    """The frontier of points (cost, quality): the Zero router when the points are single models."""
    hull: list[tuple[float, float]] = []
    best = -np.inf
    for at in np.lexsort((-quality, cost)):
        point = (float(cost[at]), float(quality[at]))
        if point[1] <= best:
            continue
        best = point[1]
        while len(hull) > 1 and _below(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    found = np.array(hull)
    return Frontier(found[:, 0], found[:, 1])


def _below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether the middle point lies on or under the line from left to right."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])


def saved(found: Frontier, best_quality: float, best_cost: float, share: float) -> float:
    """save@share: 1 − the least cost at `share` of the best single model's quality ÷ its cost; NaN when out of reach."""
    return 1 - found.cost_at(share * best_quality) / best_cost


def recovered(strong_share: Vector, quality: Vector, weak: float, strong: float) -> float:
    """APGR: the recovered gap, integrated over the share of strong calls from 0 to 1 by trapezoids (RouteLLM, 2024).

    `quality` is the mean quality at each share; `weak` and `strong` are those of the two models alone. Random mixing has 0.5.
    """
    gap = (quality - weak) / (strong - weak)
    order = np.argsort(strong_share, kind="stable")
    return float(np.trapezoid(gap[order], strong_share[order]))


def strong_calls(strong_share: Vector, quality: Vector, weak: float, strong: float, *, gap: float) -> float:
    """CPT(gap): the least share of strong calls at which this share of the gap is recovered; NaN when it never is."""
    reached = (quality - weak) / (strong - weak) >= gap - 1e-12
    return float(strong_share[reached].min()) if reached.any() else float("nan")


def threshold_curve(win_rate: Vector, strong: Vector, weak: Vector, parts: int = 10) -> tuple[Vector, Vector]:
    """Shares of strong calls, and mean quality, at the quantiles of a router's win rates: `parts` equal parts, and both ends.

    `win_rate`: per query, higher means that the strong model is needed more. `strong`, `weak`: per query scores in 0..1.
    """
    edges = np.quantile(win_rate, np.linspace(0, 1, parts + 1))
    shares, quality = [0.0], [float(weak.mean())]
    for edge in edges[::-1]:
        chosen = win_rate >= edge
        shares.append(float(chosen.mean()))
        quality.append(float(np.where(chosen, strong, weak).mean()))
    return np.array(shares), np.array(quality)
