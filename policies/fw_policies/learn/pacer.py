"""A budget that is neither overspent nor left unused: a bandit over models whose scores pay a price for cost, and the price follows the spending.

Primal-dual (bandits with knapsacks; Agrawal and Devanur, 2014): each call takes the arm with the largest `quality - price * cost`; the
price rises when calls cost more than what is left per call that is left, and falls when they cost less. The ceiling is hard: an arm whose largest
cost does not fit is not drawn, and what the cheapest arm needs for the rest is kept back. Old observations fade, so that a model that gets
better, or a new one, is found. A share of the calls draws an affordable arm at random: every propensity is exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


_RESERVE = 1.1
"""Times the cheapest arm's mean cost that is kept back for each call to come."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How it learns."""

    explore: float = 0.05
    """Share of calls that draw any affordable arm alike."""
    memory: float = 500.0
    """Calls of an arm after which an observation counts 1/e."""
    optimism: float = 1.0
    """Standard errors added to a quality: an arm seldom tried is worth a look."""
    prior: float = 5.0
    """Calls that the arm's mean over all steps counts for at one step."""
    rate: float = 0.003
    """Step of the price per call, in units of quality per average spend."""
    lead: float = 0.03
    """Share of the calls by which the money may be gone early, but for what the cheapest arm needs: what is left over in the end is small."""


@dataclass(frozen=True, slots=True)
class State:
    """All that is carried from call to call. `to_dict` and `from_dict` keep it; the functions here return a new one."""

    budget: float
    """For all calls together, in the unit of the costs."""
    calls: int
    """Calls that the budget is for."""
    done: int
    spent: float
    price: float
    """Quality that one average spend (budget / calls) is worth."""
    counts: Floats
    """Steps × arms, faded."""
    qualities: Floats
    """Sums, faded alike."""
    costs: Floats

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("counts", "qualities", "costs")}
        plain = {name: getattr(self, name) for name in ("budget", "calls", "done", "spent", "price")}
        return {**plain, **arrays}

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> "State":
        """The state that `to_dict` made plain.

        Raises:
            KeyError: something is missing.
        """
        arrays = {name: np.array(found[name], dtype=np.float64) for name in ("counts", "qualities", "costs")}
        return State(
            budget=float(found["budget"]),
            calls=int(found["calls"]),
            done=int(found["done"]),
            spent=float(found["spent"]),
            price=float(found["price"]),
            counts=arrays["counts"],
            qualities=arrays["qualities"],
            costs=arrays["costs"],
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """What to do with one call."""

    arm: int | None
    """None: nothing fits under the ceiling any more."""
    propensity: float
    explored: bool
    """Drawn at random, and not the arm that scored best."""


def start(budget: float, calls: int, *, steps: int, arms: int) -> State:
    """Nothing spent, nothing known.

    Raises:
        ValueError: the budget or the number of calls is not positive.
    """
    if budget <= 0 or calls <= 0:
        raise ValueError("a budget and its calls must be positive")
    return State(budget, calls, 0, 0.0, 0.0, *(np.zeros((steps, arms)) for _ in range(3)))


def draw(state: State, step: int, caps: Floats, *, rng: np.random.Generator, settings: Settings) -> Draw:
    """Choose an arm for a call of `step`. `caps`: what each arm costs at most for it; infinite: it is not to be had."""
    quality, cost, seen = _estimates(state, step, settings)
    rest = state.calls - state.done - 1
    totals = state.counts.sum(axis=0)
    known = np.isfinite(caps) & (totals > 0)
    # What is to come is of all steps, not only of this one; and the last needs room for a dear one.
    means = state.costs.sum(axis=0)[known] / totals[known]
    least = int(means.argmin()) if len(means) else 0
    reserve = max(0, rest) * _RESERVE * float(means[least]) if len(means) else 0.0
    reserve += min(rest, 1) * float(caps[known][least]) if len(means) else 0.0
    left = state.budget - state.spent
    fits = np.flatnonzero(caps <= left - reserve)
    if not len(fits):  # keep the promise about money first, the reserve second
        fits = np.flatnonzero(caps <= left)
        fits = fits[np.argsort(caps[fits])[:1]]
    if not len(fits):
        return Draw(None, 1.0, explored=False)
    bonus = settings.optimism * np.sqrt(np.clip(quality * (1 - quality), 0.05, None) / np.maximum(seen, 1.0))
    # In the last calls the price goes: what is left is spent on the best that fits.
    ahead = min(1.0, max(0.0, (rest / state.calls - settings.lead) / settings.lead))
    score = quality + bonus - ahead * state.price * cost * state.calls / state.budget
    best = int(fits[score[fits].argmax()])
    arm = int(rng.choice(fits)) if rng.random() < settings.explore else best
    propensity = settings.explore / len(fits) + (1 - settings.explore) * (arm == best)
    return Draw(arm, float(propensity), explored=arm != best)


def _estimates(state: State, step: int, settings: Settings) -> tuple[Floats, Floats, Floats]:
    """(quality, cost, effective calls) of every arm at a step: its own mean shrunk to the arm's over all steps.

    An arm never tried takes the best quality and the mean cost that were seen: it is tried once, and then known.
    """
    counts, totals = state.counts[step], state.counts.sum(axis=0)
    tried = totals > 0
    overall = float(state.costs.sum() / totals.sum()) if tried.any() else 0.0
    base = np.maximum(totals, 1e-12)
    arm_quality = np.where(tried, state.qualities.sum(axis=0) / base, 1.0)
    arm_cost = np.where(tried, state.costs.sum(axis=0) / base, overall)
    weight = counts + settings.prior
    quality = (state.qualities[step] + settings.prior * arm_quality) / weight
    cost = (state.costs[step] + settings.prior * arm_cost) / weight
    return quality, cost, np.minimum(totals, weight)


def spend(state: State, cost: float, *, settings: Settings) -> State:
    """A call ended and cost this much (0 when nothing was drawn): the price moves."""
    ahead = state.calls - state.done - settings.lead * state.calls
    allowed = max(0.0, state.budget - state.spent) / max(1.0, ahead)
    unit = state.budget / state.calls
    price = max(0.0, state.price + settings.rate * (cost - allowed) / unit)
    return replace(state, done=state.done + 1, spent=state.spent + cost, price=price)


def learn(state: State, where: tuple[int, int], *, cost: float, quality: float, settings: Settings) -> State:
    """The outcome of a call at `where = (step, arm)` is known, however much later; the arm's older ones fade."""
    step, arm = where
    fade = math.exp(-1 / settings.memory)
    counts, qualities, costs = (array.copy() for array in (state.counts, state.qualities, state.costs))
    for array, new in ((counts, 1.0), (qualities, quality), (costs, cost)):
        array[:, arm] *= fade
        array[step, arm] += new
    return replace(state, counts=counts, qualities=qualities, costs=costs)


@dataclass(frozen=True, slots=True)
class Replay:
    """How a matrix is replayed."""

    calls: int | None = None
    """How many; they go round the queries again and again. None: one of each query."""
    warm: int = 0
    """Queries that are known for all arms beforehand and not replayed: what a calibration split gives."""
    arrival: tuple[int, int] | None = None
    """(arm, call): a model that can be had only from that call on."""


def pace(
    costs: Floats,
    qualities: Floats,
    budget: float,
    *,
    seed: int,
    steps: Any = None,
    replay: Replay | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Replay a matrix of real outcomes (queries × models) in random order under a budget for all of it; only what is drawn is seen.

    Keys: calls; binding (each step's best in hindsight would overspend); spent; budget; error (|spent - budget| / budget); ceiling_kept;
    declined; quality (0 for what was declined); shares by arm; adoption: calls from the arrival until the new model's share of the last
    50 exceeds half of its share of the last quarter. None when it never does, or is not used in the end. trail: spent after each call;
    taken: the arm of each call, -1 for what was declined.
    """
    settings, replay = settings or Settings(), replay or Replay()
    rng = np.random.default_rng(seed)
    index = np.unique(np.zeros(len(costs)) if steps is None else np.asarray(steps), return_inverse=True)[1]
    order = rng.permutation(len(costs))
    n = replay.calls or len(costs) - replay.warm
    state = start(budget, n, steps=int(index.max()) + 1, arms=costs.shape[1])
    late = replay.arrival or (-1, 0)
    for row, arm in ((row, arm) for row in order[: replay.warm] for arm in range(costs.shape[1]) if arm != late[0]):
        where = (int(index[row]), arm)
        state = learn(state, where, cost=float(costs[row, arm]), quality=float(qualities[row, arm]), settings=settings)
    # What a call can cost at most: in the gateway the limit of output tokens times the price, here the dearest call of the arm.
    caps = costs.max(axis=0)
    taken, trail = np.full(n, -1, dtype=np.int64), np.zeros(n)
    quality = 0.0
    for at, row in enumerate(np.resize(order[replay.warm :], n)):
        step = int(index[row])
        there = np.where((np.arange(len(caps)) == late[0]) & (at < late[1]), np.inf, caps)
        drawn = draw(state, step, there, rng=rng, settings=settings)
        if drawn.arm is None:
            state = spend(state, 0.0, settings=settings)
            trail[at] = state.spent
            continue
        taken[at] = drawn.arm
        cost, gained = float(costs[row, drawn.arm]), float(qualities[row, drawn.arm])
        quality += gained
        state = spend(state, cost, settings=settings)
        state = learn(state, (step, drawn.arm), cost=cost, quality=gained, settings=settings)
        trail[at] = state.spent
    return {
        "calls": n,
        "binding": _greedy_cost(costs, qualities, index) * n > budget,
        "spent": state.spent,
        "budget": budget,
        "error": abs(state.spent - budget) / budget,
        "ceiling_kept": state.spent <= budget,
        "declined": int((taken < 0).sum()),
        "quality": quality / n,
        "adoption": None if replay.arrival is None else _adoption(taken, *replay.arrival),
        "shares": [float((taken == arm).mean()) for arm in range(len(caps))],
        "trail": trail,
        "taken": taken,
    }


def _greedy_cost(costs: Floats, qualities: Floats, index: NDArray[np.int64]) -> float:
    """Cost per call of each step's best model in hindsight: a budget above it is never reached, and need not be."""
    total = 0.0
    for step in range(int(index.max()) + 1):
        here = index == step
        best = int(qualities[here].mean(axis=0).argmax())
        total += float(costs[here, best].sum())
    return total / len(costs)


_WINDOW = 50


def _adoption(taken: NDArray[np.int64], arm: int, at: int) -> int | None:
    """Calls from `at` until `arm` has more than half of its final share in a window of the last calls."""
    n = len(taken)
    final = float((taken[n - (n - at) // 4 :] == arm).mean())
    if final <= 0:
        return None
    for end in range(at + 1, n + 1):
        window = taken[max(at, end - _WINDOW) : end] == arm
        # Fewer calls than a window count as what they are in one: the first call alone is no adoption.
        if window.sum() / _WINDOW > final / 2:
            return end - at
    return None
