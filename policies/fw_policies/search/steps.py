"""One programme over all steps: each with its own floor, ceiling of late calls and volume; machines and a run's budget shared by all.

min Σ_s n_s Σ_p w_sp C_sp   s.t.   Σ_p w_sp = 1,   Σ_p w_sp Q_sp ≥ q_s,   Σ_p w_sp late_sp ≤ α_s,
Σ_s r_s Σ_p w_sp C_sp ≤ budget,   Σ_s b_s Σ_p w_sp use_skp ≤ capacity_k,   w ≥ 0.
n: calls per second, r: calls per run, b: calls per second in the busiest hour. P(L > Y) is linear in the weights, percentiles are
not. The duals say what each limit costs at the margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Step:
    """What may serve a step, as estimated, and what it needs. Entries of NaN are left out."""

    cost: Vector
    """Nano-USD per call, of each plan."""
    quality: Vector
    volume: float
    """Calls per second."""
    per_run: float = 1.0
    """Calls per run."""
    peak: float | None = None
    """Calls per second in the busiest hour; None: as `volume`."""
    floor: float | None = None
    """Of mean quality."""
    late: Vector | None = None
    """P(latency > limit) of each plan."""
    late_limit: float = 0.05
    use: Matrix | None = None
    """Tokens per call on each shared machine; shape (machines, plans)."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all steps share."""

    capacity: Vector
    """Tokens per second of each machine."""
    budget: float | None = None
    """Nano-USD that one run may cost on average."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The optimum and what its limits cost."""

    weights: tuple[Vector, ...]
    spend: float
    """Nano-USD per second."""
    price_of_quality: tuple[float, ...]
    """Per step: nano-USD per call and unit of the floor, at the margin (≥ 0)."""
    price_of_time: tuple[float, ...]
    """Per step: nano-USD per call and unit of the share of late calls that is allowed (≥ 0)."""
    price_of_capacity: Vector
    """Per machine: nano-USD saved per token more of its capacity (≥ 0)."""
    price_of_budget: float
    """Nano-USD per second saved per nano-USD more of a run's budget (≥ 0)."""
    load: Vector
    """Per machine: tokens per second in the busiest hour."""


def solve(steps: Sequence[Step], shared: Shared) -> Answer | None:
    """The cheapest weights that keep every limit; None when there are none."""
    if not steps:
        return Answer((), 0.0, (), (), np.zeros(len(shared.capacity)), 0.0, np.zeros(len(shared.capacity)))
    edges = np.cumsum([0, *(len(step.cost) for step in steps)])
    places = [slice(int(low), int(high)) for low, high in pairwise(edges)]
    may = np.concatenate([_may(step) for step in steps])
    rows = _rows(steps, places, int(edges[-1]), shared)
    spend = np.concatenate([step.volume * _filled(step.cost) for step in steps])
    scale = float(np.abs(spend).max()) or 1.0  # money in small units would drown in the solver's tolerance
    found = linprog(
        spend / scale,
        A_ub=np.array([row / size for _, row, _, size in rows]) if rows else None,
        b_ub=np.array([limit / size for *_, limit, size in rows]) if rows else None,
        A_eq=np.array([_spread(place, 1.0, int(edges[-1])) for place in places]),
        b_eq=np.ones(len(steps)),
        bounds=np.c_[np.zeros(len(may)), may.astype(float)],
        method="highs",
    )
    if found.status != 0:
        return None
    prices: dict[tuple[str, int], float] = {}
    marginals = -np.asarray(found.ineqlin.marginals) * scale if rows else np.zeros(0)
    for (name, _, _, size), price in zip(rows, marginals, strict=True):
        prices[name] = max(0.0, float(price)) / size
    weights = []
    for place in places:
        own = np.clip(found.x[place], 0.0, 1.0)
        weights.append(own / own.sum())
    return Answer(
        tuple(weights),
        float(sum(spend[place] @ own for place, own in zip(places, weights, strict=True))),
        tuple(prices.get(("quality", at), 0.0) / step.volume for at, step in enumerate(steps)),
        tuple(prices.get(("late", at), 0.0) / step.volume for at, step in enumerate(steps)),
        np.array([prices.get(("machine", at), 0.0) for at in range(len(shared.capacity))]),
        prices.get(("budget", 0), 0.0),
        _load(steps, weights, len(shared.capacity)),
    )


Row = tuple[tuple[str, int], Vector, float, float]
"""Name, coefficients, upper limit, and the size by which both are divided for the solver."""


def _rows(steps: Sequence[Step], places: Sequence[slice], n: int, shared: Shared) -> list[Row]:
    rows: list[Row] = []
    for at, (step, place) in enumerate(zip(steps, places, strict=True)):
        if step.floor is not None:
            rows.append((("quality", at), _spread(place, -_filled(step.quality), n), -step.floor, 1.0))
        if step.late is not None:
            rows.append((("late", at), _spread(place, _filled(step.late), n), step.late_limit, 1.0))
    for machine, capacity in enumerate(shared.capacity):
        used = np.zeros(n)
        for step, place in zip(steps, places, strict=True):
            if step.use is not None:
                used[place] = _busiest(step) * _filled(step.use[machine])
        rows.append((("machine", machine), used, float(capacity), max(float(capacity), 1e-9)))
    if shared.budget is not None:
        paid = np.concatenate([step.per_run * _filled(step.cost) for step in steps])
        rows.append((("budget", 0), paid, shared.budget, max(shared.budget, 1e-9)))
    return rows


def _load(steps: Sequence[Step], weights: Sequence[Vector], machines: int) -> Vector:
    load = np.zeros(machines)
    for step, own in zip(steps, weights, strict=True):
        if step.use is not None:
            load += _busiest(step) * (np.nan_to_num(step.use) @ own)
    return load


def _busiest(step: Step) -> float:
    return step.volume if step.peak is None else step.peak


def _may(step: Step) -> NDArray[np.bool_]:
    parts = [
        step.cost,
        step.quality,
        *(() if step.late is None else (step.late,)),
        *(() if step.use is None else step.use),
    ]
    found: NDArray[np.bool_] = np.isfinite(np.vstack(parts)).all(axis=0)
    return found


def _filled(values: Vector) -> Vector:
    return np.where(np.isfinite(values), values, 0.0)


def _spread(place: slice, values: Vector | float, n: int) -> Vector:
    """A row with `values` at `place` and 0 elsewhere."""
    row = np.zeros(n)
    row[place] = values
    return row
