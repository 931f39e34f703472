"""A budget spent to the end and never beyond it, and how soon a model that arrives late is used: replays of real outcomes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_gateway.bench.data import Table
from fw_gateway.bench.gate import Gate, at_most, unmeasured
from fw_gateway.bench.held_out import best_single
from fw_policies.learn import pacer

REPLAYS = 5
MOST = 20_000
"""Calls of a replay; ten times the queries if that is fewer."""
OFF, SOON = 0.004, 142.0
"""|spent − budget| ÷ budget, and calls until a new model is used, as ParetoBandit's authors have them."""
WINDOW = 50
"""Calls over which the share of the new model is taken for the picture."""


@dataclass(frozen=True, slots=True)
class Paced:
    """What the pictures show."""

    budget: float
    """US dollars for the replay."""
    trail: NDArray[np.float64]
    """Spent after each call."""
    model: str
    """The one that arrives late."""
    arrivals: tuple[tuple[NDArray[np.float64], int | None], ...]
    """Per replay: the new model's share of the last `WINDOW` calls, from its arrival on, and the calls until that is half of the final one."""


def pacing(table: Table, *, seed: int) -> tuple[list[Gate], Paced | None]:
    """Both gates, and what to draw; nothing to draw where costs leave nothing to pace."""
    assert table.cost is not None  # noqa: S101 - asked only of tables with costs
    best = best_single(table)
    dear, cheapest = float(table.cost[:, best].mean()), float(table.cost.mean(0).min())
    calls = min(10 * len(table.queries), MOST)
    per_call = cheapest + 0.3 * (dear - cheapest)
    if per_call <= 0:
        return [
            unmeasured("budget pacing: |spent − budget| ÷ budget", table.name, "the best model costs nothing")
        ], None
    found = pacer.pace(
        table.cost, table.score, per_call * calls, seed=seed, steps=table.step, replay=pacer.Replay(calls=calls)
    )
    note = f"{calls} calls; ceiling {'kept' if found['ceiling_kept'] else 'broken'}; {found['declined']} declined; quality {found['quality']:.3f}"
    label = "budget pacing: |spent − budget| ÷ budget"
    if found["binding"] or not found["ceiling_kept"]:
        first = at_most(label, table.name, found["error"], target=OFF, anchor=OFF, note=note, unit="share")
    else:  # what the best models would not use up need not be spent
        note = f"{note}; the budget does not bind"
        first = Gate(label, table.name, found["error"], OFF, None, None, note=note, unit="share")
    arrivals = tuple(_arrivals(table, best, calls // 2, seed))
    paced = Paced(per_call * calls, found["trail"], table.models[best], arrivals)
    return [first, _adoption(table.name, arrivals)], paced


def _arrivals(table: Table, best: int, calls: int, seed: int) -> Iterator[tuple[NDArray[np.float64], int | None]]:
    """Replays in which the best model can be had only from the middle on."""
    assert table.cost is not None  # noqa: S101
    at = calls // 2
    budget = float(table.cost[:, best].mean()) * 1.2 * calls
    for number in range(REPLAYS):
        replay = pacer.Replay(calls=calls, arrival=(best, at))
        found = pacer.pace(table.cost, table.score, budget, seed=seed + number, steps=table.step, replay=replay)
        served = np.cumsum(np.r_[0.0, found["taken"][at:] == best])
        ends = np.arange(1, len(served))
        share = (served[ends] - served[np.maximum(0, ends - WINDOW)]) / WINDOW
        yield share, found["adoption"]


def _adoption(name: str, arrivals: tuple[tuple[NDArray[np.float64], int | None], ...]) -> Gate:
    label = "calls until a new model is used"
    used = [float(calls) for _, calls in arrivals if calls is not None]
    if not used:
        return unmeasured(label, name, "the new model was not used in any replay")
    note = f"median of {len(used)} of {len(arrivals)} replays: {', '.join(f'{value:.0f}' for value in used)}"
    return at_most(label, name, float(np.median(used)), target=SOON, anchor=SOON, note=note, unit="calls")
