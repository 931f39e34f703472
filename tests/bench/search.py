"""What it takes to work out every plan of a step and to drop those that are beaten: many models, places, efforts, cascades.

usage: search.py [--models 40] [--places 5] [--efforts 4] [--machines 2] [--rounds 5] [--seed 0] [--json]
"""

import argparse
import json
import sys
import time
from dataclasses import asdict

import numpy as np

from fw_policies.search.space import Parts, Space, space

BUDGET = 1.0
"""Seconds on one core."""


def parts(models: int, places: int, efforts: int, machines: int, seed: int) -> Parts:
    """Dearer models are better, more effort is dearer, slower and better, places differ in cost and time."""
    rng = np.random.default_rng(seed)
    model, place, effort = (axis.ravel() for axis in np.indices((models, places, efforts)))
    ability = np.sort(rng.uniform(0.4, 0.9, models))[model]
    quality = np.clip(ability + 0.03 * effort + rng.normal(0, 0.01, models)[model], 0.01, 0.99)
    price = np.exp(rng.normal(0, 0.6, models) + np.linspace(0, 4, models))[model] * 1e5
    cost = price * (1 + 0.8 * effort) * rng.uniform(0.7, 1.4, models * places)[model * places + place]
    latency = (1 + effort) * rng.uniform(0.5, 4, models * places)[model * places + place]
    accepted = np.clip(quality + rng.normal(0, 0.05, models)[model], 0.05, 0.98)
    use = np.zeros((machines, len(model)))
    for machine in range(machines):
        use[machine, (model == machine) & (place == 0)] = 300.0
    return Parts(
        model, quality, cost, latency, (0.5 * latency) ** 2, accepted, np.minimum(quality / accepted, 1.0),
        np.full(len(model), 0.01), use,
    )  # fmt: skip


def timed(asked: argparse.Namespace, verify: bool, limit: float | None) -> tuple[float, Space]:
    """Median CPU seconds, and what was found."""
    found = parts(asked.models, asked.places, asked.efforts, asked.machines, asked.seed)
    allowed = np.random.default_rng(asked.seed).random(len(found.model)) < asked.allowed
    times = []
    for _ in range(asked.rounds):
        start = time.thread_time()
        answer = space(found, allowed, verify=verify, limit=limit)
        times.append(time.thread_time() - start)
    return sorted(times)[len(times) // 2], answer


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("models", 40), ("places", 5), ("efforts", 4), ("machines", 2), ("rounds", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--allowed", type=float, default=1.0, help="share of the parts that no hard rule excludes")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    out = {}
    for name, verify, limit in (("without checks", False, None), ("checks", True, None), ("checks, p95", True, 6.0)):
        seconds, found = timed(asked, verify, limit)
        out[name] = {"seconds": seconds, **asdict(found.counts)}
    if asked.json:
        print(json.dumps(out))
    else:
        print(
            f"{asked.models} models × {asked.places} places × {asked.efforts} efforts, {asked.machines} shared machines"
        )
        print(f"  {'step':<16}{'CPU s':>8}{'possible':>14}{'allowed':>14}{'known':>14}{'worked out':>12}{'kept':>8}")
        for name, row in out.items():
            counts = "".join(
                f"{row[key]:>{width},}"
                for key, width in (("possible", 14), ("allowed", 14), ("known", 14), ("worked_out", 12), ("kept", 8))
            )
            print(f"  {name:<16}{row['seconds']:>8.2f}{counts}")
    sys.exit(max(row["seconds"] for row in out.values()) > BUDGET)


if __name__ == "__main__":
    main()
