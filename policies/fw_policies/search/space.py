"""The plans of a step: one part alone, one after another's failure, and under `verify` cascades of two and three; all with estimates.

A part is a deployment at one reasoning effort. What a plan comes to follows from its parts, as if they were independent: that the
second is as good on what the first got wrong as on everything else, and as quick. It is not so (what is hard for one is hard for
the other), and hence these figures order plans and choose what to test; they certify nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Numbers = NDArray[np.int64]
Marks = NDArray[np.bool_]

SINGLE, FALL_BACK, CASCADE = 0, 1, 2
KINDS = ("single", "fall_back", "cascade")
NONE = -1
"""In place of a part that a plan does not have."""
TAILS = 256
"""Cascades of two, at most, that a third part is put in front of: the first of their frontier by cost."""
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Parts:
    """What plans are made of; one entry each, NaN: unknown."""

    model: Numbers
    """Number of its model: no plan asks the same model twice."""
    quality: Vector
    cost: Vector
    """Nano-USD per call."""
    latency: Vector
    """Mean, seconds."""
    variance: Vector
    """Of the latency, in seconds squared."""
    accepted: Vector
    """Share of its answers that pass the step's checks."""
    right: Vector
    """Quality of those that pass."""
    failing: Vector
    """Share of its attempts that fail before they answer."""
    use: Matrix
    """Tokens per call on each shared machine; shape (machines, parts)."""

    def only(self, chosen: Marks) -> "Parts":
        """Those that are marked."""
        return Parts(
            self.model[chosen],
            self.quality[chosen],
            self.cost[chosen],
            self.latency[chosen],
            self.variance[chosen],
            self.accepted[chosen],
            self.right[chosen],
            self.failing[chosen],
            self.use[:, chosen],
        )


@dataclass(frozen=True, slots=True)
class Plans:
    """Plans as columns."""

    kind: Numbers
    parts: Numbers
    """Numbers of its parts in the order they are walked, NONE where there are fewer; shape (plans, 3)."""
    quality: Vector
    cost: Vector
    latency: Vector
    late: Vector
    """P(latency > limit); 0 without a limit."""
    use: Matrix
    """Tokens per call on each shared machine; shape (machines, plans)."""

    def only(self, chosen: Marks | Numbers) -> "Plans":
        """Those that are marked or numbered."""
        return Plans(
            self.kind[chosen],
            self.parts[chosen],
            self.quality[chosen],
            self.cost[chosen],
            self.latency[chosen],
            self.late[chosen],
            self.use[:, chosen],
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How many plans there are, and how many were looked at."""

    possible: int
    """Of all parts."""
    allowed: int
    """Of the parts that no hard rule excludes."""
    known: int
    """Of those whose estimates are known."""
    worked_out: int
    """Of those, the plans that were worked out; for cascades of three, only on the best ends."""
    kept: int
    """That no other plan beats or equals in all respects."""


@dataclass(frozen=True, slots=True)
class Space:
    """What a programme chooses from."""

    plans: Plans
    counts: Counts


def space(parts: Parts, allowed: Marks, *, verify: bool, limit: float | None = None, deep: bool = True) -> Space:
    """The plans of a step that are worth mixing.

    `allowed`: parts that no hard rule excludes. `verify`: the step has checks, so that answers are rejected and cascades make sense.
    `limit`: seconds after which a call is late. `deep`: cascades of three too.
    """
    known = np.logical_and(allowed, _known(parts, verify, limit))
    numbers = np.flatnonzero(known)
    mine = parts.only(known)
    singles = _singles(mine, limit)
    pairs = _pairs(mine, verify, limit)
    done = len(singles.kind) + len(pairs.kind)
    front = _joined(singles, pairs)
    front = front.only(undominated(_measures(front)))
    if verify and deep:
        deeper = _triples(mine, front, limit)
        done += len(deeper.kind)
        front = _joined(front, deeper)
        front = front.only(undominated(_measures(front)))
    numbered = np.where(front.parts == NONE, NONE, numbers[front.parts]) if len(numbers) else front.parts
    found = Plans(front.kind, numbered, front.quality, front.cost, front.latency, front.late, front.use)
    three = verify and deep
    counts = Counts(
        count(parts.model, three), count(parts.model[allowed], three), count(mine.model, three), done, len(found.kind)
    )
    return Space(found, counts)


def count(model: Numbers, three: bool) -> int:
    """Plans of one, two, and perhaps three parts of different models, in order."""
    sizes = np.unique(model, return_counts=True)[1].astype(np.int64)
    n, squares, cubes = int(sizes.sum()), int((sizes**2).sum()), int((sizes**3).sum())
    return n + n * n - squares + (n**3 - 3 * n * squares + 2 * cubes if three else 0)


def _known(parts: Parts, verify: bool, limit: float | None) -> Marks:
    needed = [parts.quality, parts.cost, parts.latency]
    if limit is not None:
        needed.append(parts.variance)
    needed.append(parts.accepted if verify else parts.failing)
    known: Marks = np.isfinite(np.vstack([*needed, *parts.use])).all(axis=0)
    return known


def _late(mean: Vector, variance: Vector, limit: float | None) -> Vector:
    """P(latency > limit) of a log-normal latency with these moments; sums of such are taken for one (Fenton, 1960)."""
    if limit is None:
        return np.zeros(len(mean))
    safe = np.maximum(mean, 1e-9)
    spread = np.sqrt(np.log1p(variance / safe**2))
    middle = np.log(safe) - spread**2 / 2
    late: Vector = ndtr((middle - np.log(limit)) / np.maximum(spread, 1e-9))
    return late


def _singles(parts: Parts, limit: float | None) -> Plans:
    n = len(parts.model)
    numbers = np.full((n, 3), NONE)
    numbers[:, 0] = np.arange(n)
    late = _late(parts.latency, parts.variance, limit)
    return Plans(np.full(n, SINGLE), numbers, parts.quality, parts.cost, parts.latency, late, parts.use)


def _pairs(parts: Parts, verify: bool, limit: float | None) -> Plans:
    """Two parts of different models; the second has what the first rejects, or without checks what it fails at."""
    first, second = np.nonzero(parts.model[:, None] != parts.model[None])
    go_on = (1 - parts.accepted if verify else parts.failing)[first]
    good = np.where(np.isfinite(parts.right), parts.right, parts.quality) if verify else parts.quality
    numbers = np.full((len(first), 3), NONE)
    numbers[:, 0], numbers[:, 1] = first, second
    mean, again = parts.latency[first], parts.latency[second]
    variance, more = parts.variance[first], parts.variance[second]
    return Plans(
        np.full(len(first), CASCADE if verify else FALL_BACK),
        numbers,
        (1 - go_on) * good[first] + go_on * parts.quality[second],
        parts.cost[first] + go_on * parts.cost[second],
        mean + go_on * again,
        _walk_late((mean, variance), (mean + again, variance + more), go_on, limit),
        parts.use[:, first] + go_on * parts.use[:, second],
    )


def _triples(parts: Parts, front: Plans, limit: float | None) -> Plans:
    """A part in front of each of the best cascades of two: a plan whose end is beaten is beaten itself."""
    tails = front.only(front.kind == CASCADE)
    tails = tails.only(np.argsort(tails.cost, kind="stable")[:TAILS])
    ends = parts.model[tails.parts[:, :2]].reshape(-1, 2)
    first, tail = np.nonzero((parts.model[:, None, None] != ends[None]).all(2))
    go_on = (1 - parts.accepted)[first]
    good = np.where(np.isfinite(parts.right), parts.right, parts.quality)[first]
    mean, variance = parts.latency[first], parts.variance[first]
    second, third = tails.parts[tail, 0], tails.parts[tail, 1]
    whole = (mean + tails.latency[tail], variance + parts.variance[second] + parts.variance[third])
    return Plans(
        np.full(len(first), CASCADE),
        np.c_[first, second, third],
        (1 - go_on) * good + go_on * tails.quality[tail],
        parts.cost[first] + go_on * tails.cost[tail],
        mean + go_on * tails.latency[tail],
        _walk_late((mean, variance), whole, go_on, limit),
        parts.use[:, first] + go_on * tails.use[:, tail],
    )


def _walk_late(short: tuple[Vector, Vector], long: tuple[Vector, Vector], go_on: Vector, limit: float | None) -> Vector:
    """Late when it ends with the first, and when it goes on: the two weighed by how often."""
    if limit is None:
        return np.zeros(len(go_on))
    late: Vector = (1 - go_on) * _late(*short, limit) + go_on * _late(*long, limit)
    return late


def _joined(one: Plans, other: Plans) -> Plans:
    return Plans(
        np.r_[one.kind, other.kind],
        np.r_[one.parts, other.parts],
        np.r_[one.quality, other.quality],
        np.r_[one.cost, other.cost],
        np.r_[one.latency, other.latency],
        np.r_[one.late, other.late],
        np.concatenate([one.use, other.use], axis=1),
    )


def _measures(plans: Plans) -> Matrix:
    """What less of is better, one column each: cost, time, lack of quality, use of each shared machine."""
    time = plans.late if (plans.late > 0).any() else plans.latency
    return np.stack([plans.cost, time, -plans.quality, *plans.use], axis=1)


def undominated(values: Matrix) -> Numbers:
    """Rows that no other row beats or equals in every column, ascending; less is better, and of equal rows the first stays.

    Rows that are least in all columns after the third are swept by the first column, with a staircase of the second and third (Kung
    et al., 1975); nothing else can beat them, and they beat most of the rest. What is left of that is compared row by row.
    """
    if not len(values):
        return np.arange(0)
    main, extra = values[:, :3], values[:, 3:]
    plain = (extra == extra.min(0)).all(1) if extra.shape[1] else np.ones(len(values), dtype=bool)
    order = np.lexsort((np.arange(len(values)), main[:, 2], main[:, 1], ~plain, main[:, 0]))
    left = _swept(main, plain, order)
    certain, open_ = left[plain[left]], left[~plain[left]]
    return np.sort(np.r_[certain, open_[_rows(values[open_])]])


def _swept(main: Matrix, plain: Marks, order: Numbers) -> Numbers:
    """The numbers in `order` (rising in the first column) that no plain row before them beats."""
    stairs, steps = np.array([-np.inf]), np.array([np.inf])
    out = []
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        least = steps[np.searchsorted(stairs, main[block, 1], side="right") - 1]
        block = block[main[block, 2] < least]
        mine = np.flatnonzero(plain[block])
        beats = _nowhere_worse(main[block[mine]], main[block])
        beats &= mine[:, None] < np.arange(len(block))[None]
        block = block[~beats.any(0)]
        out.append(block)
        fresh = block[plain[block]]
        stairs, steps = np.r_[stairs, main[fresh, 1]], np.r_[steps, main[fresh, 2]]
        by = np.lexsort((steps, stairs))
        stairs, steps = stairs[by], np.minimum.accumulate(steps[by])
        lower = np.r_[True, steps[1:] < steps[:-1]]
        stairs, steps = stairs[lower], steps[lower]
    return np.concatenate(out)


def _nowhere_worse(ones: Matrix, others: Matrix) -> Marks:
    """[i, j]: whether row i of `ones` is at most row j of `others` in every column."""
    found = np.ones((len(ones), len(others)), dtype=bool)
    for column in range(ones.shape[1]):
        found &= ones[:, column, None] <= others[None, :, column]
    return found


def _rows(values: Matrix) -> Numbers:
    """The same for any columns, each row against those that may beat it, which come before it when sorted."""
    if not len(values):
        return np.arange(0)
    order = np.lexsort((np.arange(len(values)), *values.T))
    kept = order[:0]
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        for at in range(0, len(kept), BLOCK):
            block = block[~_nowhere_worse(values[kept[at : at + BLOCK]], values[block]).any(0)]
        block = block[~np.triu(_nowhere_worse(values[block], values[block]), 1).any(0)]
        kept = np.r_[kept, block]
    return kept
