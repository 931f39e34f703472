"""Routers: what each expects of every model for a query, from outcomes of other queries."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fw_gateway.bench.data import Table, Unusable
from fw_policies.search import residual
from fw_policies.search.shrink import shrunk

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a router knows of the queries it is asked about: everything but their outcomes."""

    step: NDArray[np.int64]
    vectors: Matrix
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What it may learn from: outcomes of other queries."""

    table: Table
    vectors: Matrix


@dataclass(frozen=True, slots=True)
class Expected:
    """Estimates per (query, model): quality 0..1, cost in US dollars (None when the set has no costs)."""

    quality: Matrix
    cost: Matrix | None


Router = Callable[[Known, Asked], Expected]


def ours(known: Known, asked: Asked) -> Expected:
    """Step and model by empirical Bayes, plus the text's residual with the weight that leave-one-out gives it."""
    table = known.table
    found = residual.fit(table.score, table.step, len(table.steps), residual.Texts(known.vectors, table.texts))
    return Expected(found.at(residual.Texts(asked.vectors, asked.texts), asked.step), _cost(known, asked))


def by_step(known: Known, asked: Asked) -> Expected:
    """The mean of the step: the anchor that knows the task type alone."""
    table = known.table
    raw = shrunk(table.score, table.step, len(table.steps)).raw
    return Expected(raw[asked.step], _cost(known, asked))


def nearest(known: Known, asked: Asked) -> Expected:
    """Forty nearest texts, no step: what text alone can do."""
    similar = asked.vectors @ known.vectors.T
    near = np.argsort(-similar, axis=1, kind="stable")[:, :40]
    costs = None if known.table.cost is None else known.table.cost[near].mean(1)
    return Expected(known.table.score[near].mean(1), costs)


def _cost(known: Known, asked: Asked) -> Matrix | None:
    table = known.table
    if table.cost is None:
        return None
    return shrunk(table.cost, table.step, len(table.steps), binary=False).raw[asked.step]


def blind(table: Table, vectors: Matrix, fit: Rows, ask: Rows) -> tuple[Known, Asked]:
    """What a router is given: the outcomes of `fit`, and of `ask` only what is known before a call."""
    asked = Asked(table.step[ask], vectors[ask], tuple(table.texts[row] for row in ask))
    return Known(table.part(fit), vectors[fit]), asked


def leaks(
    router: Callable[[Table, Matrix, Rows, Rows], Expected], table: Table, vectors: Matrix, rng: np.random.Generator
) -> bool:
    """Whether estimates depend on the outcomes that they are judged by.

    Runs the router twice on one split; the second time the held-out scores and costs are noise. Estimates that differ have seen them.
    """
    rows = rng.permutation(len(table.queries))
    fit, ask = np.sort(rows[len(rows) // 5 :]), np.sort(rows[: len(rows) // 5])
    noise = rng.random((len(ask), len(table.models)))
    noisy, dearer = table.score.copy(), None if table.cost is None else table.cost.copy()
    noisy[ask] = noise
    if dearer is not None:
        dearer[ask] *= 1 + noise
    first = router(table, vectors, fit, ask)
    second = router(replace(table, score=noisy, cost=dearer), vectors, fit, ask)
    if first.cost is not None and second.cost is not None and not np.array_equal(first.cost, second.cost):
        return True
    return not np.array_equal(first.quality, second.quality)


def guarded(router: Router) -> Callable[[Table, Matrix, Rows, Rows], Expected]:
    """A router behind the blindfold.

    Running it raises `Unusable` when it does not answer with a number for every query and model.
    """

    def run(table: Table, vectors: Matrix, fit: Rows, ask: Rows) -> Expected:
        found = router(*blind(table, vectors, fit, ask))
        wanted = len(ask), len(table.models)
        for values in (found.quality,) if found.cost is None else (found.quality, found.cost):
            if np.shape(values) != wanted or not np.isfinite(values).all():
                raise Unusable(f"{table.name}: the router must answer with finite numbers of shape {wanted}.")
        return found

    return run
