"""What `fw policy compile` found: a policy, the plan of each step, and the evidence. The gateway reads it; people diff it.

A lock is a file: it is reviewed, committed, rolled back by its digest. It certifies nothing beyond its data, its policy's text and
its expiry; the gateway serves the baseline as soon as one of them no longer holds.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fw_policies import by_text
from fw_policies.by_text import ByText

VERSION = 1


class Unfit(ValueError):
    """Not a lock, or not one of this version."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One part of a step's mixture."""

    models: tuple[str, ...]
    """Names of the config, in the order they are tried."""
    weight: float = 1.0
    effort: str | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proven, on what, and until when."""

    promise: str
    """As the policy says it, e.g. `quality >= 98% of baseline`."""
    outcome: str
    of: str
    """`run`: it certifies the policy over runs; `step`: the step."""
    confidence: float
    quality: float
    slack: float
    """Lower bound of quality − floor: ≥ 0."""
    tested: int
    """Runs that tested it, none of which had chosen it."""
    expires: str
    """ISO date."""


@dataclass(frozen=True, slots=True)
class LockedStep:
    """The plan of one step."""

    arms: tuple[Arm, ...]
    """Empty: nothing is certified and the baseline serves."""
    certificate: Certificate | None = None
    cost: tuple[float, float, float] | None = None
    """Nano-USD per call: mean, low, high at 90 %."""
    saved: tuple[float, float, float] | None = None
    """Share of the baseline's cost: mean, low, high at 90 %."""
    reason: str = ""
    """Why nothing is certified."""
    more: int | None = None
    """Runs more of each model that would decide it."""
    verify: tuple[str, ...] = ()
    """Checks under which it was proven: an arm of several models is a cascade, each answering what those before it got rejected."""
    dual: float | None = None
    """Nano-USD per 1,000 runs of the step that one point less of quality would save, at the margin."""
    mix: "Mix | None" = None
    """What the calls that proved it were like."""
    by_text: ByText | None = None
    """Gives each call its arm by its text; the arms' weights are then the shares that were seen. None: the arms are drawn."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Calls counted by what they are like: the size of their input, and the labels that the policy looks at."""

    labels: tuple[str, ...]
    """Names of these labels."""
    calls: Mapping[str, int]
    """`cell` -> calls."""


LIKE = 5
"""Calls of a kind that a proof must rest on before others of that kind are covered by it."""


def cell(input_tokens: int | None, labels: Iterable[tuple[str, str]], names: Sequence[str]) -> str:
    """What a call is like: its input tokens up to the next power of two, then the labels of these names that it has."""
    size = "?" if input_tokens is None else str(1 << max(0, math.ceil(math.log2(max(1, input_tokens)))))
    return " ".join([size, *(f"{name}={value}" for name, value in sorted(labels) if name in names)])


def coverage(step: LockedStep, recent: Mapping[str, int]) -> float | None:
    """The share of recent calls (`cell` -> count) that are like the data which proved it; None: not known."""
    total = sum(recent.values())
    if step.mix is None or not total:
        return None
    return sum(count for name, count in recent.items() if step.mix.calls.get(name, 0) >= LIKE) / total


@dataclass(frozen=True, slots=True)
class Machine:
    """A shared self-hosted deployment, as the compiled plans load it."""

    capacity: float
    """Output tokens per second."""
    load: float
    """Of these, in the busiest hour: by the lock's own steps and by everything else that was seen."""
    price: float
    """Nano-USD per hour that a second such machine would save at the margin: the shadow price of a machine-hour."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A compiled policy."""

    policy: str
    version: str
    """Digest of the policy's text."""
    baseline: str
    made: str
    """ISO date."""
    data: str
    """Digest of the outcomes that it was made from."""
    since: str
    until: str
    prices: str
    seed: int
    steps: Mapping[str, LockedStep] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)
    """Deployment -> its load and price, for those whose capacity the config states."""

    @property
    def digest(self) -> str:
        """Short hash of everything in it: its name for a rollback."""
        text = json.dumps(to_dict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def why_not(self, step: str, version: str, today: str) -> str:
        """Why its plan for `step` may not serve under a policy of this version on this day; empty when it may."""
        found = self.steps.get(step)
        if found is None:
            return "it has no such step"
        if self.version != version:
            return f"it was made for version {self.version} of the policy"
        if found.certificate is None or not found.arms:
            return found.reason or "nothing was certified"
        if found.certificate.expires <= today:
            return f"its certificate expired on {found.certificate.expires}"
        return ""


def to_dict(lock: Lock) -> dict[str, Any]:
    """Plain values, in the order a person reads them."""
    out: dict[str, Any] = {
        "lock": VERSION,
        "policy": lock.policy,
        "version": lock.version,
        "baseline": lock.baseline,
        "made": lock.made,
        "data": {"digest": lock.data, "since": lock.since, "until": lock.until},
        "prices": lock.prices,
        "seed": lock.seed,
        "steps": {name: _step(step) for name, step in sorted(lock.steps.items())},
    }
    if lock.machines:
        out["machines"] = {
            name: {
                "capacity": one.capacity,
                "load": round(one.load, 3),
                "price_nano_usd_per_hour": round(one.price),
            }
            for name, one in sorted(lock.machines.items())
        }
    return out


def _step(step: LockedStep) -> dict[str, Any]:
    out: dict[str, Any] = {"arms": [_arm(arm) for arm in step.arms]}
    if step.certificate is not None:
        c = step.certificate
        out["certificate"] = {
            "promise": c.promise, "outcome": c.outcome, "of": c.of, "confidence": c.confidence, "quality": round(c.quality, 6),
            "slack": round(c.slack, 6), "tested": c.tested, "expires": c.expires,
        }  # fmt: skip
    for key, value in (("cost_nano_usd", step.cost), ("saved", step.saved)):
        if value is not None:
            out[key] = [round(part, 6) for part in value]
    if step.reason:
        out["reason"] = step.reason
    if step.more is not None:
        out["more"] = step.more
    if step.verify:
        out["verify"] = list(step.verify)
    if step.dual is not None:
        out["dual_nano_usd"] = round(step.dual, 3)
    if step.mix is not None:
        out["mix"] = {"labels": list(step.mix.labels), "calls": dict(sorted(step.mix.calls.items()))}
    if step.by_text is not None:
        out["by_text"] = by_text.to_dict(step.by_text)
    return out


def _arm(arm: Arm) -> dict[str, Any]:
    out: dict[str, Any] = {"models": list(arm.models), "weight": round(arm.weight, 6)}
    return out if arm.effort is None else {**out, "effort": arm.effort}


def from_dict(found: Any) -> Lock:
    """The lock that `to_dict` made plain.

    Raises:
        Unfit: it is none, is of another version, or its numbers contradict each other.
    """
    if not isinstance(found, Mapping) or found.get("lock") != VERSION:
        raise Unfit(f"this is no lock of version {VERSION}; make one with `fw policy compile`.")
    try:
        data = found["data"]
        steps = {str(name): _read_step(step) for name, step in found["steps"].items()}
        return Lock(
            str(found["policy"]), str(found["version"]), str(found["baseline"]), str(found["made"]), str(data["digest"]),
            str(data["since"]), str(data["until"]), str(found["prices"]), int(found["seed"]), steps,
            {str(name): _machine(one) for name, one in found.get("machines", {}).items()},
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise Unfit(f"this lock cannot be read: {type(fault).__name__}: {fault}.") from fault


def _read_step(found: Mapping[str, Any]) -> LockedStep:
    arms = tuple(
        Arm(tuple(map(str, arm["models"])), float(arm["weight"]), arm.get("effort")) for arm in found.get("arms", ())
    )
    if arms and abs(sum(arm.weight for arm in arms) - 1) > 1e-3:
        raise Unfit("the weights of a step's arms must add up to 1.")
    rule = by_text.from_dict(found["by_text"]) if found.get("by_text") is not None else None
    if rule is not None and len(rule.reads) != len(arms):
        raise Unfit("a step by text must say of each of its arms what a text is worth there.")
    c = found.get("certificate")
    certificate = None
    if c is not None:
        certificate = Certificate(
            str(c["promise"]), str(c["outcome"]), str(c["of"]), float(c["confidence"]), float(c["quality"]),
            float(c["slack"]), int(c["tested"]), str(c["expires"]),
        )  # fmt: skip
    return LockedStep(
        arms, certificate, _triple(found.get("cost_nano_usd")), _triple(found.get("saved")), str(found.get("reason", "")),
        None if found.get("more") is None else int(found["more"]), tuple(map(str, found.get("verify", ()))),
        None if found.get("dual_nano_usd") is None else float(found["dual_nano_usd"]), _mix(found.get("mix")), rule,
    )  # fmt: skip


def _mix(found: Any) -> Mix | None:
    if found is None:
        return None
    return Mix(tuple(map(str, found["labels"])), {str(name): int(count) for name, count in found["calls"].items()})


def _machine(found: Mapping[str, Any]) -> Machine:
    return Machine(float(found["capacity"]), float(found["load"]), float(found["price_nano_usd_per_hour"]))


def _triple(found: Any) -> tuple[float, float, float] | None:
    return None if found is None else (float(found[0]), float(found[1]), float(found[2]))
