"""What one decision takes: 40 models at one place and at five, statistics of every one, all kinds of requirements, exploring.

Three kinds: `new world` (a call has just ended and was judged, every other one the baseline's; once a second at most), `new facts` (a
size, a limit, a budget or a number of an attempt that this world has not seen), `known facts` (equal to the last: the gateway remembers
the plan, and does not decide again). Of each, three policies: `few` of the models are proven, `most` are, and most are under a check,
so that the baseline may follow a rejected answer (`checked`).

usage: decide.py [--models 40] [--places 1 5] [--rounds 2000] [--seed 0] [--json]
"""

import argparse
import itertools
import json
import random
import sys
import time
from dataclasses import replace
from typing import Any

from fw_policies.estimate import Observation, OutcomeSeen, Statistics, quantise
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.model import NANO_USD, Exclusion, Facts, Target, TokenPrice, World
from fw_policies.optimize import optimize
from fw_policies.spec import Policy, parse

BUDGET = 1e-3
"""CPU seconds of a decision on new facts at the 99th percentile, without text features."""
TIMES = ("p95 ttft <= 2s", "p95 latency <= 20s")
LONGER = ("p95 ttft <= 40s", "p95 latency <= 40s")
POLICIES: dict[str, dict[str, Any]] = {
    "few": {"require": ["quality >= 95% of baseline", *TIMES, "p95 cost <= 0.05 USD"]},
    "most": {"require": ["quality >= 60% of baseline", *TIMES, "p95 cost <= 0.05 USD"]},
    "checked": {"require": ["quality >= 60% of baseline", *LONGER, "p95 cost <= 0.1 USD"], "verify": "not_empty"},
}
KINDS = ("new world", "new facts", "known facts")
BLOCKED: dict[int, Exclusion] = {3: "cooldown", 7: "no_credential"}


def policy(name: str) -> Policy:
    """Four requirements and something to explore."""
    return parse(
        {
            "policy": "coding",
            "baseline": "model-39",
            "quality": {"outcome": "tests_pass", "of": "step"},
            "explore": {"share": "5%", "max_cost": "1 USD/day", "max_quality_loss": "10pt"},
            "default": {"minimize": "cost", **POLICIES[name]},
        }
    )


def targets(models: int, places: int) -> tuple[Target, ...]:
    """Dearer ones are better."""
    return tuple(
        Target(
            f"model-{m}",
            f"model-{m}@place-{p}",
            "openai",
            f"model-{m}",
            price=TokenPrice(int((m + 1) * 0.02 * NANO_USD), int((m + 1) * 0.2 * NANO_USD)),
            capabilities=frozenset({"chat", "tools", "stream"} if m % 5 else {"chat", "stream"}),
            context=128_000,
            max_output=8192,
        )
        for m in range(models)
        for p in range(places)
    )


def learnt(found: tuple[Target, ...], rng: random.Random, calls: int = 300) -> Statistics:
    """Calls and outcomes of every target at the step."""
    statistics = Statistics()
    for target in found:
        number = int(target.model.removeprefix("model-"))
        for _ in range(calls):
            latency = rng.lognormvariate(1.0, 0.5)
            statistics.observe(
                Observation(
                    "coding",
                    "edit",
                    target.model,
                    target.deployment,
                    ok=True,
                    ttft=latency / 5,
                    latency=latency,
                    input_tokens=1000,
                    expected_tokens=900,
                    output_tokens=int(rng.lognormvariate(5, 0.7)),
                )
            )
            right = float(rng.random() < 0.6 + 0.35 * number / 40)
            statistics.outcome(OutcomeSeen("coding", "edit", target.model, "tests_pass", right))
            statistics.outcome(OutcomeSeen("coding", "edit", target.model, ACCEPTED, float(rng.random() < 0.9)))
    return statistics


def timed(rounds: int, make: "Maker") -> list[float]:
    """CPU seconds of each decision, sorted: what the rest of the machine does is not its doing."""
    times = []
    for number in range(rounds):
        asked, facts, world = make(number)
        start = time.thread_time()
        optimize(asked, facts, world)
        times.append(time.thread_time() - start)
    return sorted(times)


class Maker:
    """What each decision is made of: a policy, facts, a world."""

    def __init__(self, kind: str, name: str, found: tuple[Target, ...], *, seed: int) -> None:
        """`kind`: one of the three; `name`: of the policy."""
        self.kind, self.rng = kind, random.Random(seed)
        self.statistics = learnt(found, self.rng)
        blocked = {found[place].deployment: reason for place, reason in BLOCKED.items() if place < len(found)}
        self.world = World(found, blocked, self.statistics.freeze(), "2026-11-23")
        self.policy = policy(name)
        self.facts = Facts("coding", "edit", needs=frozenset({"stream"}), input_tokens=quantise(1000))

    def __call__(self, number: int) -> tuple[Policy, Facts, World]:
        """The next one."""
        if self.kind == "new world":
            served = self.world.targets[-1] if self.rng.random() < 0.5 else self.rng.choice(self.world.targets)
            target, took = served, self.rng.lognormvariate(1.0, 0.5)
            self.statistics.outcome(OutcomeSeen("coding", "edit", target.model, "tests_pass", 1.0))
            self.statistics.observe(
                Observation(
                    "coding",
                    "edit",
                    target.model,
                    target.deployment,
                    ok=True,
                    ttft=took / 5,
                    latency=took,
                    output_tokens=200,
                )
            )
            return self.policy, self.facts, replace(self.world, estimates=self.statistics.freeze())
        if self.kind == "new facts":
            size = quantise(self.rng.randint(200, 60_000))
            needs = frozenset({"stream", "tools"}) if self.rng.random() < 0.5 else frozenset({"stream"})
            limit, left = self.rng.choice((None, 1000)), self.rng.choice((None, None, int(0.02 * NANO_USD)))
            facts = self.facts._replace(input_tokens=size, needs=needs, max_output_tokens=limit, budget_left=left)
            return self.policy, facts._replace(attempt=number), self.world
        return self.policy, self.facts, self.world


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--places", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    out = []
    for places in asked.places:
        found = targets(asked.models, places)
        for kind, name in itertools.product(KINDS, POLICIES):
            times = timed(asked.rounds, Maker(kind, name, found, seed=asked.seed))
            p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
            out.append({"places": places, "kind": kind, "policy": name, "p50": p50, "p99": p99})
    if asked.json:
        print(json.dumps({"models": asked.models, "rounds": asked.rounds, "seconds": out}))
    else:
        print(f"{asked.models} models, {asked.rounds} decisions of each kind, ms of CPU: p50 and p99")
        for one in out:
            print("{places:>3} places  {kind:<12} {policy:<8}".format(**one), end="")
            print(f"{float(one['p50']) * 1e3:8.2f} {float(one['p99']) * 1e3:8.2f}")
    sys.exit(any(one["kind"] == "new facts" and float(one["p99"]) > BUDGET for one in out))


if __name__ == "__main__":
    main()
