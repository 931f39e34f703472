"""What public leaderboards say of models, as a first guess of quality: it orders what is tried first, and never proves anything."""

import csv
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources

from fw_policies.model import Target

ANY = "*"
FAMILIES = {"cod": "coding", "swe": "coding", "support": "support", "service": "support", "tool": "tools"}
"""Part of a policy's name -> family of tasks."""
_ENDINGS = re.compile(
    r"(-(20\d\d-?\d\d-?\d\d|20\d{6}|\d{4}|instruct|it|chat|latest|preview|exp|fc|prompt|thinking|fp8|awq|gptq|gguf))+$"
)


def canonical(name: str) -> str:
    """What a model is compared by: its own name without place, dates and packaging, e.g. `claude-opus-4-5`."""
    bare = re.sub(r"\(.*?\)", "", name.lower()).strip().rsplit("/", 1)[-1].split(":", 1)[0].split("@", 1)[0]
    return _ENDINGS.sub("", re.sub(r"[^a-z0-9]+", "-", bare).strip("-"))


@lru_cache(maxsize=1)
def table() -> Mapping[tuple[str, str], float]:
    """(family or `*`, canonical model) -> expected share of solved tasks, 0..1."""
    text = resources.files("fw_gateway.catalog").joinpath("data/priors.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {(row["family"], row["model"]): float(row["quality"]) for row in csv.DictReader(lines)}


def priors(policies: Iterable[str], targets: Iterable[Target]) -> dict[tuple[str, str], float]:
    """(policy or `*`, model of the config) -> public prior; a model that no leaderboard knows is left out."""
    known, names = table(), tuple(policies)
    found: dict[tuple[str, str], float] = {}
    for target in targets:
        model = canonical(target.upstream_model)
        if (ANY, model) not in known:
            model = canonical(target.model)
        for name in (ANY, *names):
            quality = known.get((ANY if name == ANY else family(name), model))
            if quality is not None:
                found[name, target.model] = quality
    return found


def family(policy: str) -> str:
    """Which tasks a policy is about, by its name; `*`: any."""
    return next((found for part, found in FAMILIES.items() if part in policy.lower()), ANY)
