"""Compiles `data/priors.csv` from public leaderboards: `python -m fw_gateway.catalog.build_priors FOLDER`.

Scores of different tests are not comparable as they are. Per family, score = test + model is fitted by alternating means (the model's part
drawn towards 0 by half an observation), and a model's prior is its part and the mean of the tests.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fw_gateway.catalog.priors import ANY, canonical

SHRINK = 0.5
"""Observations of the usual model that each model's part is mixed with."""
ROUNDS = 50
Row = tuple[str, str, str, float]
"""Family, test, canonical model, score 0..1."""
HEAD = """\
# Public priors of quality: what leaderboards say of models, by family of tasks, 0..1. They order what is tried; they prove nothing.
# Compiled 2026-11-23 by fw_gateway.catalog.build_priors from these, changed by the fit that it describes:
# coding   OpenHands/openhands-index-results @ 3015ac612e71 (MIT), Aider-AI/aider polyglot leaderboard @ 5dc9490bb35f (Apache-2.0)
# tools    ShishirPatil/gorilla, branch gh-pages, data_overall.csv of BFCL v4 (Apache-2.0)
# support  sierra-research/tau2-bench @ a2c024725189, leaderboard submissions (MIT)
# The licences are in LICENSES-priors.txt.
"""


def rows(folder: Path) -> Iterator[Row]:
    """Every score of the four tables."""
    for one in _table(folder / "openhands_index.priors.csv"):
        if one["agent"] == "openhands" and one["score"]:
            yield "coding", f"openhands {one['benchmark']}", canonical(one["model"]), float(one["score"]) / 100
    for one in _table(folder / "aider_polyglot.priors.csv"):
        if one["pass_rate_2"] and " + " not in one["model"]:
            yield "coding", "aider polyglot", canonical(one["model"]), float(one["pass_rate_2"]) / 100
    for one in _table(folder / "bfcl_v4_overall.priors.csv"):
        yield "tools", "bfcl v4", canonical(one["Model"]), float(one["Overall Acc"].rstrip("%")) / 100
    for one in _table(folder / "tau2_leaderboard.priors.csv"):
        if one["pass_1"]:
            yield "support", f"tau2 {one['domain']}", canonical(one["model"]), float(one["pass_1"]) / 100


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fitted(scores: Iterable[Row]) -> dict[str, float]:
    """Canonical model -> prior, from the scores of one family."""
    found = [(test, model, score) for _, test, model, score in scores]
    tests = dict.fromkeys((test for test, _, _ in found), 0.0)
    models = dict.fromkeys((model for _, model, _ in found), 0.0)
    for _ in range(ROUNDS):
        for name in tests:
            mine = [score - models[model] for test, model, score in found if test == name]
            tests[name] = sum(mine) / len(mine)
        for name in models:
            left = [score - tests[test] for test, model, score in found if model == name]
            models[name] = sum(left) / (len(left) + SHRINK)
    usual = sum(tests.values()) / len(tests)
    return {model: min(0.99, max(0.01, usual + part)) for model, part in models.items()}


def main(folder: str) -> None:
    """Write the file."""
    scores = list(rows(Path(folder)))
    families = sorted({family for family, _, _, _ in scores})
    lines = [HEAD, "family,model,quality\n"]
    for family in (ANY, *families):
        mine = fitted(row for row in scores if family in {ANY, row[0]})
        lines += [f"{family},{model},{quality:.3f}\n" for model, quality in sorted(mine.items())]
    place = Path(__file__).with_name("data") / "priors.csv"
    place.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
