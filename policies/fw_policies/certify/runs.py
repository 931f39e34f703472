"""Runs of a step as they were seen, and the two halves of them: one chooses, the other tests."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
FIT = 0.5
LEAST = 20
"""Runs of a model below which it is not considered."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What quality must reach: `level`, or `ratio` × the baseline's mean − `margin`."""

    level: float | None = None
    ratio: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a step by one model: its name, its outcome in 0..1, its cost in nano-USD (None: unknown)."""

    run: str
    value: float
    cost: float | None
    text: bytes | None = None
    """What its first call said, embedded, a whole number a byte; None: it was not kept."""
    chance: float = 1.0
    """Probability with which the model was drawn for it."""


def by_run(runs: Sequence[Seen]) -> list[Seen]:
    """One value per run, the mean of its own: what calls of one run share was observed once."""
    if len({one.run for one in runs}) == len(runs):
        return list(runs)
    found: dict[str, list[Seen]] = {}
    for one in runs:
        found.setdefault(one.run, []).append(one)
    out = []
    for run, mine in found.items():
        costs = [one.cost for one in mine if one.cost is not None]
        cost = sum(costs) / len(mine) if len(costs) == len(mine) else None
        value = sum(one.value for one in mine) / len(mine)
        out.append(Seen(run, value, cost, mine[0].text, mine[0].chance))
    return out


def chooses(run: str) -> bool:
    """Whether a run is of the half that chooses, by a hash of its name; else it tests."""
    return int.from_bytes(hashlib.blake2b(run.encode(), digest_size=4).digest()) / 2**32 < FIT


def halves(runs: Sequence[Seen]) -> tuple[tuple[Vector, Vector], tuple[Vector, Vector]]:
    """(outcomes, costs) of the half that chooses and of the half that tests."""
    fit = [chooses(run.run) for run in runs]
    parts = []
    for wanted in (True, False):
        mine = [run for run, own in zip(runs, fit, strict=True) if own is wanted]
        costs = [np.nan if run.cost is None else run.cost for run in mine]
        parts.append((np.array([run.value for run in mine], dtype=float), np.array(costs, dtype=float)))
    return parts[0], parts[1]
