"""The outcomes that come with the package: 31 models on five sets of agent tasks (OpenHands; MIT, see data/LICENSES.txt)."""

import gzip
import json
from importlib import resources

from fw_gateway.audit.prove import Evidence, Seen


def load() -> tuple[Evidence, str]:
    """The evidence, and where it is from."""
    packed = resources.files("fw_gateway.audit").joinpath("data/openhands.json.gz").read_bytes()
    raw = json.loads(gzip.decompress(packed))
    evidence: dict[str, dict[str, list[Seen]]] = {step: {} for step in raw["steps"]}
    for model, cells in raw["models"].items():
        found: dict[str, list[Seen]] = {step: [] for step in raw["steps"]}
        for task, (step, score, cost) in enumerate(zip(raw["step"], cells["score"], cells["cost"], strict=True)):
            if score is not None:
                found[raw["steps"][step]].append(Seen(f"task {task}", float(score), cost))
        for step, runs in found.items():
            evidence[step][model] = runs
    return evidence, str(raw["source"])
