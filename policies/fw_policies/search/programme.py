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
