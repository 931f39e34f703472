"""Off-policy evaluation: what another policy would have given, from a log of what this one did. It answers with an interval, or refuses.

The estimate is doubly robust (Dudík, Langford and Li, 2011) with cross-fitting: a shrunk mean per (step, arm) is the outcome model, the
logged propensities weigh its residuals, normalised within each step (Hájek). Weights are never clipped: that trades a bias for a narrow interval.
A normal interval around it is too short wherever a few explored rows carry a step: they all succeed, and nothing seems to vary. So each
step gets bounds that hold for few rows (Clopper and Pearson, 1934, at its effective number of rows), and the steps are combined as MOVER does
(Zou and Donner, 2008): independent deviations add in squares.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ESS_FLOOR = 100.0
"""Effective rows below which nothing is answered."""
UNCOVERED = 0.05
"""Share of the traffic about which the log may say nothing; below it the interval holds the worst case, above it the answer is refused."""
CLUSTERS = 10
"""Runs below which an interval over runs is not worth its name."""
PSEUDO = 5.0
"""Rows that the arm's mean over all steps counts for in the outcome model of a step."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Log:
    """Logged decisions: one entry per row in every array."""

    step: Ints
    """Index of the step (the context's key)."""
    arm: Ints
    """Index of the model or plan that was drawn."""
    propensity: Floats
    """Probability with which it was drawn, in (0, 1]."""
    value: Floats
    """What came of it: a quality in [0, 1], or a cost."""
    cluster: Ints | None = None
    """Rows of one number belong to one run and are not independent; None: each row is on its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the target policy would have given, per row."""

    value: float
    low: float
    high: float
    """Bounds at `confidence`."""
    snips: float | None
    """The self-normalised estimate over all rows without a model, as a cross-check."""
    logged: float
    """What the log itself gave, per row."""
    difference: tuple[float, float, float]
    """Target minus log: estimate and bounds."""
    ess: float
    """Rows of a log of the target's own that would say as much."""
    uncovered: float
    """Share of rows about which the log says nothing; the bounds hold whatever it would have been."""
    rows: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Refused:
    """No answer, and why."""

    reason: str
    ess: float
    uncovered: float
    rows: int


@dataclass(frozen=True, slots=True)
class _Frame:
    """What every part of the estimate reads."""

    log: Log
    weight: Floats
    """Target's probability over the propensity."""
    model: Floats
    """The outcome model at the row's own arm, from the other folds."""
    direct: Floats
    """The outcome model's mean under the target at the row's step, from the other folds."""
    blind: NDArray[np.bool_]
    """Rows where another arm was certain: the log cannot say what the target's would have done there."""
    bounds: tuple[float, float] | None
    side: float
    """Probability on one side of an interval, e.g. 0.025."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One step."""

    share: float
    mean: float
    ess: float
    deviations: tuple[float, float]
    """Of the mean, downwards and upwards."""
    change: tuple[float, float, float]
    """Target minus log, and its deviations."""


def evaluate(
    log: Log,
    target: Floats,
    *,
    rng: np.random.Generator,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    confidence: float = 0.95,
    floor: float = ESS_FLOOR,
) -> Answer | Refused:
    """What a policy that draws arm `a` at step `s` with probability `target[s, a]` would have given per row.

    `bounds` hold every value there can be; None: a cost, bounded by 0 and the largest that was seen. `rng` only deals rows to folds.
    The interval is of the mean over traffic like the log's.

    Raises:
        ValueError: the arrays differ in length, a propensity is not in (0, 1], or a value is outside `bounds`.
    """
    _check(log, bounds)
    n = len(log.step)
    if n < 2:
        return Refused("there are fewer than 2 rows", 0.0, 1.0, n)
    frame = _frame(log, target, rng, (bounds, (1 - confidence) / 2))
    blind = [bool(frame.blind[rows].all() or not frame.weight[rows].any()) for rows in _by_step(log)]
    unseen = frame.blind | np.asarray(blind)[_positions(log)]
    uncovered = float(unseen.mean())
    design, runs = _design(frame, unseen)
    parts = [_part(frame, rows[~unseen[rows]], design) for rows in _by_step(log) if not unseen[rows].all()]
    ess = (1 - uncovered) ** 2 / sum(part.share**2 / part.ess for part in parts) if parts else 0.0
    reason = _reason(ess, floor, uncovered, runs)
    if reason:
        return Refused(reason, ess, uncovered, n)
    return _answer(frame, parts, unseen, (ess, design, runs))


def _reason(ess: float, floor: float, uncovered: float, runs: int | None) -> str:
    """Why there is no answer; empty when there is one."""
    if uncovered > UNCOVERED:
        return f"at {uncovered:.0%} of the traffic the log never tried what this policy would do; explore there first"
    if ess < floor:
        return f"effective sample size {ess:.0f}, {floor:.0f} are needed; log more, or explore a larger share"
    if runs is not None and runs < CLUSTERS:
        return f"{runs} runs, {CLUSTERS} are needed for an interval over runs"
    return ""


def _check(log: Log, bounds: tuple[float, float] | None) -> None:
    lengths = {len(log.step), len(log.arm), len(log.propensity), len(log.value)}
    if log.cluster is not None:
        lengths.add(len(log.cluster))
    if len(lengths) != 1:
        raise ValueError(f"the arrays of a log differ in length: {sorted(lengths)}")
    if not ((log.propensity > 0) & (log.propensity <= 1)).all():
        raise ValueError("a propensity must be above 0 and at most 1")
    low, high = (0.0, math.inf) if bounds is None else bounds
    if not ((log.value >= low) & (log.value <= high)).all():
        raise ValueError(f"a value is outside {low:g} to {high:g}")


def _positions(log: Log) -> Ints:
    """The place of each row's step among the steps that are there, in the order of `_by_step`."""
    return np.unique(log.step, return_inverse=True)[1].astype(np.int64)


def _by_step(log: Log) -> list[Ints]:
    """Row numbers of each step that is there."""
    order = np.argsort(log.step, kind="stable").astype(np.int64)
    return np.split(order, np.flatnonzero(np.diff(log.step[order])) + 1)


def _frame(
    log: Log, target: Floats, rng: np.random.Generator, said: tuple[tuple[float, float] | None, float]
) -> _Frame:
    chosen = target[log.step, log.arm]
    model, direct = _crossfit(log, target, rng)
    blind = (log.propensity > 1 - 1e-9) & (chosen < 1 - 1e-9)
    weight = np.where(blind, 0.0, chosen / log.propensity)
    return _Frame(log, weight, model, direct, blind, *said)


def _crossfit(log: Log, target: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The outcome model of each row from the other folds: at its own arm, and under the target.

    Rows of one run share a fold, or the model would have seen its own answer.
    """
    unit = np.arange(len(log.step)) if log.cluster is None else np.unique(log.cluster, return_inverse=True)[1]
    fold = rng.permutation(int(unit.max()) + 1)[unit] % FOLDS
    shape = (FOLDS, *target.shape)
    place = np.ravel_multi_index((fold, log.step, log.arm), shape)
    counts, sums = (np.bincount(place, what, math.prod(shape)).reshape(shape) for what in (None, log.value))
    means = _means(counts.sum(axis=0) - counts, sums.sum(axis=0) - sums)
    return means[fold, log.step, log.arm], (means * target).sum(axis=2)[fold, log.step]


def _means(counts: Floats, sums: Floats) -> Floats:
    """Mean per (fold, step, arm), shrunk to the arm's, which is shrunk to the mean of all."""
    overall = sums.sum(axis=(1, 2)) / np.maximum(1.0, counts.sum(axis=(1, 2)))
    arms = (sums.sum(axis=1) + PSEUDO * overall[:, None]) / (counts.sum(axis=1) + PSEUDO)
    shrunk: Floats = (sums + PSEUDO * arms[:, None]) / (counts + PSEUDO)
    return shrunk


def _kish(weight: Floats) -> float:
    """Effective number of weighted rows (Kish, 1965)."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def _centre(frame: _Frame, rows: Ints) -> float:
    """The doubly robust mean of one step.

    The model's mean under the target is taken over the rows that carry the residuals, so that the folds' own noise cancels: within a step
    nothing else is known of a row, and the rows of other arms have no say in it.
    """
    pseudo = frame.direct[rows] + frame.log.value[rows] - frame.model[rows]
    return _weighted(frame.weight[rows], pseudo)


def _part(frame: _Frame, rows: Ints, design: float) -> _Part:
    """One step from the rows that the log can speak for; `design` is what clusters take from each row's worth."""
    weight, values = frame.weight[rows], frame.log.value[rows]
    mean = _centre(frame, rows)
    ess = _kish(weight) / design
    deviations = _deviations(frame, (mean, ess), weight, values)
    # E[(w - 1) r]: what the target does more often than the log, less what it does more rarely. The common part cancels.
    more, less = np.maximum(weight - 1, 0), np.maximum(1 - weight, 0)
    moved = float(less.mean())
    change = mean - float(values.mean())
    if moved <= 0 or not more.any():
        return _Part(len(rows) / len(frame.weight), mean, ess, deviations, (change, 0.0, 0.0))
    new = _deviations(frame, (_weighted(more, values), _kish(more) / design), more, values)
    old = _deviations(frame, (_weighted(less, values), _kish(less) / design), less, values)
    down, up = moved * math.hypot(new[0], old[1]), moved * math.hypot(new[1], old[0])
    return _Part(len(rows) / len(frame.weight), mean, ess, deviations, (change, down, up))


def _weighted(weight: Floats, values: Floats) -> float:
    return float((weight * values).sum() / weight.sum())


def _deviations(frame: _Frame, centre: tuple[float, float], weight: Floats, values: Floats) -> tuple[float, float]:
    """How far the truth may lie below and above a weighted mean of `centre = (mean, effective rows)`."""
    mean, ess = centre
    if frame.bounds is None:
        return _skewed(frame.side, mean, ess, (weight, values))
    low, high = frame.bounds
    width = high - low
    hits = min(ess, max(0.0, (mean - low) / width * ess))
    lower = float(betaincinv(hits, ess - hits + 1, frame.side)) if hits > 0 else 0.0
    upper = float(betaincinv(hits + 1, ess - hits, 1 - frame.side)) if hits < ess else 1.0
    return max(0.0, mean - low - width * lower), max(0.0, low + width * upper - mean)


def _skewed(side: float, mean: float, ess: float, rows: tuple[Floats, Floats]) -> tuple[float, float]:
    """Deviations of a mean cost: Student's, and upwards Cox's for a log-normal (Olsson, 2005) where that is more.

    Few rows of a skewed cost understate its spread, so the step's rows of all arms count for `PSEUDO` more. The dearest call of the step,
    whatever served it, bounds what so few rows leave open.
    """
    weight, values = rows
    top = float(values.max())
    if ess < 3:
        return mean, max(0.0, top - mean)
    t = float(stdtrit(ess - 1, 1 - side))
    spread = _weighted(weight, (values - _weighted(weight, values)) ** 2) * ess / (ess - 1)
    logs = np.log(np.maximum(values, 1e-6 * max(top, 1e-300)))
    centre = _weighted(weight, logs)
    own = _weighted(weight, (logs - centre) ** 2) * ess / (ess - 1)
    variance = (ess * own + PSEUDO * float(logs.var())) / (ess + PSEUDO)
    cox = t * math.sqrt(variance / ess + variance**2 / (2 * (ess - 1)))
    half = t * math.sqrt(spread / ess)
    down, up = max(half, -mean * math.expm1(-cox)), max(half, mean * math.expm1(min(cox, 50.0)))
    return min(mean, down), min(up, max(half, top - mean))


def _design(frame: _Frame, unseen: NDArray[np.bool_]) -> tuple[float, int | None]:
    """(design effect, runs): by how much the variance over runs exceeds that over rows; 1 without clusters."""
    if frame.log.cluster is None:
        return 1.0, None
    influence = np.zeros(len(frame.weight))
    for rows in _by_step(frame.log):
        seen = rows[~unseen[rows]]
        if len(seen):
            weight, mean = frame.weight[seen], _centre(frame, seen)
            influence[seen] = weight * len(seen) / weight.sum() * (frame.log.value[seen] - mean)
    place = np.unique(frame.log.cluster, return_inverse=True)[1]
    sums = np.bincount(place, influence)
    runs = len(sums)
    rows_alone = float((influence**2).sum())
    if rows_alone <= 0 or runs < 2:
        return 1.0, runs
    return max(1.0, float((sums**2).sum()) * runs / (runs - 1) / rows_alone), runs


def _answer(
    frame: _Frame, parts: list[_Part], unseen: NDArray[np.bool_], size: tuple[float, float, int | None]
) -> Answer:
    """The steps together."""
    ess, design, runs = size
    n, values = len(frame.weight), frame.log.value
    uncovered = float(unseen.mean())
    guess = float(frame.direct[unseen].sum()) / n
    covered = sum(part.share * part.mean for part in parts)
    value = covered + guess
    # Few runs: the normal's quantile becomes Student's.
    z = float(stdtrit(1e9, 1 - frame.side))
    wider = 1.0 if runs is None else float(stdtrit(runs - 1, 1 - frame.side)) / z
    between = sum(part.share * (part.mean - covered / max(1e-12, 1 - uncovered)) ** 2 for part in parts)
    mixing = z * math.sqrt(max(0.0, between) * design / n)
    down = wider * math.sqrt(sum((part.share * part.deviations[0]) ** 2 for part in parts) + mixing**2)
    up = wider * math.sqrt(sum((part.share * part.deviations[1]) ** 2 for part in parts) + mixing**2)
    least, most = (0.0, float(values.max())) if frame.bounds is None else frame.bounds
    spare = (guess - uncovered * least, uncovered * most - guess)
    change = sum(part.share * part.change[0] for part in parts) + guess - float(values[unseen].sum()) / n
    less = wider * math.sqrt(sum((part.share * part.change[1]) ** 2 for part in parts)) + spare[0]
    more = wider * math.sqrt(sum((part.share * part.change[2]) ** 2 for part in parts)) + spare[1]
    low, high = max(least, value - down - spare[0]), value + up + spare[1]
    total = float(frame.weight.sum())
    return Answer(
        value=value,
        low=low,
        high=high if frame.bounds is None else min(most, high),
        snips=float((frame.weight * values).sum()) / total if total > 0 else None,
        logged=float(values.mean()),
        difference=(change, change - less, change + more),
        ess=ess,
        uncovered=uncovered,
        rows=n,
        confidence=1 - 2 * frame.side,
    )


def naive(log: Log, target: Floats, *, rng: np.random.Generator, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that everybody prints: doubly robust, normal, over rows. For comparison only."""
    frame = _frame(log, target, rng, (None, (1 - confidence) / 2))
    pseudo = frame.direct + frame.weight * (log.value - frame.model)
    half = float(stdtrit(1e9, 1 - frame.side)) * float(pseudo.std(ddof=1)) / math.sqrt(len(pseudo))
    return float(pseudo.mean()) - half, float(pseudo.mean()) + half


def simulate(scores: Floats, steps: Ints, *, epsilon: float, rows: int, rng: np.random.Generator) -> Log:
    """A log of `rows` decisions on real outcomes: the best single model serves, a share of `epsilon` draws any model alike."""
    _, models = scores.shape
    best = int(scores.mean(axis=0).argmax())
    query = rng.integers(0, len(scores), rows)
    arm = np.where(rng.random(rows) < epsilon, rng.integers(0, models, rows), best).astype(np.int64)
    propensity = epsilon / models + (1 - epsilon) * (arm == best)
    return Log(steps[query], arm, propensity, scores[query, arm])


def coverage(
    scores: Floats,
    steps: Any,
    epsilon: float,
    *,
    seed: int,
    repetitions: int = 200,
    rows: int | None = None,
    target: Floats | None = None,
) -> dict[str, float | int | None]:
    """How often intervals hold the truth on a matrix of real outcomes (queries × models, in [0, 1]).

    Each repetition draws `rows` (default: as many as there are queries) with replacement, logs them as `simulate` does, and evaluates
    `target` (steps in sorted order × models; default: each step's best mean), whose truth is its mean over the matrix.
    Keys: answered, refused, coverage (of those answered; None when none was) with its 95 % Clopper-Pearson interval `low`, `high`;
    mean_width; naive_coverage and naive_width, which never refuse; mean_ess.
    """
    index = np.unique(np.asarray(steps), return_inverse=True)[1].astype(np.int64)
    if target is None:
        means = np.stack([scores[index == step].mean(axis=0) for step in range(int(index.max()) + 1)])
        target = np.eye(scores.shape[1])[means.argmax(axis=1)]
    truth = float((scores * target[index]).sum(axis=1).mean())
    rng = np.random.default_rng(seed)
    held = naive_held = answered = 0
    widths, naive_widths, sizes = [], [], []
    for _ in range(repetitions):
        log = simulate(scores, index, epsilon=epsilon, rows=rows or len(scores), rng=rng)
        low, high = naive(log, target, rng=rng)
        naive_held += low <= truth <= high
        naive_widths.append(high - low)
        found = evaluate(log, target, rng=rng)
        sizes.append(found.ess)
        if isinstance(found, Answer):
            answered += 1
            held += found.low <= truth <= found.high
            widths.append(found.high - found.low)
    return {
        "answered": answered,
        "refused": repetitions - answered,
        "coverage": held / answered if answered else None,
        "low": (float(betaincinv(held, answered - held + 1, 0.025)) if held else 0.0) if answered else None,
        "high": (float(betaincinv(held + 1, answered - held, 0.975)) if held < answered else 1.0) if answered else None,
        "mean_width": float(np.mean(widths)) if widths else None,
        "naive_coverage": naive_held / repetitions,
        "naive_width": float(np.mean(naive_widths)),
        "mean_ess": float(np.mean(sizes)),
    }
