"""The linear programme over steps × plans: least cost with a floor of mean quality, a ceiling of P(late), and shared capacity.

min Σ_s f_s Σ_p w_sp C_sp   s.t.   Σ_s f_s Σ_p w_sp Q_sp ≥ q*,   Σ_p w_sp late_sp ≤ α for each step with a limit,
Σ_s f_s Σ_p w_sp use_spk ≤ capacity_k,   Σ_p w_sp = 1,   w ≥ 0.   f_s: share of the calls that are of step s.
P(L > Y) is linear in the weights of a mixture, its percentiles are not: hence shares, never averaged p95s.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Problem:
    """Steps × plans, as estimated. NaN in `cost` or `quality`: the plan is not for that step."""

    share: Vector
    """f: shape (steps,), sums to 1."""
    quality: Matrix
    cost: Matrix
    late: Matrix | None = None
    """P(latency > limit) per (step, plan)."""
    late_limit: float = 0.05
    per_step: bool = True
    """Whether the ceiling of `late` holds for each step, or for all calls together."""
    use: Matrix | None = None
    """Capacity used per call, shape (resources, steps, plans); e.g. tokens/s of a self-hosted deployment per call/s."""
    capacity: Vector | None = None
    """Shape (resources,), in units of `use` × calls."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The optimum and its shadow prices."""

    weights: Matrix
    """w: shape (steps, plans)."""
    cost: float
    quality: float
    price_of_quality: float
    """Cost per unit of the floor: what one more of mean quality costs at the margin (≥ 0)."""
    price_of_capacity: Vector
    """Cost saved per unit more of each capacity (≥ 0)."""


def solve(problem: Problem, floor: float) -> Solution | None:
    """The cheapest mixture per step whose estimated mean quality is at least `floor`; None when there is none."""
    if problem.late is None and (problem.use is None or problem.capacity is None):
        return _along_hulls(problem, floor)
    return _by_programme(problem, floor)


def _along_hulls(problem: Problem, floor: float) -> Solution | None:
    """The same with a floor alone: a knapsack whose parts may be cut (Sinha and Zoltners, 1979), solved without a solver.

    Each step starts at its cheapest plan; edges of the steps' hulls are taken by their cost per quality until the floor is reached.
    """
    hulls = [_hull(cost, quality) for cost, quality in zip(problem.cost, problem.quality, strict=True)]
    if not all(hulls):
        return None
    weights = np.zeros(problem.cost.shape)
    edges: list[tuple[float, int, int, int]] = []
    for step, hull in enumerate(hulls):
        weights[step, hull[0]] = 1.0
        cost, quality = problem.cost[step, hull], problem.quality[step, hull]
        edges.extend(zip(np.diff(cost) / np.diff(quality), [step] * len(hull), hull, hull[1:], strict=False))
    short = floor - sum(
        share * problem.quality[step, hull[0]]
        for step, (share, hull) in enumerate(zip(problem.share, hulls, strict=True))
    )
    price = 0.0
    for slope, step, old, new in sorted(edges, key=lambda edge: edge[0]):
        if short <= 0:
            break
        gain = problem.share[step] * (problem.quality[step, new] - problem.quality[step, old])
        part = 1.0 if gain <= short else short / gain
        weights[step, old], weights[step, new] = 1 - part, part
        short, price = short - gain, float(slope)
    if short > 1e-9:
        return None
    used = weights > 0
    return Solution(
        weights,
        float((problem.share[:, None] * weights * np.where(used, problem.cost, 0.0)).sum()),
        float((problem.share[:, None] * weights * np.where(used, problem.quality, 0.0)).sum()),
        price,
        np.zeros(0),
    )


def _hull(cost: Vector, quality: Vector) -> list[int]:
    """Plans on the non-decreasing convex hull, the cheapest first; empty when none may be chosen."""
    hull: list[int] = []
    for plan in np.lexsort((-quality, cost)):
        if not (np.isfinite(cost[plan]) and np.isfinite(quality[plan])) or (
            hull and quality[plan] <= quality[hull[-1]]
        ):
            continue
        while len(hull) > 1 and _over(cost, quality, (hull[-2], hull[-1], int(plan))):
            hull.pop()
        hull.append(int(plan))
    return hull


def _over(cost: Vector, quality: Vector, three: tuple[int, int, int]) -> bool:
    """Whether a mixture of the outer two is no dearer than the one between."""
    low, middle, high = three
    return bool(
        (quality[middle] - quality[low]) * (cost[high] - cost[low])
        <= (quality[high] - quality[low]) * (cost[middle] - cost[low])
    )


def _by_programme(problem: Problem, floor: float) -> Solution | None:
    steps, plans = problem.cost.shape
    may = np.isfinite(problem.cost) & np.isfinite(problem.quality)
    share = problem.share[:, None]
    cost = np.where(may, problem.cost, 0.0) * share
    quality = np.where(may, problem.quality, 0.0) * share
    rows, limits = [-quality.ravel()], [-floor]
    first_capacity = 1
    if problem.late is not None:
        late = np.where(may, problem.late, 0.0)
        chosen = np.eye(steps)[:, :, None] * late[None] if problem.per_step else (share * late)[None]
        rows.extend(chosen.reshape(len(chosen), -1))
        limits.extend([problem.late_limit] * len(chosen))
        first_capacity += len(chosen)
    if problem.use is not None and problem.capacity is not None:
        rows.extend((np.where(may, problem.use, 0.0) * share[None]).reshape(len(problem.use), -1))
        limits.extend(problem.capacity)
    scale = float(np.abs(cost).max()) or 1.0  # money in small units would drown in the solver's tolerance
    found = linprog(
        cost.ravel() / scale,
        A_ub=np.array(rows),
        b_ub=np.array(limits),
        A_eq=np.kron(np.eye(steps), np.ones(plans)),
        b_eq=np.ones(steps),
        bounds=np.c_[np.zeros(steps * plans), may.ravel().astype(float)],
        method="highs",
    )
    if found.status != 0:
        return None
    weights = np.clip(found.x.reshape(steps, plans), 0.0, 1.0)
    weights /= weights.sum(1, keepdims=True)
    dual = -np.asarray(found.ineqlin.marginals) * scale
    return Solution(
        weights, float((weights * cost).sum()), float((weights * quality).sum()), float(dual[0]), dual[first_capacity:]
    )


def best_quality(problem: Problem) -> Solution | None:
    """The mixture of the highest estimated quality within the other limits; None when nothing keeps them."""
    turned = Problem(
        problem.share,
        problem.quality,
        1.0 - problem.quality,
        problem.late,
        problem.late_limit,
        problem.per_step,
        problem.use,
        problem.capacity,
    )
    found = solve(turned, 0.0)
    if found is None:
        return None
    may = np.isfinite(problem.cost)
    cost = float((problem.share[:, None] * found.weights * np.where(may, problem.cost, 0.0)).sum())
    return Solution(found.weights, cost, found.quality, found.price_of_quality, found.price_of_capacity)
