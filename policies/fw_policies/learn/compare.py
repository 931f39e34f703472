"""Policy B against policy A, from their runs: PROMOTE, REJECT, or INCONCLUSIVE with the number of tasks that would decide.

The task is what is drawn at random, so the task is what counts: its runs are averaged first, however many there are. Where both policies
did the same tasks, tasks are paired. Quality lies in [0, 1]: its bounds are exact for few tasks (Clopper and Pearson, 1934) and combined as MOVER
does (Zou and Donner, 2008); a variance of zero in a short comparison proves nothing here. Costs have Student's (Welch, 1947, unpaired).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri, stdtrit

Floats = NDArray[np.float64]
Verdict = Literal["PROMOTE", "REJECT", "INCONCLUSIVE"]

TASKS = 10
"""Tasks of each policy below which there is no verdict."""
POWER = 0.80
"""Probability with which the tasks that are asked for decide, if the differences stay what they are."""
_MOST = 1e4
"""Times the tasks so far beyond which more of them are no answer."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run under one policy."""

    task: str
    """What was to be done; runs of one task are not independent."""
    quality: float | None
    """In [0, 1]; None: no outcome (yet)."""
    cost: float | None
    """In any unit that both sides share; None: unknown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A, per task."""

    value: float
    low: float
    high: float
    """One-sided bounds at `confidence` each: what may be promised in one direction."""
    sure: tuple[float, float]
    """The same with half of the error: what rejects."""
    a: float
    b: float
    """The means themselves."""
    tasks: tuple[int, int]
    paired: bool
    spread: float
    """Standard deviation of one task's difference; unpaired, of the two means' difference times the root of the smaller number."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is concluded, and from what."""

    verdict: Verdict
    reason: str
    quality: Difference | None
    """None: fewer than two tasks have an outcome."""
    cost: Difference | None
    margin: float
    cost_margin: float | None
    confidence: float
    more: int | None
    """Tasks of each policy still needed, when inconclusive; None: decided, or so close to the margin that no number would do."""


def compare(
    a: Iterable[Run],
    b: Iterable[Run],
    *,
    margin: float,
    cost_margin: float | None = 0.0,
    confidence: float = 0.90,
) -> Comparison:
    """Whether B may replace A.

    PROMOTE: quality is proven to be worse by less than `margin`, and cost to rise by no more than `cost_margin` (None: cost is shown and
    not tested). Both must hold, so a wrong promotion has at most probability 1 - confidence (intersection-union; Berger, 1982).
    REJECT: one of the two is proven violated, each with half of that error.

    Raises:
        ValueError: a margin is not positive, or a quality is outside [0, 1].
    """
    if not 0 < margin < 1:
        raise ValueError("`no worse` needs a margin between 0 and 1: without one it cannot be proven")
    before, after = list(a), list(b)
    if any(not 0 <= run.quality <= 1 for run in (*before, *after) if run.quality is not None):
        raise ValueError("a quality is outside [0, 1]")
    error = 1 - confidence
    quality = _difference(_by_task(before, "quality"), _by_task(after, "quality"), error, bounded=True)
    cost = _difference(_by_task(before, "cost"), _by_task(after, "cost"), error, bounded=False)
    verdict, reason = _verdict(quality, cost, margin, cost_margin)
    more = _more(quality, cost, (margin, cost_margin), error) if verdict == "INCONCLUSIVE" else None
    return Comparison(verdict, reason, quality, cost, margin, cost_margin, confidence, more)


def _by_task(runs: Iterable[Run], what: Literal["quality", "cost"]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for run in runs:
        value = run.quality if what == "quality" else run.cost
        if value is not None:
            found.setdefault(run.task, []).append(float(value))
    return found


def _verdict(
    quality: Difference | None, cost: Difference | None, margin: float, cost_margin: float | None
) -> tuple[Verdict, str]:
    for found, name, what in ((quality, "an outcome", "quality"), (cost, "a known cost", "cost")):
        if what == "cost" and cost_margin is None:
            continue
        if found is None or min(found.tasks) < TASKS:
            have = 0 if found is None else min(found.tasks)
            return "INCONCLUSIVE", f"{have} tasks have {name} under both policies, {TASKS} are the least"
    if quality is not None and quality.sure[1] < -margin:
        return "REJECT", "quality is proven worse by more than the margin"
    if cost is not None and cost_margin is not None and cost.sure[0] > cost_margin:
        return "REJECT", "cost is proven to rise by more than allowed"
    worse = quality is None or quality.low <= -margin
    dearer = cost_margin is not None and (cost is None or cost.high > cost_margin)
    if worse or dearer:
        missing = [name for name, open_ in (("quality", worse), ("cost", dearer)) if open_]
        return "INCONCLUSIVE", f"the bounds of {' and '.join(missing)} reach across the margin"
    return "PROMOTE", "quality is within the margin" + ("" if cost_margin is None else ", cost within what is allowed")


def _difference(
    a: Mapping[str, list[float]], b: Mapping[str, list[float]], error: float, *, bounded: bool
) -> Difference | None:
    """Paired over the tasks that both did, if these are most; else two independent samples."""
    if min(len(a), len(b)) < 2:
        return None
    shared = sorted(a.keys() & b.keys())
    if len(shared) >= 2 and 3 * len(shared) >= 2 * min(len(a), len(b)):
        before = np.array([np.mean(a[task]) for task in shared])
        after = np.array([np.mean(b[task]) for task in shared])
        sides = [_paired(after - before, each, bounded=bounded) for each in (error, error / 2)]
        spread, paired = float((after - before).std(ddof=1)), True
    else:
        before = np.array([np.mean(values) for values in a.values()])
        after = np.array([np.mean(values) for values in b.values()])
        sides = [_unpaired(before, after, each, bounded=bounded) for each in (error, error / 2)]
        least = min(len(before), len(after))
        spread = math.sqrt(least * (before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after)))
        paired = False
    means = float(before.mean()), float(after.mean())
    tasks = (len(before), len(after))
    return Difference(means[1] - means[0], *sides[0], sides[1], *means, tasks, paired, spread)


def _paired(change: Floats, error: float, *, bounded: bool) -> tuple[float, float]:
    """One-sided bounds of a mean of paired differences."""
    n, mean = len(change), float(change.mean())
    if not bounded:
        half = float(stdtrit(n - 1, 1 - error)) * float(change.std(ddof=1)) / math.sqrt(n)
        return mean - half, mean + half
    gains, losses = np.maximum(change, 0), np.maximum(-change, 0)
    gain, loss = float(gains.mean()), float(losses.mean())
    low_gain, high_gain = _share(gain, _worth(gains), error)
    low_loss, high_loss = _share(loss, _worth(losses), error)
    # A task cannot be gained and lost: multinomial shares are negatively correlated.
    room = (1 - gain) * (1 - loss)
    against = math.sqrt(gain * loss / room) if room > 0 else 1.0
    down = _joint(gain - low_gain, high_loss - loss, against)
    up = _joint(high_gain - gain, loss - low_loss, against)
    return max(-1.0, mean - down), min(1.0, mean + up)


def _unpaired(a: Floats, b: Floats, error: float, *, bounded: bool) -> tuple[float, float]:
    """One-sided bounds of a difference of two means."""
    difference = float(b.mean() - a.mean())
    if not bounded:
        first, second = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
        total = float(first + second)
        if total <= 0:
            return difference, difference
        degrees = total**2 / (first**2 / (len(a) - 1) + second**2 / (len(b) - 1))
        half = float(stdtrit(degrees, 1 - error)) * math.sqrt(total)
        return difference - half, difference + half
    mean_a, mean_b = float(a.mean()), float(b.mean())
    low_a, high_a = _share(mean_a, _worth(a), error)
    low_b, high_b = _share(mean_b, _worth(b), error)
    return difference - _joint(mean_b - low_b, high_a - mean_a, 0), difference + _joint(
        high_b - mean_b, mean_a - low_a, 0
    )


def _joint(one: float, other: float, correlation: float) -> float:
    return math.sqrt(one**2 + other**2 + 2 * correlation * one * other)


def _worth(values: Floats) -> float:
    """How many yes-or-no answers these values in [0, 1] are worth: more than their number when they vary less.

    A variance from fewer than ten values that are not 0 is not trusted with that.
    """
    n, mean, variance = len(values), float(values.mean()), float(values.var(ddof=1))
    if np.count_nonzero(values) < 10 or np.count_nonzero(values < 1) < 10 or variance <= 0:
        return float(n)
    return n * max(1.0, mean * (1 - mean) / variance)


def _share(mean: float, n: float, error: float) -> tuple[float, float]:
    """One-sided exact bounds of a share, each with `error`."""
    hits = min(n, mean * n)
    low = float(betaincinv(hits, n - hits + 1, error)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - error)) if hits < n else 1.0
    return min(low, mean), max(high, mean)


def _more(
    quality: Difference | None, cost: Difference | None, margins: tuple[float, float | None], error: float
) -> int | None:
    """Tasks of each policy that would decide with probability `POWER`, beyond those there are (normal approximation)."""
    if quality is None:
        return None
    needed = [_needed(quality, -margins[0], error)]
    if margins[1] is not None:
        if cost is None:
            return None
        needed.append(_needed(cost, margins[1], error))
    have = min(quality.tasks) if cost is None else min(*quality.tasks, *cost.tasks)
    if any(found is None for found in needed):
        return None
    return max(1, TASKS - have, *(found - have for found in needed if found is not None))


def _needed(found: Difference, limit: float, error: float) -> int | None:
    """Tasks with which the bound that is nearer to its side of `limit` clears it; None when the estimate stands on the limit."""
    distance = abs(found.value - limit)
    n = min(found.tasks)
    reach = max(abs(found.value - found.low), abs(found.high - found.value)) * math.sqrt(n)
    sure = float(ndtri(1 - error))
    deviation = max(found.spread, reach / sure)
    if distance <= 0 or (sure + float(ndtri(POWER))) * deviation / distance > math.sqrt(_MOST * n):
        return None
    return math.ceil(((sure + float(ndtri(POWER))) * deviation / distance) ** 2)
