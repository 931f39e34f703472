"""The gates of one set of outcomes: savings on held-out queries, promises, what the log alone could have told."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from fw_gateway.bench import routers
from fw_gateway.bench.data import Row, Table
from fw_gateway.bench.gate import Gate, at_least, at_most, unmeasured
from fw_gateway.bench.held_out import SHARES, Saves, best_single, saves, zero_router
from fw_gateway.bench.promises import SPLITS, Ask, Kept, keep
from fw_gateway.bench.sets import KNOWN
from fw_policies.learn import drift, ope, pacer
from fw_policies.search.frontier import saved

Say = Callable[[str], None]
FLOORS = (0.98, 0.95, 0.90)
"""Promises of a set without known ones: these shares of the best single model's mean."""
LOGGED = 20_000
"""Calls in a log that a what-if reads; twice as many where one in fifty is explored."""
BROKEN_RUN = "2025-10-08-selfhosted"
ALPHA = 0.05
FEWEST = 100
"""Queries below which a promise cannot be split in three."""


def saving(table: Table, vectors: routers.Matrix, router: routers.Router, *, seeds: int) -> tuple[list[Gate], Saves]:
    """save@100, @99, @95 against the best single model, beside the Zero router and the step's mean."""
    known = KNOWN.get(table.name)
    assert table.cost is not None  # noqa: S101 - asked only of tables with costs
    best = best_single(table)
    quality, cost = float(table.score[:, best].mean()), float(table.cost[:, best].mean())
    zero = [saved(zero_router(table), quality, cost, share) for share in SHARES]
    mine = saves(table, vectors, router, seeds=seeds)
    step = saves(table, vectors, routers.by_step, seeds=seeds, draws=1)
    gates = []
    for index, share in enumerate(SHARES):
        wanted = known.targets[index] if known is not None else None
        anchor = known.anchors[index] if known is not None else None
        note = (
            f"Zero router {zero[index]:.1%}, step mean {step.mean[index]:.1%}; {table.models[best]} is the best single"
        )
        if len(table.queries) < FEWEST:
            note += f"; {len(table.queries)} queries are too few to tell routers apart: the interval says so"
        gates.append(
            at_least(
                f"save@{share * 100:g}",
                table.name,
                mine.mean[index],
                target=zero[index] if wanted is None else wanted,
                anchor=zero[index] if anchor is None else anchor,
                low=mine.low[index],
                high=mine.high[index],
                note=note,
                unit="share",
            )
        )
    return gates, mine


def promising(
    table: Table, *, seed: int, splits: int = SPLITS, say: Say = lambda text: None
) -> Iterator[tuple[Gate, list[Kept]]]:
    """Broken promises over random splits, and what keeping them costs, beside the naive and the calibrated plan."""
    known = KNOWN.get(table.name)
    if len(table.queries) < FEWEST:
        yield (
            unmeasured(
                "promises broken", table.name, f"{len(table.queries)} queries, {FEWEST} are needed for three parts"
            ),
            [],
        )
        return
    top = float(table.score.mean(0).max())
    asks = known.asks if known is not None and known.asks else tuple((Ask(share * top), None) for share in FLOORS)
    for ask, published in asks:
        label = f"q* {ask.quality:.3g}" + (
            f", P(L > {ask.limit:g} s) ≤ {ask.late:.0%}" if ask.limit is not None else ""
        )
        say(f"{table.name}: promises, {label}")
        three = [keep(table, ask, who, seed=seed, splits=splits) for who in ("naive", "calibrated", "ours")]
        naive, calibrated, mine = three
        note = (
            f"answered {mine.answered} of {splits}; below at all {mine.below}; naive {naive.broken} broken, {naive.below} below; "
            f"calibrated {calibrated.broken} broken, {calibrated.answered} answered"
        )
        yield (
            at_most(
                f"promises broken, {label}",
                table.name,
                mine.broken / splits,
                target=0.10,
                anchor=naive.broken / splits,
                note=note,
                unit="share",
            ),
            three,
        )
        paid = f"published for the calibrated plan where it answers: ${published:g}" if published is not None else ""
        yield (
            at_most(
                f"cost of promises, {label}",
                table.name,
                mine.cost,
                target=calibrated.cost,
                anchor=calibrated.cost,
                note=paid,
                unit="USD",
            ),
            [],
        )


def infeasible(table: Table, *, seed: int, splits: int = SPLITS) -> Gate:
    """BFCL within 2 s at 0.86: no single model does it; a mixture is found and certified, or honestly declined."""
    found = keep(table, Ask(0.86, 2.0), "ours", seed=seed, splits=splits)
    note = f"certified in {found.answered} of {splits} splits, declined in the others; {found.below} below at all"
    return at_most(
        "infeasible or not: q* 0.86, P(L > 2 s) ≤ 5%",
        table.name,
        found.broken / splits,
        target=0.10,
        note=note,
        unit="share",
    )


def off_policy(table: Table, *, seed: int, repetitions: int = 1000) -> Iterator[Gate]:
    """Coverage of what-if intervals on logs with few explored calls."""
    for epsilon, anchor in ((0.02, 0.65), (0.1, 0.89), (0.3, 0.94)):
        rows = LOGGED if epsilon > 0.05 else 2 * LOGGED
        found = ope.coverage(table.score, table.step, epsilon, seed=seed, repetitions=repetitions, rows=rows)
        label = f"what-if coverage at ε = {epsilon:g}"
        if not found["answered"]:
            yield Gate(
                label,
                table.name,
                None,
                anchor,
                0.93,
                passed=True,
                note="every what-if was refused: too few explored calls",
            )
            continue
        note = (
            f"answered {found['answered']} of {repetitions}; plain doubly robust covers {found['naive_coverage']:.0%}"
        )
        yield at_least(
            label,
            table.name,
            float(found["coverage"] or 0),
            target=0.93,
            anchor=anchor,
            low=found["low"],
            high=found["high"],
            note=note,
            unit="share",
        )


def pacing(table: Table, *, seed: int) -> Iterator[Gate]:
    """A budget spent to the end and never beyond it, and how soon a new model is used."""
    assert table.cost is not None  # noqa: S101 - asked only of tables with costs
    best = best_single(table)
    cheapest = float(table.cost.mean(0).min())
    calls = 10 * len(table.queries)
    per_call = cheapest + 0.3 * (float(table.cost[:, best].mean()) - cheapest)
    found = pacer.pace(
        table.cost, table.score, per_call * calls, seed=seed, steps=table.step, replay=pacer.Replay(calls=calls)
    )
    note = f"{calls} calls; ceiling {'kept' if found['ceiling_kept'] else 'broken'}; {found['declined']} declined; quality {found['quality']:.3f}"
    yield at_most(
        "budget pacing: |spent − budget| ÷ budget",
        table.name,
        found["error"],
        target=0.004,
        anchor=0.004,
        note=note,
        unit="share",
    )
    adopted = []
    for number in range(5):
        replay = pacer.Replay(calls=calls // 2, arrival=(best, calls // 4))
        budget = float(table.cost[:, best].mean()) * 1.2 * (calls // 2)
        again = pacer.pace(table.cost, table.score, budget, seed=seed + number, steps=table.step, replay=replay)
        if again["adoption"] is not None:
            adopted.append(float(again["adoption"]))
    if not adopted:
        yield unmeasured("calls until a new model is used", table.name, "the new model was not used in any replay")
        return
    note = f"median of {len(adopted)} of 5 replays: {', '.join(f'{value:.0f}' for value in adopted)}"
    yield at_most(
        "calls until a new model is used",
        table.name,
        float(np.median(adopted)),
        target=142,
        anchor=142,
        note=note,
        unit="calls",
    )


def quarantine(rows: Sequence[Row], *, seed: int, orders: int = 20) -> Gate:
    """HolmesGPT's run in which two models answered nothing: how soon their outcomes alone take them out, and nobody else.

    Feared is a mean below half of what the median model of the earlier runs had; the alarm is an e-process at 1/0.05. The questions
    come in `orders` random orders; the figure is the worst of them.
    """
    by_model: dict[str, list[float]] = {}
    earlier: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["run"] == BROKEN_RUN:
            by_model.setdefault(row["model"], []).append(float(row["score"]))
        else:
            earlier.setdefault((row["run"], row["model"]), []).append(float(row["score"]))
    feared = float(np.median([np.mean(values) for values in earlier.values()])) / 2
    dead = {model for model, values in by_model.items() if np.mean(values) < 0.05}
    worst, wrong = 0, 0
    for model, values in by_model.items():
        for number in range(orders):
            rng = np.random.default_rng((seed, number))
            calls = _until(rng.permutation(values), feared)
            if model in dead:
                worst = max(worst, calls if calls is not None else len(values))
            else:
                wrong += calls is not None
    sound = len(by_model) - len(dead)
    note = f"{len(dead)} models, {orders} orders; false alarms on the {sound} others: {wrong} of {sound * orders}"
    return at_most("calls until a broken model is out", "holmesgpt_sre", worst, target=19, note=note, unit="calls")


def _until(values: Iterable[float], promised: float) -> int | None:
    """Outcomes until the alarm; None when there is none."""
    evidence = drift.Evidence(promised)
    for number, value in enumerate(values, 1):
        evidence = drift.outcome(evidence, float(value))
        if evidence.e >= 1 / ALPHA:
            return number
    return None
