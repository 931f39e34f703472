"""Small worlds for the tests of policies."""

from typing import Any

from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.model import NANO_USD, Exclusion, Facts, Target, TokenPrice, World
from fw_policies.spec import Policy, parse

FACTS = Facts(agent="coding", step="edit", input_tokens=1000)


def target(model: str, place: str = "here", *, dollars: float = 1.0, **more: Any) -> Target:
    """A target whose output costs `dollars` per million tokens, and its input a tenth of that."""
    price = TokenPrice(input=int(dollars * NANO_USD / 10), output=int(dollars * NANO_USD))
    return Target(model, f"{model}@{place}", more.pop("provider", "openai"), model, price=price, **more)


def policy(*require: str, **more: Any) -> Policy:
    """A policy with baseline `base` and these lines."""
    quality = {"outcome": "tests_pass", "of": "step"}
    default = {"minimize": "cost", "require": list(require), **more}
    if "maximize" in more:
        del default["minimize"]
    return parse({"policy": "coding", "baseline": "base", "quality": quality, "default": default})


def seen(
    statistics: Statistics, model: str, *, place: str = "here", calls: int = 60, passed: int | None = None, **more: Any
) -> None:
    """`calls` calls of a model at the step, `passed` of them with a good outcome."""
    values = {"ttft": 0.5, "latency": 2.0, "output_tokens": 200, **more}
    for _ in range(calls):
        statistics.observe(Observation("coding", "edit", model, f"{model}@{place}", ok=True, **values))
    for number in range(calls if passed is not None else 0):
        statistics.outcome(OutcomeSeen("coding", "edit", model, "tests_pass", float(number < (passed or 0))))


def world(
    targets: list[Target],
    statistics: Statistics,
    *,
    blocked: dict[str, Exclusion] | None = None,
    stand_in: str | None = None,
) -> World:
    """A snapshot."""
    return World(tuple(targets), blocked or {}, statistics.freeze(), "2026-11-23", stand_in=stand_in)
