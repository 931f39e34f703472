"""What a decision by text takes: reading the text, and giving it one of the arms; beside it, loading what that needs.

CPU time of this thread. Texts: as people write them (a few hundred known words, 20 to 2,000 characters), and as nobody does (words never
seen before, as long as is read).

usage: decide_by_text.py [--arms 10] [--rounds 2000] [--seed 0] [--json]
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable

from fw_gateway.catalog.text import SERVED, Embedding
from fw_policies import draw
from fw_policies.by_text import SIZE, ByText, Reads
from fw_policies.model import Plan, Target

BUDGET = 2e-3
"""Seconds at the 99th percentile, the embedding included."""
PROSE = """
please write a function that sorts the list of users by date and returns only those who paid what is the best way to travel from Paris to
Rome in May explain why this test fails with an error on line 12 and fix it summarise the following text in three sentences translate into
German the customer asks for a refund because the parcel never arrived refactor this class so that it is easier to read
"""
WORDS = PROSE.split()


def plan(arms: int, rng: random.Random) -> Plan:
    """A step by text with this many arms."""
    reads = tuple(
        Reads(rng.random(), rng.random() * 1e6, 1e-3, tuple(rng.randint(-127, 127) for _ in range(SIZE)))
        for _ in range(arms)
    )
    bare = Plan("p", "v", "step", "minimize cost", "single", "best_score", (Target("m", "m@here", "openai", "m"),))
    each = tuple((1 / arms, bare) for _ in range(arms))
    return Plan(
        "p",
        "v",
        "step",
        "minimize cost",
        "mixture",
        "best_score",
        bare.targets,
        arms=each,
        by_text=ByText("", 1e6, 0.1, reads),
    )


def usual(rng: random.Random) -> str:
    """A text as people write them."""
    return " ".join(rng.choices(WORDS, k=rng.randint(4, 400)))[:SERVED]


def hostile(rng: random.Random) -> str:
    """The longest that is read, of words that nobody has used."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyzäöü ", k=SERVED))


def timed(rounds: int, made: Plan, model: Embedding, say: Callable[[], str]) -> list[float]:
    """CPU seconds of each choice, sorted."""
    times = []
    for _ in range(rounds):
        said = say()
        start = time.thread_time()
        draw.arm_by_text(made, model.packed(said))
        times.append(time.thread_time() - start)
    return sorted(times)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    start = time.thread_time()
    model = Embedding()
    loading = time.thread_time() - start
    made, out = plan(asked.arms, rng), {}
    for kind, say in (("usual", usual), ("hostile", hostile)):
        times = timed(asked.rounds, made, model, lambda say=say: say(rng))
        out[kind] = {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
    if asked.json:
        print(json.dumps({"arms": asked.arms, "loading": loading, "seconds": out}))
    else:
        print(f"{asked.arms} arms, {asked.rounds} texts of each kind; loading took {loading * 1e3:.0f} ms")
        for kind, found in out.items():
            print(f"  {kind:<12} p50 {found['p50'] * 1e3:.3f} ms   p99 {found['p99'] * 1e3:.3f} ms")
    sys.exit(out["usual"]["p99"] > BUDGET)


if __name__ == "__main__":
    main()
