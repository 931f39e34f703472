"""Pictures of a verdict, one of each kind per set: frontiers, calibration, promises, pacing."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fw_gateway.bench.calibration import Calibration
from fw_gateway.bench.held_out import Front
from fw_gateway.bench.pacing import OFF, SOON, WINDOW, Paced
from fw_gateway.bench.promises import Kept, share
from fw_policies.search.frontier import Frontier, Vector

mpl.use("Agg")
OURS, OTHER, PLAIN = "#1f5fa8", "#c8641e", "#7a7a7a"
DPI = 130
LONGEST = 46


def frontiers(name: str, fronts: Sequence[Front], out: Path) -> Path:
    """Quality against cost on held-out queries: all steps together, then each, with 90 % intervals."""
    columns = min(len(fronts), 4)
    rows = -(-len(fronts) // columns)
    figure = Figure(figsize=(max(6.4, 3.5 * columns), 3.1 * rows + 1.1), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, front in zip(panels, fronts, strict=False):
        title = _short(front.step.replace("_", " ")) if front.step else "all steps"
        axes.set_title(f"{title}\n{front.queries} queries", fontsize=8.5)
        _front(axes, front)
    for axes in panels[len(fronts) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(f"{name}: quality against cost on held-out queries, 90 % intervals")
    for axes in panels[max(0, len(fronts) - columns) : len(fronts)]:
        axes.set_xlabel("cost of a query, US dollars", fontsize=9)
    for axes in panels[: len(fronts) : columns]:
        axes.set_ylabel("mean quality", fontsize=9)
    return _written(figure, out / f"{name}.frontier.png")


def _front(axes: Axes, front: Front) -> None:
    axes.fill_between(front.cost, front.low, front.high, color=OURS, alpha=0.18, linewidth=0, label="its 90 % interval")
    axes.scatter(*front.singles, s=14, color=PLAIN, alpha=0.8, label="single models", zorder=2)
    axes.plot(*_mixed(front.zero), color=PLAIN, linestyle="--", linewidth=1, label="Zero router (random mixing)")
    axes.plot(*_mixed(front.points), color=OURS, linewidth=1.7, label="this router", zorder=3)
    if (front.singles[0] > 0).all():
        axes.set_xscale("log")
    axes.tick_params(labelsize=8)
    axes.minorticks_off()
    axes.grid(alpha=0.2)


def _mixed(found: Frontier) -> tuple[Vector, Vector]:
    """A frontier with the mixtures between its points: a straight line is none on a logarithmic axis."""
    parts = np.linspace(0, 1, 40)
    places = (
        np.r_[[low + (high - low) * parts for low, high in pairwise(found.cost)]].ravel()
        if len(found.cost) > 1
        else found.cost
    )
    return places, np.interp(places, found.cost, found.quality)


def calibrated(name: str, found: Sequence[Calibration], out: Path) -> Path:
    """Expected against held-out quality: in bins over all models, and of what is chosen."""
    chosen = all(one.chosen is not None for one in found)
    figure = Figure(figsize=(10 if chosen else 5.4, 4.8), layout="constrained")
    panels = figure.subplots(1, 2 if chosen else 1, squeeze=False)[0]
    named = list(zip(("this router", "step mean"), (OURS, OTHER), ("o", "s"), found, strict=True))
    for label, colour, marker, one in named:
        bins = one.bins
        bars = np.abs(np.stack([bins.seen - bins.low, bins.high - bins.seen]))
        panels[0].errorbar(
            bins.expected,
            bins.seen,
            bars,
            fmt=marker,
            ms=5,
            capsize=2,
            color=colour,
            lw=1,
            label=f"{label}: off by {bins.error:.3f}",
        )
    panels[0].set_title("all models: estimates in ten bins of equal size", fontsize=10)
    if chosen:
        for label, colour, _, one in named:
            if one.chosen is not None:
                order = np.argsort(one.chosen.expected, kind="stable")
                level = one.chosen.expected[order]
                panels[1].fill_between(
                    level, one.chosen.low[order], one.chosen.high[order], color=colour, alpha=0.15, lw=0
                )
                panels[1].plot(
                    level,
                    one.chosen.seen[order],
                    color=colour,
                    lw=1.6,
                    label=f"{label}: expected − seen {one.chosen.excess:+.3f} at the best",
                )
        panels[1].set_title("the models that it chooses, from the cheapest to the best", fontsize=10)
    for axes in panels:
        low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([low, high], [low, high], color=PLAIN, linestyle="--", linewidth=1, label="as expected", zorder=0)
        axes.set(
            xlabel="expected quality", ylabel="mean quality on held-out queries", xlim=(low, high), ylim=(low, high)
        )
        axes.grid(alpha=0.2)
        axes.legend(frameon=False, loc="upper left", fontsize=9)
    figure.suptitle(f"{name}: calibration, 90 % intervals over queries")
    return _written(figure, out / f"{name}.calibration.png")


def promised(name: str, found: Sequence[Sequence[Kept]], out: Path) -> Path:
    """Broken promises, promises made, and the cost, by what was promised."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    broken, made, cost = figure.subplots(1, 3)
    places = np.arange(len(found))
    who = ("naive", "calibrated", "this router" if found[0][2].who == "router" else "ours, certified")
    for index, (label, colour) in enumerate(zip(who, (OTHER, PLAIN, OURS), strict=True)):
        kept = [three[index] for three in found]
        at, splits = places + (index - 1) * 0.27, kept[0].splits
        value = np.array([one.broken / splits for one in kept])
        bounds = np.array([share(one.broken, splits) for one in kept]).T
        bars = np.abs(np.stack([value - bounds[0], bounds[1] - value]))
        broken.bar(
            at, value, 0.25, color=colour, label=label, yerr=bars, capsize=2, error_kw={"lw": 0.9, "ecolor": "0.25"}
        )
        made.bar(at, [one.answered / splits for one in kept], 0.25, color=colour)
        cost.bar(at, [one.cost for one in kept], 0.25, color=colour)
    broken.axhline(0.10, color="0.2", linewidth=0.9, linestyle="--", label="allowed: 10 %")
    for axes, title in (
        (broken, "promises broken, of all splits (90 % interval)"),
        (made, "promises made, of all splits"),
        (cost, "cost of a query, US dollars (declined included)"),
    ):
        axes.set_title(title, fontsize=10)
        axes.set_xticks(places, [_asked(three[0]) for three in found], fontsize=8)
        axes.grid(axis="y", alpha=0.2)
    for axes in (broken, made):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    made.set_ylim(0, 1.05)
    broken.set_ylim(0, None)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(f"{name}: promises on {found[0][0].splits} random splits")
    return _written(figure, out / f"{name}.promises.png")


def _asked(kept: Kept) -> str:
    limit = kept.ask.limit
    return f"quality ≥ {kept.ask.quality:.3g}" + (
        f"\nP(> {limit:g} s) ≤ {kept.ask.late:.0%}" if limit is not None else ""
    )


def paced(name: str, found: Paced, out: Path) -> Path:
    """What is spent against the share of the calls that are done, and the share of a model that arrives late."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    spent, gap, late = figure.subplots(1, 3)
    done = np.arange(1, len(found.trail) + 1) / len(found.trail)
    rate = found.trail / found.budget
    spent.plot([0, 1], [0, 1], color=PLAIN, linestyle="--", linewidth=1, label="even pace")
    spent.plot(done, rate, color=OURS, linewidth=1.6, label=f"spent: {rate[-1]:.3%} in the end")
    spent.axhline(1, color=OTHER, linewidth=1, label=f"ceiling: ${found.budget:,.3g}")
    spent.set(xlabel="share of the calls done", ylabel="spent ÷ budget", title="the budget")
    gap.axhline(0, color=PLAIN, linestyle="--", linewidth=1, label="even pace")
    gap.plot(done, rate - done, color=OURS, linewidth=1.2, label="ahead of it (+) or behind (−)")
    gap.axhspan(-OFF, OFF, color=OTHER, alpha=0.2, lw=0, label=f"± {OFF:.1%} of the budget")
    gap.set(xlabel="share of the calls done", ylabel="spent ÷ budget − share done", title="distance from the even pace")
    gap.yaxis.set_major_formatter(PercentFormatter(1.0))
    used = [calls for _, calls in found.arrivals if calls is not None]
    shown = max([4 * WINDOW, int(2 * SOON), *(2 * calls for calls in used)])
    for number, (part, _) in enumerate(found.arrivals):
        label = f"replays ({len(found.arrivals)})" if number == 0 else None
        late.plot(np.arange(1, len(part) + 1)[:shown], part[:shown], color=OURS, alpha=0.6, linewidth=1, label=label)
    if used:
        late.axvline(
            float(np.median(used)), color="0.2", linewidth=1, label=f"used after {np.median(used):.0f} calls (median)"
        )
    late.axvline(SOON, color=OTHER, linestyle="--", linewidth=1, label=f"asked for: {SOON:.0f}")
    late.set(xlabel="calls since it arrived", ylabel=f"its share of the last {WINDOW} calls", ylim=(0, 1.02))
    late.set_title(f"a new model: {_short(found.model)}", fontsize=10)
    for axes in (spent, gap, late):
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    figure.suptitle(f"{name}: pacing, {len(found.trail):,} calls")
    return _written(figure, out / f"{name}.pacing.png")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _written(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    return path
