"""Whether intervals and certificates hold as often as they say, in synthetic worlds whose truth is known.

Intervals: nominal 90 % ones of quality, latency and cost, as decisions get them; their width against that of an interval which knows the
family: for successes the one that covers exactly, with a lot (Stevens, 1950); else the central 90 % of the true sampling distribution of the
mean. Worlds have 20 to 250 values. Certificates and proofs at 90 %: broken when the true quality of what was chosen is below the floor; a
proof is looked at ten times while outcomes come in, and is broken when any look was wrong. A world in which nothing is certified breaks
nothing, so that share is printed too, and must be a tenth at least. Texts: the same of certificates where the runs have texts, and how
often they are by text; there must be a tenth of those where texts matter.

usage: python -m tests.bench.coverage [--worlds 1000] [--seed 0] [--only intervals|certificates|texts|proofs] [--out FILE.json]
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fw_policies.certify.runs import Floor, Seen
from fw_policies.certify.samples import certify
from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.estimate.intervals import lower_share, upper_share
from fw_policies.estimate.statistics import SEPARATOR
from fw_policies.model import NANO_USD, Estimate, Facts, Target, TokenPrice, World
from fw_policies.optimize import optimize
from fw_policies.spec import Policy, parse
from tests.bench import spoken

Vector = NDArray[np.float64]
CONFIDENCE = 0.90
COVERS, WIDER, BREAKS, LEAST = 0.88, 1.2, 0.12, 0.1
"""What must hold: at least this coverage, at most this width over the exact one's, at most this share broken, with this share answered."""
DRAWS = 400
"""Samples that the true sampling distribution of a mean is read from."""
FACTS = Facts("coding", "edit", input_tokens=1000)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    share: float
    """Intervals: how many hold; certificates: how many are broken."""
    other: float
    """Intervals: mean width over the exact one's; certificates: in how many worlds something was certified."""
    passed: bool


# --- intervals ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A kind of quantity: its parameters, values, and true mean."""

    kind: str
    parameters: Callable[[np.random.Generator], tuple[float, ...]]
    values: Callable[[np.random.Generator, tuple[float, ...], tuple[int, ...]], Vector]
    mean: Callable[[tuple[float, ...]], float]


def _two_peaks(rng: np.random.Generator, p: tuple[float, ...], size: tuple[int, ...]) -> Vector:
    slow = rng.random(size) < p[2]
    return np.where(slow, rng.lognormal(p[0] + 1.8, 0.3, size), rng.lognormal(p[0], p[1], size))


def _three_grades(rng: np.random.Generator, p: tuple[float, ...], size: tuple[int, ...]) -> Vector:
    return rng.choice([0.0, 0.5, 1.0], p=[(1 - p[0]) * 0.7, (1 - p[0]) * 0.3, p[0]], size=size)


def _mean_of_tail(spread: float) -> float:
    """E exp(spread T), T Student's with 6 degrees of freedom, cut at ±8."""
    t = np.linspace(-8, 8, 4001)
    return float(np.trapezoid(np.exp(spread * t) * stats.t.pdf(t, 6), t) + 2 * stats.t.sf(8, 6) * math.cosh(spread * 8))


FAMILIES = {
    "quality, right or wrong": Family(
        "quality", lambda r: (r.uniform(0.3, 0.99),), lambda r, p, n: (r.random(n) < p[0]).astype(float), lambda p: p[0]
    ),
    "quality, three grades": Family(
        "quality", lambda r: (r.uniform(0.3, 0.95),), _three_grades, lambda p: p[0] + 0.15 * (1 - p[0])
    ),
    "quality, any grade": Family(
        "quality",
        lambda r: (r.uniform(0.3, 0.95), r.uniform(1, 8)),
        lambda r, p, n: r.beta(p[1] * p[0], p[1] * (1 - p[0]), n),
        lambda p: p[0],
    ),
    "latency, log-normal": Family(
        "latency",
        lambda r: (r.uniform(-1, 3), r.uniform(0.2, 1.0)),
        lambda r, p, n: r.lognormal(p[0], p[1], n),
        lambda p: math.exp(p[0] + p[1] ** 2 / 2),
    ),
    "latency, gamma": Family(
        "latency",
        lambda r: (r.uniform(0.6, 6), r.uniform(0.2, 5)),
        lambda r, p, n: r.gamma(p[0], p[1], n),
        lambda p: p[0] * p[1],
    ),
    "latency, two peaks": Family(
        "latency",
        lambda r: (r.uniform(-1, 3), r.uniform(0.2, 0.6), r.uniform(0.05, 0.3)),
        _two_peaks,
        lambda p: p[2] * math.exp(p[0] + 1.845) + (1 - p[2]) * math.exp(p[0] + p[1] ** 2 / 2),
    ),
    "latency, long tail": Family(
        "latency",
        lambda r: (r.uniform(-1, 3), r.uniform(0.2, 0.6)),
        lambda r, p, n: np.exp(p[0] + p[1] * np.clip(r.standard_t(6, n), -8, 8)),
        lambda p: math.exp(p[0]) * _mean_of_tail(p[1]),
    ),
    "cost, log-normal output": Family(
        "cost",
        lambda r: (r.uniform(3, 7), r.uniform(0.3, 1.0)),
        lambda r, p, n: r.lognormal(p[0], p[1], n),
        lambda p: math.exp(p[0] + p[1] ** 2 / 2),
    ),
}
PRICE = TokenPrice(NANO_USD, 10 * NANO_USD)
TARGET = Target("model", "model@here", "openai", "model", price=PRICE)
FIXED = 1000 * NANO_USD / 1e6
"""Nano-USD of the input: known, so that the interval is that of the output."""


def observed(kind: str, values: Vector, rng: np.random.Generator) -> Estimate | None:
    """The estimate that a decision would get from these values; one call in twenty fails besides, where calls can."""
    statistics = Statistics()
    for value in values:
        if kind == "quality":
            statistics.outcome(OutcomeSeen("coding", "edit", "model", "right", float(value)))
            continue
        seen = {"latency": float(value)} if kind == "latency" else {"output_tokens": max(1, round(float(value)))}
        statistics.observe(Observation("coding", "edit", "model", "model@here", ok=True, **seen))  # type: ignore[arg-type]
        if kind == "latency" and rng.random() < 0.05:
            statistics.observe(Observation("coding", "edit", "model", "model@here", ok=False))
    outlook = statistics.freeze().outlook(FACTS, TARGET, outcome="right", confidence=CONFIDENCE)
    found: Estimate | None = getattr(outlook, kind)
    return found


def exact(family: Family, p: tuple[float, ...], values: Vector, rng: np.random.Generator) -> float:
    """Width of the interval that knows the family."""
    tail, n = (1 - CONFIDENCE) / 2, len(values)
    if set(np.unique(values)) <= {0.0, 1.0}:
        return drawn_width(int(values.sum()), n, tail)
    means = family.values(rng, p, (DRAWS, n)).mean(1)
    return float(np.quantile(means, 1 - tail) - np.quantile(means, tail))


LOTS = (np.arange(8) + 0.5) / 8


def drawn_width(k: int, n: int, tail: float) -> float:
    """Mean width of the interval that covers exactly, because a lot decides what the counts leave open (Stevens, 1950)."""

    def above(hits: int) -> Vector:
        """For each lot u, the p at which P(X < hits) + u P(X = hits) = tail."""
        low, high = np.zeros(len(LOTS)), np.ones(len(LOTS))
        for _ in range(40):
            middle = (low + high) / 2
            under = stats.binom.cdf(hits - 1, n, middle) + LOTS * (
                stats.binom.cdf(hits, n, middle) - stats.binom.cdf(hits - 1, n, middle)
            )
            low, high = np.where(under > tail, middle, low), np.where(under > tail, high, middle)
        return low

    return float(np.mean(above(k)) + np.mean(above(n - k)) - 1)


def intervals(name: str, family: Family, worlds: int, rng: np.random.Generator) -> Row:
    """How often the intervals of one family hold, and how wide they are."""
    held, widths, exacts = 0, 0.0, 0.0
    for _ in range(worlds):
        p, n = family.parameters(rng), int(np.exp(rng.uniform(np.log(20), np.log(250))))
        values = family.values(rng, p, (n,))
        found, scale, offset = observed(family.kind, values, rng), 1.0, 0.0
        if found is None:
            continue
        if family.kind == "cost":
            scale, offset = PRICE.output / 1e6, FIXED
        truth = family.mean(p) * scale + offset
        held += found.low <= truth <= found.high
        widths += (found.high - found.low) / (truth - offset)
        exacts += exact(family, p, values, rng) * scale / (truth - offset)
    share, ratio = held / worlds, widths / exacts
    return Row(name, share, ratio, share >= COVERS and ratio <= WIDER)


# --- certificates and proofs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calls:
    """Outcomes of a model's calls of the step, in the order in which they came, and the number of the run that each belongs to."""

    values: Vector
    run: NDArray[np.int64]

    def upto(self, runs: int) -> list[float]:
        """Count, sum, and sum of squares of the calls of the first `runs`."""
        mine = self.values[: int(np.searchsorted(self.run, runs))]
        return [len(mine), float(mine.sum()), float((mine**2).sum())]

    def firsts(self) -> "Calls":
        """The first call of each run."""
        run, first = np.unique(self.run, return_index=True)
        return Calls(self.values[first], run)


@dataclass(frozen=True)
class Case:
    """Models of a step: what is true of them, and what was seen."""

    truth: dict[str, float]
    calls: dict[str, Calls]


def _truth(rng: np.random.Generator, models: int, floor: float, spread: float = 0.1) -> dict[str, float]:
    """Half of the models a little below the floor, the others on either side of it."""
    close = {f"m{k}": floor - float(rng.uniform(0, 0.02)) for k in range(models // 2)}
    return close | {f"m{k}": floor + float(rng.uniform(-0.05, spread)) for k in range(models // 2, models)}


def _single(rng: np.random.Generator, q: float, n: int) -> Calls:
    return Calls((rng.random(n) < q).astype(float), np.arange(n))


def _plain(rng: np.random.Generator, floor: float, n: int) -> Case:
    """Five models, equally many runs of each."""
    truth = _truth(rng, 5, floor)
    return Case(truth, {m: _single(rng, q, n) for m, q in truth.items()})


def _near_equal(rng: np.random.Generator, floor: float, n: int) -> Case:
    """Thirty that are nearly equal: the best of them looks better than it is."""
    centre = floor + rng.uniform(-0.01, 0.06)
    truth = {f"m{k}": min(0.99, float(centre + rng.normal(0, 0.005))) for k in range(30)}
    return Case(truth, {m: _single(rng, q, n) for m, q in truth.items()})


def _unbalanced(rng: np.random.Generator, floor: float, n: int) -> Case:
    """From a fortieth of the runs of one model to all of them of another."""
    truth = _truth(rng, 6, floor)
    sizes = np.exp(rng.uniform(np.log(max(n / 40, 20)), np.log(n), 6)).astype(int)
    return Case(truth, {m: _single(rng, q, size) for (m, q), size in zip(truth.items(), sizes, strict=True)})


def _correlated(rng: np.random.Generator, floor: float, n: int) -> Case:
    """Four calls of the step in each run, each with its outcome, and the run's luck in all of them: correlation 1/7."""
    truth, tie, runs = _truth(rng, 5, floor), 6.0, max(n // 4, 40)
    calls = {}
    for m, q in truth.items():
        luck = rng.beta(tie * q, tie * (1 - q), (runs, 1))
        calls[m] = Calls((rng.random((runs, 4)) < luck).astype(float).ravel(), np.repeat(np.arange(runs), 4))
    return Case(truth, calls)


def _run_level(rng: np.random.Generator, floor: float, n: int) -> Case:
    """One outcome of the whole run, shared by one to eight calls of the step."""
    truth = _truth(rng, 5, floor)
    calls = {}
    for m, q in truth.items():
        times = rng.integers(1, 9, n)
        calls[m] = Calls(np.repeat((rng.random(n) < q).astype(float), times), np.repeat(np.arange(n), times))
    return Case(truth, calls)


WORLDS = {
    "plain": _plain,
    "correlated steps": _correlated,
    "unbalanced n": _unbalanced,
    "run-level outcomes": _run_level,
    "30 near-equal models": _near_equal,
}


RUNS = 300
"""Of each model, for a certificate."""


def certificates(name: str, worlds: int, rng: np.random.Generator) -> Row:
    """How often a compiled plan is worse than it promised."""
    broken = certified = 0
    for number in range(worlds):
        base, relative = float(rng.uniform(0.7, 0.92)), rng.random() < 0.5
        ratio = float(rng.uniform(0.9, 0.99))
        case = WORLDS[name](rng, ratio * base, RUNS)
        truth, calls = case.truth | {"base": base}, case.calls | {"base": _single(rng, base, RUNS)}
        seen = {
            m: [
                Seen(f"{number}-{m}-{run}", value, cost)
                for run, value in zip(found.run.tolist(), found.values.tolist(), strict=True)
            ]
            for (m, found), cost in zip(calls.items(), rng.uniform(0.1, 1, len(calls)) * 1e6, strict=True)
        }
        floor = Floor(ratio=ratio) if relative else Floor(level=ratio * base)
        done = certify(seen, "base", floor, confidence=CONFIDENCE, seed=number)
        if done.weights:
            certified += 1
            broken += sum(w * truth[m] for m, w in done.weights.items()) < ratio * base - 1e-12
    return _judged(f"certificate, {name}", broken, certified, worlds)


def texts(name: str, worlds: int, rng: np.random.Generator) -> Row:
    """How often a compiled plan is worse than it promised when runs have texts; where draws depend on them, of the plans by text alone."""
    broken = certified = by_text = 0
    for number in range(worlds):
        tongue = spoken.tongue(name, float(rng.uniform(0.75, 0.93)), rng)
        truth = tongue.quality @ tongue.share
        ratio, relative = float(rng.uniform(0.9, 0.99)), rng.random() < 0.5
        floor = Floor(ratio=ratio) if relative else Floor(level=ratio * float(truth[0]))
        costs = np.r_[1.0, rng.uniform(0.05, 0.6, len(truth) - 1)] * 1e6
        seen = spoken.runs(tongue, costs, RUNS, rng)
        done = certify(seen, "m0", floor, confidence=CONFIDENCE, seed=number, embedding="it")
        rule = done.passed[-1].rule if done.passed else None
        if not done.weights or (rule is None and name == "draws depend on texts"):
            continue
        certified += 1
        by_text += rule is not None
        if rule is None:
            given, spare = sum(w * truth[int(m[1:])] for m, w in done.weights.items()), 1e-12
        else:  # what is worked out by drawing may be off by chance, which is not held against a rule
            given, spare = spoken.given(tongue, rule, rng), 3 * 0.3 / math.sqrt(spoken.ASKED)
        broken += given < ratio * truth[0] - spare
    wanted = LEAST * worlds if name in {"texts matter", "draws depend on texts"} else 0
    passed = broken / worlds <= BREAKS and certified >= LEAST * worlds and by_text >= wanted
    return Row(f"certificate, {name}", broken / worlds, by_text / worlds, passed)


def proofs(name: str, worlds: int, rng: np.random.Generator) -> Row:
    """How often proofs at request time ever let a model serve that is not good enough, looked at while outcomes come in."""
    broken = moved = 0
    for _ in range(worlds):
        floor, relative = round(float(rng.uniform(0.66, 0.88)), 4), rng.random() < 0.5
        base = floor / 0.95
        case = WORLDS[name](rng, floor, LONGEST)
        line = "quality >= 95% of baseline" if relative else f"quality >= {floor}"
        calls = case.calls | {"base": _single(rng, base, LONGEST)}
        if name == "run-level outcomes":  # the gateway counts a run once for each model of a step
            calls = {m: found.firsts() for m, found in calls.items()}
        left, wrong = _looks(_asked(line), case.truth, calls, floor - 1e-12)
        moved += left
        broken += wrong
    return _judged(f"online proof, {name}", broken, moved, worlds)


LONGEST = 1500
LOOKS = tuple(int(size) for size in np.geomspace(20, LONGEST, 10))
"""Runs after which a decision is made."""


def _asked(line: str) -> Policy:
    quality = {"outcome": "right", "of": "step", "confidence": f"{CONFIDENCE:.0%}"}
    default = {"minimize": "cost", "require": [line]}
    return parse({"policy": "coding", "baseline": "base", "quality": quality, "default": default})


def _looks(policy: Policy, truth: dict[str, float], calls: dict[str, Calls], floor: float) -> tuple[bool, bool]:
    """Whether anything but the baseline ever served, and whether that was ever something not good enough."""
    targets = tuple(
        Target(m, f"{m}@here", "openai", m, price=TokenPrice(NANO_USD, (100 if m == "base" else k + 1) * NANO_USD))
        for k, m in enumerate(calls)
    )
    calling, left = Statistics(), False
    for m in calls:
        calling.observe(Observation("coding", "edit", m, f"{m}@here", ok=True, latency=1.0, output_tokens=100))
    known = calling.to_dict()
    for size in LOOKS:
        judged = {SEPARATOR.join(("coding", "edit", m, "right")): found.upto(size) for m, found in calls.items()}
        estimates = Statistics.from_dict({**known, "quality": judged}).freeze()
        served = optimize(policy, FACTS, World(targets, {}, estimates, "2026-11-23")).targets[0].model
        if served != "base":
            left = True
            if truth[served] < floor:
                return True, True
    return left, False


def _judged(name: str, broken: int, answered: int, worlds: int) -> Row:
    return Row(name, broken / worlds, answered / worlds, broken / worlds <= BREAKS and answered >= LEAST * worlds)


def times(worlds: int, rng: np.random.Generator) -> Row:
    """How often a deployment of which 5.5 to 8 calls in a hundred are late is ever proven to keep `p95`, and one of 0 to 4 is."""
    broken = answered = 0
    for _ in range(worlds):
        broken += _ever_in_time(float(rng.uniform(0.055, 0.08)), rng)
        answered += _ever_in_time(float(rng.uniform(0.0, 0.04)), rng)
    return _judged("online proof, p95 latency", broken, answered, worlds)


def _ever_in_time(late: float, rng: np.random.Generator) -> bool:
    """Whether any look, after every twentieth of 1,000 calls, finds it proven that one call in twenty is late at most."""
    statistics = Statistics()
    for number, slow in enumerate(rng.random(1000) < late, 1):
        statistics.observe(Observation("coding", "edit", "model", "model@here", ok=True, latency=9.0 if slow else 1.0))
        if number % 20 == 0:
            found = statistics.freeze().histogram("latency", FACTS, TARGET)
            if found is not None and found.proves(5.0, 0.05, CONFIDENCE):
                return True
    return False


def likely(share: float, worlds: int) -> tuple[float, float]:
    """The 90 % interval of a share of worlds (Clopper and Pearson, 1934)."""
    k = round(share * worlds)
    return lower_share(k, worlds, 0.95), upper_share(k, worlds, 0.95)


HEADINGS = {
    "intervals": ("holds", "width ×"),
    "certificates": ("broken", "answered"),
    "texts": ("broken", "by text"),
    "proofs": ("broken", "answered"),
}


def simulated(part: str, worlds: int, seed: int) -> Iterator[Row]:
    """The rows of a part, one after the other."""
    if part == "intervals":
        for number, (name, family) in enumerate(FAMILIES.items()):
            yield intervals(name, family, worlds, np.random.default_rng((seed, number)))
        return
    if part == "texts":
        for number, name in enumerate(spoken.TONGUES):
            yield texts(name, worlds, np.random.default_rng((seed, 11, number)))
        return
    simulate = certificates if part == "certificates" else proofs
    for number, name in enumerate(WORLDS):
        yield simulate(name, worlds, np.random.default_rng((seed, 9, number)))
    if part == "proofs":
        yield times(worlds, np.random.default_rng((seed, 10)))


def main() -> None:
    """Simulate, print each row as it is known, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(HEADINGS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows: list[Row] = []
    for part, headings in HEADINGS.items():
        if asked.only not in {None, part}:
            continue
        print(f"\n{'':<36}{headings[0]:>6}  {'90 % interval':<16}{headings[1]:>9}")
        for row in simulated(part, asked.worlds, asked.seed):
            low, high = likely(row.share, asked.worlds)
            state = "met" if row.passed else "MISSED"
            print(f"{row.name:<36}{row.share:>6.3f}  [{low:.3f}, {high:.3f}]  {row.other:>9.3f}   {state}", flush=True)
            rows.append(row)
    if asked.out is not None:
        asked.out.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    sys.exit(not all(row.passed for row in rows))


if __name__ == "__main__":
    main()
