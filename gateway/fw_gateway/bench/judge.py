"""The gates of one set of outcomes: savings on held-out queries, promises, what the log alone could have told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fw_gateway.bench import routers
from fw_gateway.bench.calibration import Calibration, calibration
from fw_gateway.bench.data import Row, Table
from fw_gateway.bench.gate import Gate, at_least, at_most, unmeasured
from fw_gateway.bench.held_out import SHARES, Saves, best_single, out_of_fold, saves, zero_router
from fw_gateway.bench.promises import SPLITS, Ask, Kept, dearer, estimated, keep, share
from fw_gateway.bench.sets import Known
from fw_policies.learn import drift, ope
from fw_policies.search.frontier import saved

Say = Callable[[str], None]
FLOORS = (0.98, 0.95, 0.90)
"""Promises of a set without known ones: these shares of the best single model's mean."""
LOGGED = 20_000
"""Calls in a log that a what-if reads; twice as many where one in fifty is explored."""
BROKEN_RUN = "2025-10-08-selfhosted"
ALPHA = 0.05
LOGS = 200
"""Logs below which a coverage is printed and not judged: its own error is as large as what is asked."""
FEWEST = 100
"""Queries below which a promise cannot be split in three."""


@dataclass(frozen=True, slots=True)
class Case:
    """A set and a router that is judged on it."""

    table: Table
    known: Known | None
    """None: nothing is known of the set."""
    vectors: routers.Matrix
    """Of the texts."""
    router: routers.Router


def saving(case: Case, *, seeds: int) -> tuple[list[Gate], Saves, Saves]:
    """save@100, @99, @95 against the best single model, beside the Zero router and the step's mean; with the frontiers of both."""
    table, known = case.table, case.known
    assert table.cost is not None  # noqa: S101 - asked only of tables with costs
    best = best_single(table)
    quality, cost = float(table.score[:, best].mean()), float(table.cost[:, best].mean())
    zero = [saved(zero_router(table), quality, cost, share) for share in SHARES]
    mine = saves(table, case.vectors, case.router, seeds=seeds)
    step = saves(table, case.vectors, routers.by_step, seeds=seeds, draws=1)
    gates = []
    for index, part in enumerate(SHARES):
        wanted = known.targets[index] if known is not None else None
        anchor = known.anchors[index] if known is not None else None
        note = (
            f"Zero router {zero[index]:.1%}, step mean {step.mean[index]:.1%}; {table.models[best]} is the best single"
        )
        if len(table.queries) < FEWEST:
            note += f"; {len(table.queries)} queries are too few to tell routers apart: the interval says so"
        gates.append(
            at_least(
                f"save@{part * 100:g}",
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
    return gates, mine, step


def calibrated(case: Case, mine: Saves | None, step: Saves | None, *, seed: int) -> tuple[Gate, list[Calibration]]:
    """How far estimates are from what comes of them, beside the step's mean; for reading, as chance alone makes it more than 0."""
    table = case.table
    found = []
    for router, known in ((case.router, mine), (routers.by_step, step)):
        expected = known.expected if known is not None else out_of_fold(table, case.vectors, router, seed)[0]
        picks = known.picks if known is not None else None
        found.append(calibration(table, expected, picks, np.random.default_rng((seed, 3))))
    ours, anchor = found
    note = "mean distance of expected and held-out quality over ten bins; the anchor is the step's mean"
    if ours.chosen is not None and anchor.chosen is not None:
        note += f"; where quality alone chooses, expected − seen is {ours.chosen.excess:+.3f}, step's mean {anchor.chosen.excess:+.3f}"
    errors = ours.bins.error, anchor.bins.error
    return Gate("calibration error", table.name, *errors, None, None, note=note, unit="share"), found


def promising(
    case: Case, *, own: bool, seed: int, splits: int = SPLITS, say: Say = lambda text: None
) -> Iterator[tuple[Gate, list[Kept]]]:
    """Broken promises over random splits, and what keeping them costs, beside the naive and the calibrated plan.

    `own`: the router makes promises of its own, by its own estimates; else the certified plans are judged.
    """
    table = case.table
    if len(table.queries) < FEWEST:
        why = f"{len(table.queries)} queries, {FEWEST} are needed for three parts"
        yield unmeasured("promises broken", table.name, why), []
        return
    asks = _asks(case, latency=not own)
    theirs = (
        estimated(table, case.vectors, case.router, [ask for ask, _ in asks], seed=seed, splits=splits) if own else []
    )
    for number, (ask, published) in enumerate(asks):
        label = f"q* {ask.quality:.3g}" + (
            f", P(L > {ask.limit:g} s) ≤ {ask.late:.0%}" if ask.limit is not None else ""
        )
        say(f"{table.name}: promises, {label}")
        three = [keep(table, ask, who, seed=seed, splits=splits) for who in ("naive", "calibrated")]
        naive, calm = three
        mine = theirs[number] if own else keep(table, ask, "ours", seed=seed, splits=splits)
        three.append(mine)
        note = (
            f"answered {mine.answered} of {splits}; below at all {mine.below}; naive {naive.broken} broken, {naive.below} below; "
            f"calibrated {calm.broken} broken, {calm.answered} answered"
        )
        broken, anchor = mine.broken / splits, naive.broken / splits
        low, high = share(mine.broken, splits)
        yield (
            at_most(
                f"promises broken, {label}",
                table.name,
                broken,
                target=0.10,
                anchor=anchor,
                low=low,
                high=high,
                note=note,
                unit="share",
            ),
            three,
        )
        yield _cost(case, f"cost of promises, {label}", (mine, calm), published), []


def _cost(case: Case, label: str, pair: tuple[Kept, Kept], published: float | None) -> Gate:
    """What keeping a promise costs. On a set that nobody has measured, no more than chance may make it dearer than the calibrated plan."""
    mine, calm = pair
    paid = f"published for the calibrated plan where it answers: ${published:g}" if published is not None else ""
    gate = at_most(label, case.table.name, mine.cost, target=calm.cost, anchor=calm.cost, note=paid, unit="USD")
    errors = dearer(mine, calm)
    if gate.passed or case.known is not None or errors > 1.64:
        return gate
    return replace(
        gate, passed=True, note=f"dearer by {errors:.1f} standard errors of the difference: no more than chance"
    )


def _asks(case: Case, *, latency: bool) -> Sequence[tuple[Ask, float | None]]:
    """What is promised; without the limits on latency for a router that has no estimate of it."""
    if case.known is None or not case.known.asks:
        top = float(case.table.score.mean(0).max())
        return [(Ask(part * top), None) for part in FLOORS] if top > 0 else []
    if latency:
        return case.known.asks
    return [(replace(ask, limit=None), None if ask.limit is not None else paid) for ask, paid in case.known.asks]


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


def off_policy(case: Case, *, seed: int, repetitions: int = 1000) -> Iterator[Gate]:
    """Coverage of what-if intervals on logs with few explored calls. The anchor is the plain interval's: published, or of this run."""
    table = case.table
    for epsilon, published in ((0.02, 0.65), (0.1, 0.89), (0.3, 0.94)):
        rows = LOGGED if epsilon > 0.05 else 2 * LOGGED
        found = ope.coverage(table.score, table.step, epsilon, seed=seed, repetitions=repetitions, rows=rows)
        plain = float(found["naive_coverage"] or 0)
        gate = Gate(
            f"what-if coverage at ε = {epsilon:g}",
            table.name,
            found["coverage"],
            published if case.known is not None else plain,
            0.93,
            None,
            low=found["low"],
            high=found["high"],
            note=f"answered {found['answered']} of {repetitions}; plain doubly robust covers {plain:.0%}",
            unit="share",
        )
        if found["coverage"] is None:
            yield replace(gate, note="every what-if was refused: too few explored calls")
        elif int(found["answered"] or 0) < LOGS:
            yield replace(gate, note=f"{gate.note}; too few to judge")
        else:
            yield replace(gate, passed=found["coverage"] >= 0.93)


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
