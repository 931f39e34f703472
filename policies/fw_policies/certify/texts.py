"""A plan that looks at the text: proposed by the half of the runs that chooses, tested on the other like every other plan.

What a rule gives is seen in the runs whose drawn model is the one that the rule gives to their text. The texts with one model by the rule are
a stratum: its size is known from all runs, its mean from those of them that tried that model, each for the inverse of its chance to do so,
and the baseline's mean, where the floor is relative to it, from those that tried the baseline. That is inverse propensity within strata, and
as sharp as the test of a single model of as many runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_policies.by_text import SIZE, ByText
from fw_policies.certify.bounds import DRAWS, drawn
from fw_policies.certify.runs import LEAST, Floor, Seen, Vector, chooses
from fw_policies.search import readout
from fw_policies.search.readout import Arms, Matrix, Readout

FEWEST = 100
"""Texts of the half that chooses, below which no rule is looked for."""
FOLDS = 5
PRICES = np.geomspace(0.1, 1000.0, 41)
"""Of a unit of quality, in units of the difference of the dearest model's cost and the cheapest's."""
SELDOM = 0.01
"""Share of the texts below which a model is no part of a rule."""
BOOTSTRAPS = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by text over these models."""

    models: tuple[str, ...]
    by_text: ByText


@dataclass(frozen=True, slots=True)
class Texts:
    """Runs whose text is known."""

    models: tuple[str, ...]
    model: Arms
    """Of each run, as a number of `models`."""
    value: Vector
    cost: Vector
    """NaN: unknown."""
    chance: Vector
    text: Matrix
    """Whole numbers."""
    first: NDArray[np.bool_]
    """Those of the half that chooses."""

    def part(self, rows: NDArray[np.bool_]) -> "Texts":
        """Only these."""
        return Texts(
            self.models, self.model[rows], self.value[rows], self.cost[rows], self.chance[rows], self.text[rows],
            self.first[rows],
        )  # fmt: skip


def read(seen: Mapping[str, Sequence[Seen]]) -> Texts:
    """The runs whose text was kept."""
    models = tuple(sorted(seen))
    runs = [(at, run) for at, model in enumerate(models) for run in seen[model] if run.text is not None]
    text = np.frombuffer(b"".join(run.text or b"" for _, run in runs), dtype=np.int8).reshape(len(runs), SIZE)
    return Texts(
        models,
        np.array([at for at, _ in runs], dtype=np.int64),
        np.array([run.value for _, run in runs], dtype=float),
        np.array([np.nan if run.cost is None else run.cost for _, run in runs], dtype=float),
        np.array([run.chance for _, run in runs], dtype=float),
        text.astype(float),
        np.array([chooses(run.run) for _, run in runs], dtype=bool),
    )


class Proposals:
    """Rules by what they are expected to give, from the half that chooses alone."""

    def __init__(self, fit: Texts, able: Sequence[str], embedding: str) -> None:
        """`able`: the models that may be part of a rule. `embedding`: digest of what made the texts."""
        self.why = ""
        """Why there is no rule; empty when there may be."""
        self._embedding = embedding
        counts = np.bincount(fit.model, minlength=len(fit.models))
        kept = [at for at, name in enumerate(fit.models) if name in able and counts[at] >= LEAST / 2]
        mine = fit.part(np.isin(fit.model, kept))
        self.models = tuple(fit.models[at] for at in kept)
        if len(mine.value) < FEWEST or len(kept) < 2:
            self.why = f"{len(mine.value)} runs with a text chose, {FEWEST} of two models or more are needed"
            return
        model = np.searchsorted(kept, mine.model)
        self._scale = 1 / float(np.sqrt(np.mean(np.sum(mine.text**2, axis=1))) or 1.0)
        found = readout.fit(mine.text * self._scale, model, mine.value, len(kept))
        if found is None:
            self.why = "texts add nothing to the step"
            return
        self._readout: Readout = found
        self._model = model
        self._costs = np.array([float(np.nanmean(mine.cost[model == at])) for at in range(len(kept))])
        self._expected, self._given = self._crossed(mine, model)

    def _crossed(self, mine: Texts, model: Arms) -> tuple[Matrix, Matrix]:
        """What each text is expected to give with each model, by runs without it; and the same corrected by its own outcome (doubly robust).

        Where the first chooses, the mean of the second is unbiased: no outcome has a say in what it is used to judge.
        """
        count, n = len(self.models), len(mine.value)
        texts, fold, rows = mine.text * self._scale, np.arange(n) % FOLDS, np.arange(n)
        expected = np.zeros((n, count))
        for out in range(FOLDS):
            rest = fold != out
            told = readout.again(texts[rest], model[rest], mine.value[rest], count, shape=self._readout.shape)
            expected[~rest] = told.at(texts[~rest])
        given = expected.copy()
        weight = 1 / mine.chance
        weight *= n / np.bincount(model, weight, minlength=count)[model]
        given[rows, model] += weight * (mine.value - expected[rows, model])
        return expected, given

    def cheapest(self, floor: float, margin: float, dearer: Mapping[str, float]) -> tuple[Rule, float] | None:
        """The rule of least expected cost whose expected quality is `margin` standard errors above `floor`, with that cost; None: there is none.

        `dearer`: nano-USD more that a run of each model takes from others.
        """
        costs = self._costs + np.array([dearer.get(model, 0.0) for model in self.models])
        best: tuple[float, float, Arms] | None = None
        for price in PRICES * max(float(np.ptp(costs)), 1e-9):
            worth = price * self._expected - costs
            shares = np.bincount(np.argmax(worth, axis=1), minlength=len(costs)) / len(worth)
            kept = np.flatnonzero(shares >= SELDOM)
            chosen = kept[np.argmax(worth[:, kept], axis=1)]
            paid = float(costs[chosen].mean())
            if len(kept) > 1 and (best is None or paid < best[1]) and self._reaches(chosen, floor, margin):
                best = price, paid, kept
        return None if best is None else (self._rule(best[0], costs, best[2]), best[1])

    def _reaches(self, chosen: Arms, floor: float, margin: float) -> bool:
        """Whether what the texts would have given with these models is so far above the floor, and one standard error more.

        The error is that of the runs that tried them; one more, for a rule that fails ends the tests of what needs no text.
        """
        matched = max(int(np.sum(chosen == self._model)), 1)
        error = np.sqrt(max(floor * (1 - floor), 0.01) / matched)
        return bool(self._given[np.arange(len(chosen)), chosen].mean() >= min(floor + (margin + 1) * error, 1.0))

    def _rule(self, price: float, costs: Vector, kept: Arms) -> Rule:
        told = self._readout
        own = Readout(told.means[kept], told.slopes[kept], told.shape, told.adds)
        by_text = readout.rule(own, costs[kept], price, embedding=self._embedding, scale=self._scale)
        return Rule(tuple(self.models[at] for at in kept), by_text)


@dataclass(frozen=True, slots=True)
class _Strata:
    """Texts by the model that a rule gives them."""

    texts: Texts
    given: Arms
    """Number of the rule's model that each text gets."""
    matched: NDArray[np.bool_]
    """Runs that tried that model."""


def _strata(texts: Texts, rule: Rule) -> _Strata:
    given = readout.chosen(rule.by_text, texts.text)
    number = np.array([texts.models.index(model) for model in rule.models])
    return _Strata(texts, given, number[given] == texts.model)


def shares(texts: Texts, rule: Rule) -> dict[str, float]:
    """The share of the texts that each model gets."""
    given = _strata(texts, rule).given
    return {model: float(np.mean(given == at)) for at, model in enumerate(rule.models)}


def slack(
    texts: Texts, rule: Rule, baseline: str | None, floor: Floor, *, delta: float, rng: np.random.Generator
) -> float:
    """Lower bound of the rule's mean − the floor, from texts that did not choose it.

    The delta quantile over confidence distributions of each stratum's mean and of the strata's sizes; one part more lies in the worst of them.
    """
    found = _strata(texts, rule)
    total, worst, sizes = np.zeros(DRAWS), np.full(DRAWS, np.inf), np.zeros(DRAWS)
    for at, model in enumerate(rule.models):
        inside = found.given == at
        size = rng.standard_gamma(float(inside.sum()), DRAWS) if inside.any() else np.zeros(DRAWS)
        gained = _gained(found, inside, model, baseline, floor=floor, rng=rng)
        total, worst, sizes = total + size * gained, np.minimum(worst, gained), sizes + size
    rest = rng.standard_gamma(1.0, DRAWS)
    held = float(np.quantile((total + rest * worst) / (sizes + rest), delta))
    return held - floor.level if floor.level is not None else held + floor.margin


def _gained(
    found: _Strata, inside: NDArray[np.bool_], model: str, baseline: str | None, *, floor: Floor, rng: np.random.Generator
) -> Vector:  # fmt: skip
    """Draws of a stratum's mean, less what a relative floor asks of the baseline there."""
    texts = found.texts
    mine = inside & found.matched
    own = 1.0 if floor.level is not None or model != baseline else 1.0 - floor.ratio
    gained = own * drawn(texts.value[mine], rng, low=own >= 0, weights=1 / texts.chance[mine])
    if floor.level is None and model != baseline and baseline is not None:
        base = inside & (texts.model == texts.models.index(baseline))
        gained = gained - floor.ratio * drawn(texts.value[base], rng, low=False, weights=1 / texts.chance[base])
    return gained


def mean(texts: Texts, rule: Rule) -> float:
    """What the rule gave, over these texts."""
    return _mean(_strata(texts, rule), texts.value, np.ones(len(texts.value)))


def _mean(found: _Strata, values: Vector, times: Vector) -> float:
    """Over the strata by their size; `times`: how often each run counts. A stratum that nobody tried counts as all matched runs together."""
    weight = found.matched * times / found.texts.chance
    overall = float(weight @ values / weight.sum()) if weight.any() else 0.0
    total = 0.0
    for at in np.unique(found.given):
        inside = found.given == at
        own = weight * inside
        total += float(times @ inside) * (float(own @ values / own.sum()) if own.any() else overall)
    return total / float(times.sum())


def money(
    texts: Texts, rule: Rule, others: Mapping[str, float], rng: np.random.Generator, *, draws: int = BOOTSTRAPS
) -> tuple[Vector, Vector]:
    """Cost of a run by the rule, and what it is less than by the mixture `others` (model -> share): the mean, then the draws of a bootstrap."""
    found = _strata(texts, rule)
    known = [(share, texts.model == texts.models.index(model)) for model, share in others.items()]
    costs = texts.cost

    def both(times: Vector) -> tuple[float, float]:
        mine = _mean(found, costs, times)
        return mine, sum(
            share * float(times[rows] @ costs[rows]) / max(float(times[rows].sum()), 1e-9) for share, rows in known
        ) - mine

    n = len(costs)
    again = (np.bincount(rng.integers(0, n, n), minlength=n).astype(float) for _ in range(draws))
    pairs = [both(np.ones(n)), *(both(times) for times in again)]
    cost, less = np.array(pairs).T
    return cost, less
