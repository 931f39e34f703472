"""Pictures of a verdict: the frontier of each set, and which promises were kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from fw_gateway.bench.data import Table
from fw_gateway.bench.held_out import Saves, zero_router
from fw_gateway.bench.promises import Kept

mpl.use("Agg")


def draw(
    saves: Mapping[str, tuple[Table, Saves]], promises: Mapping[str, Sequence[Sequence[Kept]]], out: Path
) -> list[Path]:
    """One picture of frontiers and one of promises per set; the files."""
    files = [_frontier(name, table, found, out) for name, (table, found) in saves.items()]
    return files + [_promises(name, found, out) for name, found in promises.items()]


def _frontier(name: str, table: Table, found: Saves, out: Path) -> Path:
    assert table.cost is not None  # noqa: S101 - only sets with costs have a frontier
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(table.cost.mean(0), table.score.mean(0), s=18, color="0.55", label="single models")
    zero = zero_router(table)
    axes.plot(zero.cost, zero.quality, color="0.55", linestyle="--", linewidth=1, label="Zero router")
    axes.plot(found.points.cost, found.points.quality, color="tab:blue", linewidth=1.8, label="this router, held out")
    axes.set(xscale="log", xlabel="cost per query, US dollars", ylabel="mean quality", title=name)
    axes.legend(frameon=False)
    path = out / f"{name}.frontier.png"
    figure.savefig(path, dpi=120)
    return path


def _promises(name: str, found: Sequence[Sequence[Kept]], out: Path) -> Path:
    figure = Figure(figsize=(7, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = [f"{three[0].ask.quality:.3g}" for three in found]
    for index, who in enumerate(("naive", "calibrated", "ours")):
        at = [place + (index - 1) * 0.27 for place in range(len(found))]
        left.bar(at, [three[index].broken / three[index].splits for three in found], 0.25, label=who)
        right.bar(at, [three[index].cost for three in found], 0.25, label=who)
    left.axhline(0.10, color="0.4", linewidth=0.8, linestyle="--")
    for axes, title in ((left, "broken promises, share"), (right, "cost per query, US dollars")):
        axes.set(title=title, xlabel="promised quality")
        axes.set_xticks(range(len(found)), labels)
    left.legend(frameon=False)
    figure.suptitle(name)
    path = out / f"{name}.promises.png"
    figure.savefig(path, dpi=120)
    return path
