"""The Promise Bench: every gate on every set of a folder, a table, `gates.json`, and pictures."""

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from fw_gateway.bench import judge, plots, routers
from fw_gateway.bench.data import Table, Unusable, discover, read, table
from fw_gateway.bench.gate import Gate, at_least, unmeasured
from fw_gateway.bench.held_out import Saves
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
class Verdict:
    """Everything that was measured."""

    gates: list[Gate] = field(default_factory=list)
    saves: dict[str, tuple[Table, Saves]] = field(default_factory=dict)
    promises: dict[str, list[list[Kept]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


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
    chosen = router(route)
    verdict = Verdict()
    for name in discover(folder):
        say(name)
        try:
            if name == ROUTELLM:
                verdict.gates.extend(_routellm(folder, chosen, effort))
                continue
            _one(folder, load(folder, name), chosen, effort, verdict=verdict, say=say)
        except Unusable as fault:
            verdict.skipped[name] = str(fault)
    return verdict


def _one(folder: Path, found: Table, chosen: routers.Router, effort: Effort, *, verdict: Verdict, say: Say) -> None:
    vectors = embed(found.texts)
    rng = np.random.default_rng(effort.seed)
    if routers.leaks(routers.guarded(chosen), found, vectors, rng):
        verdict.gates.append(
            Gate(
                "no leak",
                found.name,
                None,
                None,
                None,
                passed=False,
                note="estimates depend on the outcomes they are judged by",
            )
        )
        return
    if found.cost is None:
        verdict.gates.append(unmeasured("save@99", found.name, "the set has no costs"))
        return
    say(f"{found.name}: savings on held-out queries, {len(found.queries)} × {len(found.models)}")
    gates, mine = judge.saving(found, vectors, chosen, seeds=effort.seeds)
    verdict.gates.extend(gates)
    verdict.saves[found.name] = (found, mine)
    for gate, kept in judge.promising(found, seed=effort.seed, splits=effort.splits, say=say):
        verdict.gates.append(gate)
        if kept:
            verdict.promises.setdefault(found.name, []).append(kept)
    if found.name == "holmesgpt_sre":
        verdict.gates.append(judge.quarantine(read(folder, found.name)[0], seed=effort.seed))
    if found.name == "bfcl_2024_08":
        verdict.gates.append(judge.infeasible(found, seed=effort.seed, splits=effort.splits))
    if len(found.queries) >= judge.FEWEST:
        say(f"{found.name}: what-if and pacing")
        verdict.gates.extend(judge.off_policy(found, seed=effort.seed, repetitions=effort.repetitions))
        verdict.gates.extend(judge.pacing(found, seed=effort.seed))


def _routellm(folder: Path, chosen: routers.Router, effort: Effort) -> list[Gate]:
    """RouteLLM's own metric on its own data: first that the metric is theirs, then what 1,500 labels give."""
    rows, queries = read(folder, ROUTELLM)
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
    return [path, *plots.draw(verdict.saves, verdict.promises, out)]
