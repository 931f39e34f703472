"""The Promise Bench: every gate on every set of a folder, a table, `gates.json`, and pictures."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from fw_gateway.bench import judge, plots, routers
from fw_gateway.bench.calibration import Calibration
from fw_gateway.bench.data import Broken, Table, Unusable, discover, read, table
from fw_gateway.bench.gate import Gate, at_least, unmeasured
from fw_gateway.bench.held_out import Saves, best_single
from fw_gateway.bench.judge import Case
from fw_gateway.bench.pacing import Paced, pacing
from fw_gateway.bench.promises import Kept
from fw_gateway.bench.sets import load, routellm
from fw_gateway.catalog.text import embed
from fw_policies.search.frontier import recovered, threshold_curve

Say = Callable[[str], None]
ROUTELLM = "routellm_gpt4_mixtral"
STRONG = "gpt-4-1106-preview"
LABELS = 1500
SIZES = {"mmlu": (14037, 0.806, 0.681), "gsm8k": (1307, 0.858, 0.637)}
"""Queries after decontamination, and the mean scores of the strong and the weak model, as RouteLLM gives them."""


@dataclass(slots=True)
class Drawn:
    """What the pictures of a set show."""

    saves: Saves | None = None
    calibrations: list[Calibration] = field(default_factory=list)
    """The router's, and the step's mean."""
    promises: list[list[Kept]] = field(default_factory=list)
    """Per promise: naive, calibrated, and the router."""
    paced: Paced | None = None


@dataclass(slots=True)
class Verdict:
    """Everything that was measured."""

    router: str = "ours"
    gates: list[Gate] = field(default_factory=list)
    drawn: dict[str, Drawn] = field(default_factory=dict)
    """By set."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Sets that were not judged, and why; those that are broken have missed a gate, too."""


def router(name: str) -> routers.Router:
    """`module:function`, `file.py:function`, or one of ours: `ours`, `by_step`, `nearest`.

    Raises:
        Unusable: there is no such thing.
    """
    own = {"ours": routers.ours, "by_step": routers.by_step, "nearest": routers.nearest}
    if name in own:
        return own[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise Unusable(f"`{name}` is no router: ours, by_step, nearest, MODULE:FUNCTION or FILE.py:FUNCTION.")
    try:
        found: routers.Router = getattr(_module(module), function)
    except (ImportError, AttributeError, OSError, SyntaxError) as fault:
        raise Unusable(f"`{name}` cannot be loaded: {fault}.") from fault
    return found


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is no Python file")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    seed: int = 0
    splits: int = 40
    """Random splits of each promise."""
    seeds: int = 3
    """Seeds of the five folds."""
    repetitions: int = 1000
    """Logs of each what-if."""


def bench(folder: Path, *, route: str = "ours", effort: Effort | None = None, say: Say = lambda text: None) -> Verdict:
    """Judge a router on every set of `folder`.

    Raises:
        Unusable: the folder has no sets, or the router cannot be loaded.
    """
    effort = effort or Effort()
    names = discover(folder)
    verdict = Verdict(route)
    chosen = router(route)
    for number, name in enumerate(names, 1):
        say(f"{name}: set {number} of {len(names)}")
        try:
            if name == ROUTELLM and (gates := _routellm(folder, chosen, effort)):
                verdict.gates.extend(gates)
                continue
            found, known = load(folder, name)
            case = Case(found, known, embed(found.texts), chosen)
            verdict.drawn[name] = _one(folder, case, effort, verdict=verdict, say=say)
        except Unusable as fault:
            verdict.skipped[name] = str(fault)
            passed = False if isinstance(fault, Broken) else None
            verdict.gates.append(Gate("can be judged", name, None, None, None, passed, note=str(fault)))
    return verdict


def _one(folder: Path, case: Case, effort: Effort, *, verdict: Verdict, say: Say) -> Drawn:
    """The gates of a set, into the verdict as they are known, and what is to be drawn of it."""
    table, gates, drawn = case.table, verdict.gates, Drawn()
    say(f"{table.name}: {len(table.queries)} queries × {len(table.models)} models, steps: {len(table.steps)}; savings")
    if routers.leaks(routers.guarded(case.router), table, case.vectors, np.random.default_rng(effort.seed)):
        why = "estimates depend on the outcomes they are judged by, or on chance"
        gates.append(Gate("no leak", table.name, None, None, None, passed=False, note=why))
        return drawn
    step = None
    if _priced(table):
        found, drawn.saves, step = judge.saving(case, seeds=effort.seeds)
        gates.extend(found)
    else:
        why = "the set has no costs" if table.cost is None else "the best single model costs nothing"
        gates.extend(unmeasured(label, table.name, why) for label in ("save@99", "promises broken"))
    gate, drawn.calibrations = judge.calibrated(case, drawn.saves, step, seed=effort.seed)
    gates.append(gate)
    if drawn.saves is not None:
        own = verdict.router != "ours"
        for gate, kept in judge.promising(case, own=own, seed=effort.seed, splits=effort.splits, say=say):
            gates.append(gate)
            if kept:
                drawn.promises.append(kept)
    if case.known is not None:
        gates.extend(_special(folder, table, effort))
    if len(table.queries) >= judge.FEWEST:
        say(f"{table.name}: what-if and pacing")
        gates.extend(judge.off_policy(case, seed=effort.seed, repetitions=effort.repetitions))
        if drawn.saves is not None:
            found, drawn.paced = pacing(table, seed=effort.seed)
            gates.extend(found)
    return drawn


def _priced(table: Table) -> bool:
    return table.cost is not None and float(table.cost[:, best_single(table)].mean()) > 0


def _special(folder: Path, table: Table, effort: Effort) -> Iterator[Gate]:
    """What is asked of one public set alone."""
    if table.name == "holmesgpt_sre":
        yield judge.quarantine(read(folder, table.name)[0], seed=effort.seed)
    if table.name == "bfcl_2024_08":
        yield judge.infeasible(table, seed=effort.seed, splits=effort.splits)


def _routellm(folder: Path, chosen: routers.Router, effort: Effort) -> list[Gate]:
    """RouteLLM's own metric on its own data: first that the metric is theirs, then what 1,500 labels give. Nothing: it is another set."""
    rows, queries = read(folder, ROUTELLM)
    if not {"mmlu", "gsm8k"} <= {row.get("benchmark") for row in rows} or len(queries) < SIZES["mmlu"][0]:
        return []
    gates = []
    for benchmark, (size, strong, weak) in SIZES.items():
        found = table(ROUTELLM, rows, queries, routellm(benchmark, queries))
        at = found.models.index(STRONG)
        means = found.score.mean(0)
        same = len(found.queries) == size and abs(means[at] - strong) < 0.001 and abs(means[1 - at] - weak) < 0.001
        note = f"{len(found.queries)} queries, {means[at]:.1%} and {means[1 - at]:.1%}; theirs {size}, {strong:.1%} and {weak:.1%}"
        gates.append(
            Gate(
                "metric: n and accuracies",
                benchmark,
                float(len(found.queries)),
                size,
                size,
                passed=bool(same),
                note=note,
            )
        )
        if benchmark == "mmlu":
            gates.extend(_recovered(found, at, chosen, effort))
    return gates


def _recovered(found: Table, at: int, chosen: routers.Router, effort: Effort) -> list[Gate]:
    vectors = embed(found.texts)
    mine: list[float] = []
    chance: list[float] = []
    for number in range(max(effort.seeds, 2) * 2):
        rng = np.random.default_rng((effort.seed, number))
        rows = rng.permutation(len(found.queries))
        fit, ask = np.sort(rows[:LABELS]), np.sort(rows[LABELS:])
        expected = routers.guarded(chosen)(found, vectors, fit, ask).quality
        strong, weak = found.score[ask, at], found.score[ask, 1 - at]
        for held, win_rate in ((mine, expected[:, at] - expected[:, 1 - at]), (chance, rng.random(len(ask)))):
            shares, quality = threshold_curve(win_rate, strong, weak)
            held.append(recovered(shares, quality, float(weak.mean()), float(strong.mean())))
    random = float(np.mean(chance))
    spread = float(np.std(mine, ddof=1)) / np.sqrt(len(mine)) * 1.645
    value = float(np.mean(mine))
    note = f"{LABELS} labels, {len(mine)} random draws of them"
    return [
        Gate("metric: APGR of random mixing", "mmlu", random, 0.5, 0.5, passed=abs(random - 0.5) <= 0.005),
        at_least("APGR", "mmlu", value, target=0.66, anchor=0.646, low=value - spread, high=value + spread, note=note),
    ]


def write(verdict: Verdict, out: Path) -> list[Path]:
    """`gates.json` and the pictures, into a folder that is made; what was written."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "gates.json"
    path.write_text(json.dumps([gate.plain() for gate in verdict.gates], indent=2, ensure_ascii=False) + "\n")
    files = [path]
    for name, drawn in verdict.drawn.items():
        if drawn.saves is not None:
            files.append(plots.frontiers(name, drawn.saves.fronts, out))
        if drawn.calibrations:
            files.append(plots.calibrated(name, drawn.calibrations, out))
        if drawn.promises:
            files.append(plots.promised(name, drawn.promises, out))
        if drawn.paced is not None:
            files.append(plots.paced(name, drawn.paced, out))
    return files
