"""Outcome tables as matrices: queries × models of quality, cost and latency, with each query's step and text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet

Matrix = NDArray[np.float64]
Row = Mapping[str, Any]

ENDING = ".outcomes.parquet"
SCORED, ANSWERED = 0.95, 0.90
"""A model is kept when it has this share of the queries; a query when it has this share of those models."""


class Unusable(Exception):
    """A table that cannot be judged, and why."""


@dataclass(frozen=True, slots=True)
class Table:
    """One set of outcomes. What is missing in a kept row takes the model's mean."""

    name: str
    queries: tuple[str, ...]
    models: tuple[str, ...]
    steps: tuple[str, ...]
    step: NDArray[np.int64]
    """Index of each query's step."""
    score: Matrix
    """0..1, shape (queries, models)."""
    cost: Matrix | None
    """US dollars per query; None: the set has no costs."""
    latency: Matrix | None
    """Seconds; None: not measured."""
    trials: Matrix
    """Runs behind each score."""
    texts: tuple[str, ...]
    left_out: Mapping[str, str]
    """Models that were left out, and why."""

    def part(self, rows: NDArray[np.int64]) -> "Table":
        """The same table with only these queries."""
        return replace(
            self,
            queries=tuple(self.queries[row] for row in rows),
            step=self.step[rows],
            score=self.score[rows],
            cost=None if self.cost is None else self.cost[rows],
            latency=None if self.latency is None else self.latency[rows],
            trials=self.trials[rows],
            texts=tuple(self.texts[row] for row in rows),
        )


def discover(folder: Path) -> list[str]:
    """Names of the sets in a folder: `NAME.outcomes.parquet`, each perhaps with `NAME.queries.parquet`.

    Raises:
        Unusable: there is none.
    """
    found = sorted(path.name.removesuffix(ENDING) for path in folder.glob(f"*{ENDING}"))
    if not found:
        raise Unusable(f"{folder} holds no NAME{ENDING}; name a folder that does with --data.")
    return found


def read(folder: Path, name: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The rows of a set, and its queries by id.

    Raises:
        Unusable: the table cannot be read, or lacks a column.
    """
    try:
        rows: list[dict[str, Any]] = parquet.read_table(folder / f"{name}{ENDING}").to_pylist()
        path = folder / f"{name}.queries.parquet"
        listed: list[dict[str, Any]] = parquet.read_table(path).to_pylist() if path.exists() else []
    except (OSError, ValueError) as fault:
        raise Unusable(f"{name}: {fault}") from fault
    missing = {"query_id", "model", "score"} - set(rows[0] if rows else ())
    if missing:
        raise Unusable(
            f"{name}: no column {', '.join(sorted(missing))}; it needs query_id, model, score and benchmark."
        )
    return rows, {str(query["query_id"]): query for query in listed}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a set become a table."""

    keep: Callable[[Row], bool] = lambda row: True
    models: frozenset[str] | None = None
    """Only these, and all of these; None: those that have enough."""
    step: Callable[[Row, Row], str] = lambda row, query: str(row.get("benchmark") or "*")
    text: Callable[[Row], str] = lambda query: str(query.get("prompt") or "")


def table(name: str, rows: Iterable[Row], queries: Mapping[str, Row], how: Reading | None = None) -> Table:
    """The matrices of a set. Several rows of one cell are averaged.

    Raises:
        Unusable: fewer than two models, or fewer than ten queries, are left.
    """
    how = how or Reading()
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if how.keep(row) and (how.models is None or row["model"] in how.models):
            cells.setdefault((str(row["query_id"]), str(row["model"])), []).append(row)
    ids, models = sorted({key[0] for key in cells}), sorted({key[1] for key in cells})
    at = {query: index for index, query in enumerate(ids)}
    column = {model: index for index, model in enumerate(models)}
    score, cost, latency = (np.full((len(ids), len(models)), np.nan) for _ in range(3))
    trials = np.zeros((len(ids), len(models)))
    step_of: dict[str, str] = {}
    for (query, model), held in cells.items():
        place = at[query], column[model]
        score[place] = _mean(held, "score")
        cost[place], latency[place] = _mean(held, "cost_usd"), _mean(held, "latency_s")
        trials[place] = sum(float(row.get("n_trials") or 1) for row in held)
        step_of.setdefault(query, how.step(held[0], queries.get(query, {})))
    kept, left_out = _models(models, score, cost, fixed=how.models is not None)
    score, cost, latency, trials = score[:, kept], cost[:, kept], latency[:, kept], trials[:, kept]
    enough = np.isfinite(score).sum(1) >= int(ANSWERED * len(kept)) if len(kept) else np.zeros(len(ids), dtype=bool)
    if len(kept) < 2 or enough.sum() < 10:
        raise Unusable(f"{name}: {len(kept)} models on {int(enough.sum())} shared queries; a choice needs 2 on 10.")
    rows_left = np.flatnonzero(enough)
    ids = [ids[row] for row in rows_left]
    names = sorted({step_of[query] for query in ids})
    return Table(
        name=name,
        queries=tuple(ids),
        models=tuple(models[index] for index in kept),
        steps=tuple(names),
        step=np.array([names.index(step_of[query]) for query in ids], dtype=np.int64),
        score=_filled(score[rows_left]),
        cost=_known(cost[rows_left]),
        latency=_known(latency[rows_left]),
        trials=trials[rows_left],
        texts=tuple(how.text(queries.get(query, {})) for query in ids),
        left_out=left_out,
    )


def _mean(rows: Sequence[Row], name: str) -> float:
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else float("nan")


def _models(models: Sequence[str], score: Matrix, cost: Matrix, *, fixed: bool) -> tuple[list[int], dict[str, str]]:
    """Which models have enough, and why the others are out."""
    priced = bool(np.isfinite(cost).any())
    kept, out = [], {}
    for index, model in enumerate(models):
        scored = float(np.isfinite(score[:, index]).mean())
        costed = float(np.isfinite(cost[:, index]).mean())
        if not fixed and scored < SCORED:
            out[model] = f"scored on {scored:.0%} of the queries"
        elif not fixed and priced and costed < SCORED:
            out[model] = f"costed on {costed:.0%} of the queries"
        else:
            kept.append(index)
    return kept, out


def _filled(values: Matrix) -> Matrix:
    mean = np.nanmean(values, axis=0)
    return np.where(np.isfinite(values), values, mean[None])


def _known(values: Matrix) -> Matrix | None:
    return _filled(values) if np.isfinite(values).any(axis=0).all() else None
