"""Outcome tables as matrices: queries × models of quality, cost and latency, with each query's step and text."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowException, parquet

Matrix = NDArray[np.float64]
Row = Mapping[str, Any]
Key = tuple[str, str]
"""A query and its step."""

ENDING = ".outcomes.parquet"
SCORED, ANSWERED = 0.95, 0.90
"""A model is kept when it has this share of the queries; a query when it has this share of those models."""


class Unusable(Exception):
    """A table that cannot be judged, and why."""


class Broken(Unusable):
    """A table that is not what it should be: its file, its columns or its values."""


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
        Broken: a file cannot be read, or lacks a column.
    """
    rows = _rows(folder / f"{name}{ENDING}", ("query_id", "model", "score"))
    path = folder / f"{name}.queries.parquet"
    listed = _rows(path, ("query_id",)) if path.exists() else []
    return rows, {str(query["query_id"]): query for query in listed}


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a file that has these columns, and a value in the first two of each row."""
    try:
        found = parquet.read_table(path)
    except (OSError, ValueError, ArrowException) as fault:
        raise Broken(f"{path.name} cannot be read: {str(fault).splitlines()[0]}") from fault
    missing = [column for column in needed if column not in found.column_names]
    if missing:
        raise Broken(f"{path.name} has no column {', '.join(missing)}; it needs {', '.join(needed)}.")
    for column in needed[:2]:
        if found[column].null_count:
            raise Broken(f"{path.name}: {found[column].null_count} rows have no {column}.")
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a set become a table."""

    keep: Callable[[Row], bool] = lambda row: True
    models: frozenset[str] | None = None
    """Only these, and all of these; None: those that have enough."""
    step: Callable[[Row, Row], str] = lambda row, query: str(row.get("benchmark") or query.get("benchmark") or "*")
    text: Callable[[Row], str] = lambda query: str(query.get("prompt") or "")


def table(name: str, rows: Iterable[Row], queries: Mapping[str, Row], how: Reading | None = None) -> Table:
    """The matrices of a set. Several rows of one cell are averaged, each by its trials; one query at two steps is two.

    Raises:
        Broken: a value is no number, or not one that it can be.
        Unusable: fewer than two models, or fewer than ten queries, are left.
    """
    how = how or Reading()
    cells: dict[tuple[Key, str], list[Row]] = {}
    for row in rows:
        if how.keep(row) and (how.models is None or row["model"] in how.models):
            query = str(row["query_id"])
            key = query, how.step(row, queries.get(query, {}))
            cells.setdefault((key, str(row["model"])), []).append(row)
    keys, models = sorted({key[0] for key in cells}), sorted({key[1] for key in cells})
    score, cost, latency, trials = _matrices(name, cells, keys, models)
    kept, left_out = _models(models, score, cost, fixed=how.models is not None)
    score, cost, latency, trials = score[:, kept], cost[:, kept], latency[:, kept], trials[:, kept]
    enough = np.isfinite(score).sum(1) >= int(ANSWERED * len(kept)) if len(kept) else np.zeros(len(keys), dtype=bool)
    if len(kept) < 2 or enough.sum() < 10:
        raise Unusable(f"{name}: {len(kept)} models on {int(enough.sum())} shared queries; a choice needs 2 on 10.")
    rows_left = np.flatnonzero(enough)
    keys = [keys[row] for row in rows_left]
    place = {step: index for index, step in enumerate(sorted({step for _, step in keys}))}
    return Table(
        name=name,
        queries=tuple(query for query, _ in keys),
        models=tuple(models[index] for index in kept),
        steps=tuple(place),
        step=np.array([place[step] for _, step in keys], dtype=np.int64),
        score=_filled(score[rows_left]),
        cost=_known(cost[rows_left]),
        latency=_known(latency[rows_left]),
        trials=trials[rows_left],
        texts=tuple(how.text(queries.get(query, {})) for query, _ in keys),
        left_out=left_out,
    )


def _matrices(
    name: str, cells: Mapping[tuple[Key, str], Sequence[Row]], keys: Sequence[Key], models: Sequence[str]
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Score, cost, latency and trials; NaN: not known."""
    at = {key: index for index, key in enumerate(keys)}
    column = {model: index for index, model in enumerate(models)}
    score, cost, latency = (np.full((len(keys), len(models)), np.nan) for _ in range(3))
    trials = np.zeros((len(keys), len(models)))
    for (key, model), held in cells.items():
        place = at[key], column[model]
        weights = [_number(name, row, "n_trials", most=math.inf) for row in held]
        weights = [weight if weight > 0 else 1.0 for weight in weights]  # not known: one run
        score[place] = _mean(weights, [_number(name, row, "score", most=1.0) for row in held])
        cost[place] = _mean(weights, [_number(name, row, "cost_usd", most=math.inf) for row in held])
        latency[place] = _mean(weights, [_number(name, row, "latency_s", most=math.inf) for row in held])
        trials[place] = sum(weights)
    return score, cost, latency, trials


def _number(name: str, row: Row, column: str, *, most: float) -> float:
    """A value from 0 to `most`; NaN when there is none."""
    value = row.get(column)
    if value is None:
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError) as fault:
        raise Broken(f"{name}: {column} is {value!r} for query {row['query_id']}, and no number.") from fault
    if found < 0 or found > most or math.isinf(found):
        wanted = "it must be from 0 to 1" if most == 1.0 else "it must be 0 or more"
        raise Broken(f"{name}: {column} is {value!r} for query {row['query_id']}; {wanted}.")
    return found


def _mean(weights: Sequence[float], values: Sequence[float]) -> float:
    known = [(weight, value) for weight, value in zip(weights, values, strict=True) if not math.isnan(value)]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if known else math.nan


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
